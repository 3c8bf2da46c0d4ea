package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entramcp/dev/funchost"
	"entramcp/dev/oauthclient"
	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

// manyTools is how many tools a long list has.
const manyTools = 50

// server is one of those that are compared. URL is where clients find it; one
// without users has no token.
type server struct {
	name  string
	url   string // origin, http
	path  string // of the MCP endpoint
	pid   int    // 0 where it is no process of its own
	token string
	// app is the registration by which clients are to sign in at the tenant
	// itself; empty for all but the tenant.
	app string
	// workers bounds those who sign in at a time, if it is not 0.
	workers int
}

func (s server) host() string { return strings.TrimPrefix(s.url, "http://") }

// binary builds package in module dir and returns the program's path.
func binary(b *testing.B, dir, pkg string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), "program")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// start runs a program until the benchmark ends, and waits until path answers.
func start(b *testing.B, name, program string, args []string, env map[string]string, probe string) server {
	b.Helper()
	port := stack.FreePort(b)
	s := server{name: name, url: "http://localhost:" + port, path: "/mcp"}
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir(), "PORT=" + port, "PUBLIC_URL=" + s.url}
	for name, v := range env {
		cmd.Env = append(cmd.Env, name+"="+v)
	}
	var out stack.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s.pid = cmd.Process.Pid
	await(b, name, s.url+probe, out.String)
	return s
}

// await waits until the server answers at address.
func await(b *testing.B, name, address string, log func() string) {
	b.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if res, err := http.Get(address); err == nil {
			_ = res.Body.Close()
			if res.StatusCode < http.StatusInternalServerError {
				return
			}
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not answer:\n%s", name, log())
		}
	}
}

// startTenant serves the simulated tenant that all servers share.
func startTenant(b *testing.B) (*tenant.Tenant, string) {
	b.Helper()
	server := httptest.NewUnstartedServer(nil)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	address := "http://localhost:" + port
	t, err := tenant.New(tenant.Options{BaseURL: address})
	if err != nil {
		b.Fatal(err)
	}
	server.Config.Handler = t
	server.Start()
	b.Cleanup(server.Close)
	return t, address
}

// register makes an app registration of the server's own.
func register(b *testing.B, t *tenant.Tenant, clientID string, s server) {
	b.Helper()
	err := t.Register(tenant.App{
		ClientID: clientID, Name: s.name, Secrets: []tenant.Secret{{Value: stack.ClientSecret}},
		RedirectURIs: []string{s.url + "/auth/callback"}, Scopes: []string{tenant.DefaultScope}, TokenVersion: 2,
	})
	if err != nil {
		b.Fatal(err)
	}
}

// fastMCPPython is the interpreter of an environment with FastMCP, made once
// at the pinned version.
func fastMCPPython(b *testing.B) string {
	b.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".bin", "fastmcp"))
	if err != nil {
		b.Fatal(err)
	}
	python := filepath.Join(dir, "bin", "python")
	wanted, err := os.ReadFile("fastmcp/requirements.txt")
	if err != nil {
		b.Fatal(err)
	}
	if have, err := os.ReadFile(filepath.Join(dir, "installed")); err == nil && string(have) == string(wanted) {
		return python
	}
	for _, args := range [][]string{{"python3", "-m", "venv", dir}, {python, "-m", "pip", "install", "--quiet", "-r", "fastmcp/requirements.txt"}} {
		if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, text)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "installed"), wanted, 0o600); err != nil {
		b.Fatal(err)
	}
	return python
}

// programs are what the compared servers are started from, and the tenant that they
// share. Each scenario starts new processes, so that their memory is its own.
type programs struct {
	tenant    *tenant.Tenant
	authority string
	python    string // with FastMCP
	own       string // this server with the catalogue to measure
	ownZip    string // the same as a function app is deployed
	floor     string // the MCP SDK, and the echo
	apps      int    // how many app registrations there are
}

func newPrograms(b *testing.B) *programs {
	b.Helper()
	p := &programs{python: fastMCPPython(b), own: binary(b, "..", "./bench/own"), floor: binary(b, "floor", ".")}
	p.tenant, p.authority = startTenant(b)
	p.ownZip = filepath.Join(b.TempDir(), "package.zip")
	if err := funchost.Pack(p.ownZip, p.own, "../host.json"); err != nil {
		b.Fatal(err)
	}
	return p
}

// entrant starts one of the servers until the benchmark ends, with its program
// behind the arguments of prefix, if there are any.
type entrant func(b *testing.B, prefix []string) server

// settings are those of the servers, for an app registration of their own.
func (p *programs) settings(b *testing.B) (env map[string]string, clientID string) {
	b.Helper()
	p.apps++
	clientID = fmt.Sprintf("44444444-4444-4444-8444-%012d", p.apps)
	return map[string]string{
		"ENTRA_AUTHORITY": p.authority, "ENTRA_TENANT_ID": stack.TenantID, "ENTRA_CLIENT_ID": clientID, "ENTRA_CLIENT_SECRET": stack.ClientSecret,
		"TOOLS": strconv.Itoa(manyTools), "LOG_LEVEL": "warn", "DATA_DIR": b.TempDir(),
		// Refreshes that follow each other at once are to be rotations.
		"REFRESH_GRACE": "1s",
		// Limits by address see as many addresses as there are sign-ins.
		"TRUSTED_PROXIES": "127.0.0.0/8,::1/128",
	}, clientID
}

// startWith starts one that has users, and signs one in.
func (p *programs) startWith(b *testing.B, name string, command []string, probe string) server {
	b.Helper()
	env, clientID := p.settings(b)
	s := start(b, name, command[0], command[1:], env, probe)
	register(b, p.tenant, clientID, s)
	s.token = accessTo(b, s)
	return s
}

// fastMCPWorkers is how many FastMCP signs in at a time: with more its throughput
// is the same, and its callback takes longer than the 20 s that a browser waits.
const fastMCPWorkers = 64

func (p *programs) startFastMCP(b *testing.B, prefix []string) server {
	s := p.startWith(b, "FastMCP 4.2.3, AzureProvider", slices.Concat(prefix, []string{p.python, "fastmcp/server.py"}), "/.well-known/oauth-authorization-server")
	s.workers = fastMCPWorkers
	return s
}

func (p *programs) startOwn(b *testing.B, prefix []string) server {
	return p.startWith(b, "this server", slices.Concat(prefix, []string{p.own}), "/readyz")
}

func (p *programs) startFloor(b *testing.B, prefix []string) server {
	command := slices.Concat(prefix, []string{p.floor})
	return start(b, "MCP SDK without authentication", command[0], command[1:], map[string]string{"TOOLS": strconv.Itoa(manyTools)}, "/echo")
}

func (p *programs) startEcho(b *testing.B, prefix []string) server {
	s := p.startFloor(b, prefix)
	s.name, s.path = "net/http echo", "/echo"
	return s
}

// startHosted starts this server as the Functions host does, with the tables of
// Azurite, and the emulated host in front of it, in the process of the load
// generator. TLS, which the platform takes off, is left out.
func (p *programs) startHosted(b *testing.B, _ []string) server {
	b.Helper()
	const name = "func-bench.azurewebsites.net"
	front := &funchost.FrontEnd{Hostname: name}
	listener := httptest.NewServer(front)
	b.Cleanup(listener.Close)
	env, clientID := p.settings(b)
	_, port, err := net.SplitHostPort(listener.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	s := server{name: "this server behind the emulated host", url: "http://localhost:" + port, path: "/mcp"}
	delete(env, "DATA_DIR")
	maps.Copy(env, map[string]string{
		"PUBLIC_URL": s.url, "TABLES_CONNECTION_STRING": storetest.Azurite(b), "TABLES_NAME": "bench" + port,
		"MASTER_KEY": strings.Repeat("bench-master-key", 3),
	})
	host, err := funchost.Start(funchost.Options{Package: p.ownZip, Settings: env, Hostname: name})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := host.Close(); err != nil {
			b.Error(err)
		}
	})
	front.Use(host)
	if err := host.Wait(b.Context()); err != nil {
		b.Fatalf("%v\n%s", err, host.Log())
	}
	await(b, s.name, s.url+"/readyz", host.Log)
	s.pid = host.Handler()
	register(b, p.tenant, clientID, s)
	s.token = accessTo(b, s)
	return s
}

// startNone is the tenant alone: what clients get who sign in there, and refresh
// there, as a server would for them. No server can be faster.
func (p *programs) startNone(b *testing.B, _ []string) server {
	b.Helper()
	_, clientID := p.settings(b)
	err := p.tenant.Register(tenant.App{
		ClientID: clientID, Name: "clients of the tenant", Secrets: []tenant.Secret{{Value: stack.ClientSecret}},
		RedirectURIs: []string{back}, Scopes: []string{tenant.DefaultScope}, TokenVersion: 2,
	})
	if err != nil {
		b.Fatal(err)
	}
	return server{name: "the tenant and the driver alone", url: p.authority, app: clientID}
}

// client is one client registration with one user's grant.
type client struct {
	*oauthclient.Client
	server
	oauthclient.Tokens
}

// back is the redirect URI of the clients.
const back = "http://127.0.0.1:8977/callback"

// newClient registers at s; at the tenant there is an app registration.
func newClient(s server) (*client, error) {
	c := &client{Client: oauthclient.New(s.url, back), server: s}
	if s.app != "" {
		at := s.url + "/" + stack.TenantID + "/oauth2/v2.0"
		c.Client = &oauthclient.Client{Endpoints: oauthclient.Endpoints{Authorization: at + "/authorize", Token: at + "/token"},
			RedirectURI: back, ID: s.app, Secret: stack.ClientSecret}
	}
	c.HTTP = &http.Client{Transport: shared} // each request of a Client ends by itself
	if s.app != "" {
		return c, nil
	}
	answer, err := c.Register(context.Background(), c.Public("bench "+oauth.RandomID()))
	if err == nil {
		err = answer.Wanted(http.StatusCreated)
	}
	return c, err
}

// signIn takes a person through the browser's part and redeems the code. reads takes
// the time for reading the consent page, if it is not nil. FastMCP does not say in its
// answer who it is from.
func (c *client) signIn(reads func(time.Duration)) error {
	var more url.Values
	if c.app != "" { // what this server asks of the tenant
		more = url.Values{"scope": {"openid profile email offline_access"}}
	}
	request := c.Request(more)
	browser, from := stack.NewBrowser(stack.Alice).Through(c.HTTP.Transport), address()
	// As a proxy in front of somebody at that address would.
	browser.Before = func(r *http.Request) { r.Header.Set("X-Forwarded-For", from) }
	browser.Reads = reads
	u, err := browser.Approve(request.URL)
	if err == nil && u.Query().Get("code") == "" {
		err = fmt.Errorf("no code: %s", u.RawQuery)
	}
	if err != nil {
		return err
	}
	return c.take(c.Redeem(context.Background(), request, u.Query().Get("code")))
}

// accessTo is an access token of a new client's user at s.
func accessTo(b *testing.B, s server) string {
	b.Helper()
	c, err := newClient(s)
	if err == nil {
		err = c.signIn(nil)
	}
	if err != nil {
		b.Fatalf("%s: %v", s.name, err)
	}
	return c.Access
}

// renew exchanges the refresh token. It is an error if it is not rotated: a
// repetition is answered for less.
func (c *client) renew() error {
	old := c.Refresh
	err := c.take(c.Renew(context.Background(), old))
	if err == nil && c.Refresh == old {
		err = errors.New("the refresh token was not rotated")
	}
	return err
}

func (c *client) take(answer oauthclient.Answer, err error) error {
	if err != nil {
		return err
	}
	tokens, err := answer.Tokens()
	if err == nil && tokens.Refresh == "" {
		err = errors.New("no refresh token")
	}
	if err == nil {
		c.Tokens = tokens
	}
	return err
}

// shared keeps a connection for each of those who sign in at a time.
var shared = &http.Transport{MaxIdleConnsPerHost: 512}

// newLocal serves h on loopback and returns its host and port.
func newLocal(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// address is one of the documentation's (RFC 3849).
func address() string { return fmt.Sprintf("2001:db8:%x:%x::1", rand.N(1<<16), rand.N(1<<16)) }
