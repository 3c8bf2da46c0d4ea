// What the clients in use need of a server, one test for each need, named for a
// client that has it. docs/clients.md lists them.
package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/e2e/stack"
)

var resourcePaths = []string{
	"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/",
}

var issuerPaths = []string{
	"/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/mcp",
	"/mcp/.well-known/oauth-authorization-server",
}

// probe makes a request without following redirects.
func probe(t *testing.T, method, address string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	res, err := (&http.Transport{}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func fetchJSON(t *testing.T, address string) map[string]any {
	t.Helper()
	res, body := probe(t, http.MethodGet, address, nil)
	var document map[string]any
	if err := json.Unmarshal([]byte(body), &document); err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s %v", address, res.StatusCode, res.Header.Get("Content-Type"), err)
	}
	return document
}

// TestCopilotCLIComparesIssuersByteForByte: so do Codex and OpenCode, which fail
// over one slash.
func TestCopilotCLIComparesIssuersByteForByte(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	for _, path := range issuerPaths {
		if got := fetchJSON(t, s.URL+path)["issuer"]; got != s.URL {
			t.Errorf("%s: issuer %q", path, got)
		}
	}
	for _, path := range resourcePaths {
		if got := fetchJSON(t, s.URL+path)["authorization_servers"].([]any); len(got) != 1 || got[0] != s.URL {
			t.Errorf("%s: authorization_servers %q", path, got)
		}
	}
	callback, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: s.Register(t, goRedirect), RedirectURI: goRedirect})
	if got := callback.Query()["iss"]; !slices.Equal(got, []string{s.URL}) {
		t.Errorf("iss in the callback: %q", got)
	}
	if got := claimsOf(t, tokens.Access)["iss"]; got != s.URL {
		t.Errorf("iss in the token: %q", got)
	}
}

func claimsOf(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestClaudeComparesTheResourceWithTheURLTyped: so do VS Code and Claude Code,
// whichever of the documents they read.
func TestClaudeComparesTheResourceWithTheURLTyped(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	_, first := probe(t, http.MethodGet, s.URL+resourcePaths[0], nil)
	for _, path := range resourcePaths {
		if _, body := probe(t, http.MethodGet, s.URL+path, nil); body != first {
			t.Errorf("%s differs:\n%s\n%s", path, body, first)
		}
		if got := fetchJSON(t, s.URL+path)["resource"]; got != s.MCP() {
			t.Errorf("%s: resource %q", path, got)
		}
	}
}

// TestTypeScriptFollowsNoRedirectToMetadata, and asks with and without a slash
// at the end.
func TestTypeScriptFollowsNoRedirectToMetadata(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	for _, path := range slices.Concat(resourcePaths, issuerPaths) {
		for _, p := range []string{strings.TrimSuffix(path, "/"), strings.TrimSuffix(path, "/") + "/"} {
			if res, _ := probe(t, http.MethodGet, s.URL+p, nil); res.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", p, res.Status)
			}
		}
	}
}

// TestClaudeKeepsMetadataForAsLongAsItMay: a changed configuration reaches it
// within five minutes.
func TestClaudeKeepsMetadataForAsLongAsItMay(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	maxAge := regexp.MustCompile(`(?:^|[ ,])max-age=(\d+)`)
	for _, path := range slices.Concat(resourcePaths, issuerPaths) {
		res, _ := probe(t, http.MethodGet, s.URL+path, nil)
		found := maxAge.FindStringSubmatch(res.Header.Get("Cache-Control"))
		if found == nil {
			t.Errorf("%s: Cache-Control %q", path, res.Header.Get("Cache-Control"))
			continue
		}
		if seconds, _ := strconv.Atoi(found[1]); seconds > 300 {
			t.Errorf("%s may be kept for %d s", path, seconds)
		}
	}
}

// TestClaudeUsesItsDocumentIfPublicClientsAreListed: without both members it
// registers a new client at each connect.
func TestClaudeUsesItsDocumentIfPublicClientsAreListed(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	for _, path := range issuerPaths {
		document := fetchJSON(t, s.URL+path)
		if methods := document["token_endpoint_auth_methods_supported"].([]any); !slices.Contains(methods, any("none")) {
			t.Errorf("%s: methods %v", path, methods)
		}
		if document["client_id_metadata_document_supported"] != true {
			t.Errorf("%s does not announce metadata documents", path)
		}
	}
}

// TestGeminiAsksForEveryScopeListed by the authorization server, whatever the
// challenge says; offline_access is listed there and nowhere else, because other
// clients ask for all that the resource lists.
func TestGeminiAsksForEveryScopeListed(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, offerMail)
	listed := strings.Fields(join(fetchJSON(t, s.URL+issuerPaths[0])["scopes_supported"].([]any)))
	for _, want := range []string{"offline_access", "Mail.Send", "openid"} {
		if !slices.Contains(listed, want) {
			t.Errorf("scopes_supported %v lack %s", listed, want)
		}
	}
	for _, path := range resourcePaths {
		if got := fetchJSON(t, s.URL+path)["scopes_supported"].([]any); slices.Contains(got, any("offline_access")) || slices.Contains(got, any("Mail.Send")) {
			t.Errorf("%s lists %v", path, got)
		}
	}
	const redirect = "http://localhost:41234/oauth/callback"
	_, tokens := s.SignInWith(t, stack.Alice, stack.Flow{ClientID: s.Register(t, redirect), RedirectURI: redirect,
		Extra: map[string][]string{"scope": {strings.Join(listed, " ")}, "resource": {s.MCP()}}})
	granted := strings.Fields(tokens.Scope)
	slices.Sort(granted)
	slices.Sort(listed)
	if !slices.Equal(granted, listed) {
		t.Errorf("granted %v of %v", granted, listed)
	}
}

func join(list []any) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(v.(string) + " ")
	}
	return b.String()
}

// TestGeminiProbesWithHEAD, mcp-remote and Codex with GET, and each looks for
// the challenge.
func TestGeminiProbesWithHEAD(t *testing.T) {
	t.Parallel()
	s := stack.StartLocal(t, nil, nil)
	want := `resource_metadata="` + s.URL + resourcePaths[0] + `"`
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPut} {
		res, _ := probe(t, method, s.MCP(), http.Header{"Mcp-Protocol-Version": {"2024-11-05"}})
		if got := res.Header.Get("WWW-Authenticate"); res.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(got, "Bearer ") || !strings.Contains(got, want) {
			t.Errorf("%s: %s %s", method, res.Status, got)
		}
	}
}
