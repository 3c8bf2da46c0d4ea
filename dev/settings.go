package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"entramcp/dev/tenant"
)

// simulatedSecret is no secret: the simulated tenant listens on loopback only
// and knows nobody but its sample users.
const simulatedSecret = "simulated-not-secret"

const defaultPort, defaultTenantPort = "7071", "7072"

type settings struct {
	port, tenantPort, dataDir string
}

func settingsFrom(getenv func(string) string) settings {
	or := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	return settings{port: or("PORT", defaultPort), tenantPort: or("TENANT_PORT", defaultTenantPort), dataDir: or("DATA_DIR", ".data")}
}

// arguments are what make call needs beside its own to find this run.
func (s settings) arguments() string {
	var text string
	if s.port != defaultPort {
		text += "PORT=" + s.port + " "
	}
	if s.tenantPort != defaultTenantPort {
		text += "TENANT_PORT=" + s.tenantPort + " "
	}
	return text
}

func (s settings) publicURL() string { return "http://localhost:" + s.port }
func (s settings) tenantURL() string { return "http://localhost:" + s.tenantPort }

// environ is the caller's environment with what makes the handler use the
// simulated tenant and nothing in Azure, whatever else is set. Names of the
// Python server stay: those about Entra lose against ours, and the others count.
func (s settings) environ() []string {
	own := map[string]string{
		"LOCAL_SETTINGS":      "none",
		"PORT":                s.port,
		"DATA_DIR":            s.dataDir,
		"PUBLIC_URL":          s.publicURL(),
		"ENTRA_AUTHORITY":     s.tenantURL(),
		"ENTRA_TENANT_ID":     tenant.Contoso,
		"ENTRA_CLIENT_ID":     tenant.DefaultClientID,
		"ENTRA_CLIENT_SECRET": simulatedSecret,
		"ENTRA_API_SCOPE":     "api://" + tenant.DefaultClientID + "/" + tenant.DefaultScope,
		"ENTRA_APP_CALLERS":   "roles",
		"ENTRA_CLIENTS":       strings.Join(clientIDs(), ","),
		"ENTRA_RESOURCE_URI":  "on",
		"LOG_FORMAT":          "json", // for the console
	}
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		foreign := strings.HasPrefix(name, "ENTRA_") || name == "FASTMCP_SERVER_AUTH_AZURE_REDIRECT_PATH" || strings.HasPrefix(name, "WEBSITE_") ||
			strings.HasPrefix(name, "TABLES_") || strings.HasPrefix(name, "FUNCTIONS_") || name == "KEY_VAULT_KEY_URL" || name == "GRAPH_URL" || name == "REDIRECT_PATH"
		if _, set := own[name]; !set && !foreign {
			env = append(env, kv)
		}
	}
	for name, v := range own {
		env = append(env, name+"="+v)
	}
	return env
}

func clientIDs() []string {
	var ids []string
	for _, name := range namedClients {
		ids = append(ids, clientIDOf(name))
	}
	return ids
}

// handlerProcess is the handler in this process group, so that Ctrl-C reaches
// both. When ctx ends it is asked to stop, and killed if it does not.
func handlerProcess(ctx context.Context, path string, s settings, stdout, stderr io.Writer) *exec.Cmd {
	child := exec.CommandContext(ctx, path)
	child.Env = s.environ()
	child.Stdout, child.Stderr = stdout, stderr
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = 10 * time.Second
	dieWithParent(child)
	return child
}

func (s settings) banner() string {
	return fmt.Sprintf(`
  Ready. Next: connect a client, or open %[1]s/ in a browser.

  Connect        claude mcp add --transport http entramcp %[1]s/mcp
                 claude mcp login entramcp
  Sign-in        a simulated tenant at %[2]s (no Microsoft account is involved)
  Try it now     make call %[4]sTOOL=hello_world USER=bob    (in another terminal)
  Data           %[3]s
  Stop           Ctrl-C

`, s.publicURL(), s.tenantURL(), s.dataDir, s.arguments())
}
