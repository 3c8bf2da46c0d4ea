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
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/handler/oauth"
)

// manyTools is how many tools a long list has.
const manyTools = 50

// server is one of those that are compared. URL is where clients find it; one
// without users has no token.
type server struct {
	name   string
	url    string // origin, http
	path   string // of the MCP endpoint
	pid    int
	tokens bool
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
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if res, err := http.Get(s.url + probe); err == nil {
			_ = res.Body.Close()
			if res.StatusCode < http.StatusInternalServerError {
				return s
			}
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not answer:\n%s", name, out.String())
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

// compared are the servers of one run.
type compared struct {
	fastMCP, floor, echo, own server
}

func startAll(b *testing.B) compared {
	b.Helper()
	t, authority := startTenant(b)
	settings := map[string]string{
		"ENTRA_AUTHORITY": authority, "ENTRA_TENANT_ID": stack.TenantID, "ENTRA_CLIENT_SECRET": stack.ClientSecret,
		"TOOLS": strconv.Itoa(manyTools), "LOG_LEVEL": "warn", "DATA_DIR": b.TempDir(),
		// Refreshes that follow each other at once are to be rotations.
		"REFRESH_GRACE": "1s",
		// Limits by address see as many addresses as there are sign-ins.
		"TRUSTED_PROXIES": "127.0.0.0/8,::1/128",
	}
	with := func(name, value string) map[string]string {
		env := map[string]string{name: value}
		maps.Copy(env, settings)
		return env
	}
	const fastMCPClient, ownClient = "44444444-4444-4444-8444-000000000001", "44444444-4444-4444-8444-000000000002"
	var c compared
	c.fastMCP = start(b, "FastMCP 4.2.3, AzureProvider", fastMCPPython(b), []string{"fastmcp/server.py"}, with("ENTRA_CLIENT_ID", fastMCPClient), "/.well-known/oauth-authorization-server")
	register(b, t, fastMCPClient, c.fastMCP)
	c.own = start(b, "this server", binary(b, "..", "./bench/own"), nil, with("ENTRA_CLIENT_ID", ownClient), "/readyz")
	register(b, t, ownClient, c.own)
	c.fastMCP.tokens, c.own.tokens = true, true
	c.floor = start(b, "MCP SDK without authentication", binary(b, "floor", "."), nil, settings, "/echo")
	c.echo = c.floor
	c.echo.name, c.echo.path = "net/http echo", "/echo"
	return c
}

// client is one client registration with one user's grant.
type client struct {
	*oauthclient.Client
	server server
	oauthclient.Tokens
}

// back is the redirect URI of the clients.
const back = "http://127.0.0.1:8977/callback"

// newClient registers at s.
func newClient(s server, transport *http.Client) (*client, error) {
	c := &client{Client: oauthclient.New(s.url, back), server: s}
	c.HTTP = transport
	answer, err := c.Register(context.Background(), c.Public("bench "+oauth.RandomID()))
	if err == nil {
		err = answer.Wanted(http.StatusCreated)
	}
	return c, err
}

// signIn takes a person through the browser's part and redeems the code. FastMCP
// does not say in its answer who it is from.
func (c *client) signIn() error {
	request := c.Request(nil)
	u, err := stack.NewBrowser(stack.Alice).Through(elsewhere{c.HTTP.Transport, address()}).Approve(request.URL)
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
	c, err := newClient(s, newTransport())
	if err == nil {
		err = c.signIn()
	}
	if err != nil {
		b.Fatalf("%s: %v", s.name, err)
	}
	return c.Access
}

// renew exchanges the refresh token.
func (c *client) renew() error { return c.take(c.Renew(context.Background(), c.Refresh)) }

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

// newLocal serves h on loopback and returns its host and port.
func newLocal(tb testing.TB, h http.Handler) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// elsewhere sends requests as a proxy in front of somebody at an address would.
type elsewhere struct {
	http.RoundTripper
	address string
}

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", e.address)
	return e.RoundTripper.RoundTrip(r)
}

// address is one of the documentation's (RFC 3849).
func address() string { return fmt.Sprintf("2001:db8:%x:%x::1", rand.N(1<<16), rand.N(1<<16)) }
