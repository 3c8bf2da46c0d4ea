package stack

import (
	"archive/zip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"entramcp/dev/funchost"
	"entramcp/handler/clocktest"
)

// SiteHost is the name that Azure gives the app; the public URL is another, as
// with a custom domain.
const SiteHost = "func-e2e.azurewebsites.net"

// Azure puts the emulated Functions host in front: the package that is
// deployed, under https.
type Azure struct {
	// Origins are those that siteConfig.cors allows.
	Origins []string
	// Package is deployed instead of what azd would build.
	Package string
}

// Package is the handler as azd deploys it, with the tests' own catalogue as
// Binary, built once per test binary. Where
// this computer cannot run what runs in Azure, it is built for this computer.
var Package = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	overlay, err := overlay()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(overlay), "package.zip")
	return path, funchost.Build(context.Background(), root, runtime.GOOS, runtime.GOARCH, path, "-overlay", overlay)
})

// unpacked is Package in a directory, of which each instance gets a copy: that
// takes less time than unpacking.
var unpacked = sync.OnceValues(func() (string, error) {
	path, err := Package()
	if err != nil {
		return "", err
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return "", err
	}
	defer z.Close()
	dir := filepath.Join(filepath.Dir(path), "package")
	return dir, os.CopyFS(dir, z)
})

// startHosts starts o.Instances instances and waits for them.
func (s *Stack) startHosts(tb testing.TB, o Options) {
	tb.Helper()
	for range o.Instances {
		s.Hosts = append(s.Hosts, s.AddHost(tb, o.Azure))
	}
	s.FrontEnd.Use(s.Hosts...)
	for _, h := range s.Hosts {
		if err := h.Wait(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
	for range s.Hosts { // they take turns
		clocktest.Eventually(tb, "a handler under the Functions host ready", readyWithin, func() bool { return ready(s.Client(), s.URL) })
	}
}

// AddHost starts one more instance, which gets no requests until FrontEnd uses
// it.
func (s *Stack) AddHost(tb testing.TB, a *Azure) *funchost.Host {
	tb.Helper()
	path := a.Package
	if path == "" {
		var err error
		if path, err = unpacked(); err != nil {
			tb.Fatal(err)
		}
	}
	h, err := funchost.Start(funchost.Options{Package: path, Settings: s.env, Hostname: SiteHost, Origins: a.Origins})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("log of an instance:\n%s", h.Log())
		}
	})
	return h
}

// secure gives front a certificate for localhost, which clients trust by
// Certificate, a PEM file.
func (s *Stack) secure(tb testing.TB, front *httptest.Server) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.Certificate = filepath.Join(tb.TempDir(), "localhost.pem")
	if err := os.WriteFile(s.Certificate, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	s.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	tb.Cleanup(s.transport.CloseIdleConnections)
	front.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// Client is an HTTP client on the computer of the person: it trusts what the
// browser trusts.
func (s *Stack) Client() *http.Client {
	if s.transport == nil {
		return &http.Client{}
	}
	return &http.Client{Transport: s.transport}
}

// Browser is NewBrowser on the computer of the person.
func (s *Stack) Browser(user string) *Browser {
	return NewBrowser(user).Through(s.Client().Transport)
}

// Settings are the app settings of the instances.
func (s *Stack) Settings() map[string]string { return maps.Clone(s.env) }
