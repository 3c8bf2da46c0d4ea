package stack

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"entramcp/dev/tenant"
)

// The app registration that every stack uses, and some of the people who can
// sign in.
const (
	TenantID     = tenant.Contoso
	ClientID     = tenant.DefaultClientID
	ClientSecret = "e2e-not-secret"
	APIScope     = "api://" + ClientID + "/" + tenant.DefaultScope
	Alice        = tenant.Alice
	Bob          = tenant.Bob
)

// startTenant serves a simulated tenant that knows the redirect URI of the
// server at publicURL; now, its clock, may be nil.
func startTenant(tb testing.TB, publicURL string, now func() time.Time, o Options) (t *tenant.Tenant, baseURL string) {
	tb.Helper()
	server := httptest.NewUnstartedServer(nil)
	baseURL = "http://localhost:" + portOf(server.Listener.Addr())
	if o.Via != nil {
		baseURL = o.Via(server.Listener.Addr().String())
	}
	t, err := tenant.New(tenant.Options{BaseURL: baseURL, Now: now, SigningKey: tenant.SharedKey()})
	if err != nil {
		tb.Fatal(err)
	}
	err = t.Register(tenant.App{
		ClientID:     ClientID,
		Name:         "MCP server (test)",
		Secrets:      []tenant.Secret{{Value: ClientSecret}},
		RedirectURIs: []string{publicURL + "/auth/callback"},
		Scopes:       []string{tenant.DefaultScope},
		AppRoles:     []string{"Mcp.Admin", "Mcp.Reader"},
		TokenVersion: 2,
	})
	if err != nil {
		tb.Fatal(err)
	}
	server.Config.Handler = t
	if o.Between != nil {
		server.Config.Handler = o.Between(t)
	}
	server.Start()
	tb.Cleanup(server.Close)
	return t, baseURL
}

// Node is the pinned Node, or the one on the PATH where the pinned packages
// have none for this platform.
func Node(tb testing.TB) string {
	tb.Helper()
	root, err := moduleRoot()
	if err != nil {
		tb.Fatal(err)
	}
	pinned := filepath.Join(root, "e2e", "node_modules", ".bin", "node")
	if _, err := os.Stat(pinned); err == nil {
		return pinned
	}
	found, err := exec.LookPath("node")
	if err != nil {
		tb.Fatal("Node is missing: run npm ci --prefix e2e")
	}
	return found
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", os.ErrNotExist
		}
	}
	return "", err
}
