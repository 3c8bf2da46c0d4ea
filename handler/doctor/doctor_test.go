package doctor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"entramcp/handler/config"
	"entramcp/handler/doctor"
)

const issuer = "https://mcp.example.com"

// healthy is what discovery finds on a good server; change breaks it.
func healthy(change func(w http.ResponseWriter, r *http.Request, document map[string]any) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document := map[string]any{
			"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token",
			"registration_endpoint": issuer + "/register", "code_challenge_methods_supported": []string{"S256"},
			"token_endpoint_auth_methods_supported": []string{"none", "client_secret_post"}, "grant_types_supported": []string{"authorization_code", "refresh_token"},
			"authorization_response_iss_parameter_supported": true,
		}
		if strings.Contains(r.URL.Path, "protected-resource") {
			document = map[string]any{"resource": issuer + "/mcp", "authorization_servers": []string{issuer}}
		}
		if change != nil && change(w, r, document) {
			return
		}
		if r.URL.Path == "/mcp" {
			w.Header().Set("WWW-Authenticate", `Bearer scope="openid", resource_metadata="`+issuer+`/.well-known/oauth-protected-resource/mcp"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(document)
	})
}

func set(member string, value any) func(http.ResponseWriter, *http.Request, map[string]any) bool {
	return func(_ http.ResponseWriter, _ *http.Request, d map[string]any) bool {
		if _, there := d[member]; there {
			d[member] = value
		}
		return false
	}
}

func status(path string, code int, header ...string) func(http.ResponseWriter, *http.Request, map[string]any) bool {
	return func(w http.ResponseWriter, r *http.Request, _ map[string]any) bool {
		if r.URL.Path != path {
			return false
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

func TestDiscoveryNamesWhatEachClientWouldStumbleOver(t *testing.T) {
	for _, tt := range []struct {
		check, detail, fix string
		change             func(http.ResponseWriter, *http.Request, map[string]any) bool
	}{
		{},
		{"challenge", "answers 200, not 401", "log", status("/mcp", 200)},
		{"challenge", "names no resource_metadata", "App Service authentication", status("/mcp", 401, "WWW-Authenticate", "Basic")},
		{"challenge", "points to https://inner/", "PUBLIC_URL", status("/mcp", 401, "WWW-Authenticate", `Bearer resource_metadata="https://inner/"`)},
		{"resource metadata", "/.well-known/oauth-protected-resource answers 301", "redirect to other.example", status("/.well-known/oauth-protected-resource", 301, "Location", "https://other.example/x")},
		{"resource metadata", "oauth-protected-resource/mcp answers 404", "routePrefix", status("/.well-known/oauth-protected-resource/mcp", 404)},
		{"resource", issuer + "/ is not " + issuer + "/mcp", "PUBLIC_URL", set("resource", issuer+"/")},
		{"authorization server", "Claude uses the first", "PUBLIC_URL", set("authorization_servers", []string{"https://login.microsoftonline.com", issuer})},
		{"server metadata", "answers 401", "App Service authentication", status("/.well-known/oauth-authorization-server/mcp", 401)},
		{"server metadata", `Content-Type "text/html"`, "proxy", status("/.well-known/oauth-authorization-server/mcp", 200, "Content-Type", "text/html")},
		{"server metadata", "differ", "one version", func(_ http.ResponseWriter, r *http.Request, d map[string]any) bool {
			if !strings.Contains(r.URL.Path, "protected-resource") {
				d["path"] = r.URL.Path
			}
			return false
		}},
		{"issuer", "is not " + issuer, "PUBLIC_URL", set("issuer", issuer+"/")},
		{"endpoints", "token_endpoint is", "PUBLIC_URL", set("token_endpoint", "https://inner/token")},
		{"PKCE", "VS Code", "Update", set("code_challenge_methods_supported", []string{"plain"})},
		{"public clients", "Cursor", "Update", set("token_endpoint_auth_methods_supported", []string{"client_secret_post"})},
		{"refresh tokens", "mcp-remote", "Update", set("grant_types_supported", []string{"authorization_code"})},
		{"browser clients", "MCP Inspector", "CORS", status("/token", 405)},
		{"issuer in responses", "RFC 9207", "Update", set("authorization_response_iss_parameter_supported", false)},
	} {
		var wrong []doctor.Finding
		for _, f := range doctor.Discovery(t.Context(), doctor.InProcess(issuer, issuer+"/mcp", healthy(tt.change))) {
			if f.Verdict != doctor.Passed {
				wrong = append(wrong, f)
			}
		}
		if tt.check == "" {
			if len(wrong) > 0 {
				t.Errorf("a good server: %+v", wrong)
			}
			continue
		}
		if len(wrong) == 0 || !strings.Contains(wrong[len(wrong)-1].Detail, tt.detail) || !strings.Contains(wrong[len(wrong)-1].Fix, tt.fix) || wrong[len(wrong)-1].Check != tt.check {
			t.Errorf("%s, %s: got %+v", tt.check, tt.detail, wrong)
		}
	}
}

func TestALineIsOneLine(t *testing.T) {
	var out bytes.Buffer
	bad := doctor.Print(&out, []doctor.Finding{
		doctor.OK("a", "fine"), doctor.Unknown("longer", "not seen", ""),
		doctor.Wrong("b", "two\nlines\x1b[31m "+strings.Repeat("long ", 200), "Mend it."),
	})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if bad != 1 || len(lines) != 5 || lines[0] != "ok       a       fine" || lines[1] != "unknown  longer  not seen" ||
		!strings.HasPrefix(lines[2], "wrong    b       two lines [31m long") || !strings.HasSuffix(lines[2], "… — Mend it.") ||
		lines[4] != "1 of 3 checks found something wrong." {
		t.Errorf("%d\n%s", bad, out.String())
	}
}

func TestEachProblemOfTheConfigurationIsALine(t *testing.T) {
	_, err := config.Load(func(string) string { return "" })
	problems, _ := errors.AsType[config.Problems](err)
	if findings := doctor.Configuration(config.Config{}, problems); len(findings) != len(problems) || len(problems) < 3 {
		t.Errorf("%d problems, findings %+v", len(problems), findings)
	}
}
