package tenant

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func getJSON(t *testing.T, from string) (int, map[string]any) {
	t.Helper()
	resp, err := http.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestDiscoveryByTenant(t *testing.T) {
	w := start(t)
	for segment, issuer := range map[string]string{
		Contoso: Contoso, "contoso.example": Contoso, Fabrikam: Fabrikam, "consumers": Consumers,
		"organizations": "{tenantid}", "common": "{tenantid}",
	} {
		_, doc := getJSON(t, w.url+"/"+segment+"/v2.0/.well-known/openid-configuration")
		if doc["issuer"] != w.url+"/"+issuer+"/v2.0" || doc["token_endpoint"] != w.url+"/"+segment+"/oauth2/v2.0/token" {
			t.Errorf("%s: %v", segment, doc)
		}
		uri, _ := doc["jwks_uri"].(string)
		_, set := getJSON(t, uri)
		keys, _ := set["keys"].([]any)
		if len(keys) != 1 || keys[0].(map[string]any)["issuer"] != w.url+"/"+issuer+"/v2.0" {
			t.Errorf("%s: keys %v", segment, keys)
		}
	}
	for _, path := range []string{"/v2.0/.well-known/openid-configuration", "/discovery/v2.0/keys"} {
		if status, body := getJSON(t, w.url+"/nobody.example"+path); status != 400 || body["error"] != "invalid_tenant" {
			t.Errorf("%s: %d %v", path, status, body)
		}
	}
}

func TestKeyRollover(t *testing.T) {
	w := start(t)
	before := w.tokens(Alice, nil)
	w.must(w.RollKeys(false))
	after := w.tokens(Alice, nil)
	w.claimsOf(before.ID)
	w.claimsOf(after.ID)
	w.HideNewestKey()
	if key, err := w.published(unverified(t, after.ID)); err == nil {
		t.Errorf("a hidden key is published: %v", key)
	}
	w.ShowKeys()
	w.must(w.RollKeys(true))
	if key, err := w.published(unverified(t, before.ID)); err == nil {
		t.Errorf("a withdrawn key is published: %v", key)
	}
	if r := w.refreshWith(after.Refresh, nil); r.Status != http.StatusOK {
		t.Errorf("a key rollover ended a sign-in: %s", r.Description)
	}
}

func TestThrottlingAndOutage(t *testing.T) {
	w := start(t)
	token := w.tokens(Alice, nil).Refresh
	w.Throttle(2, 17*time.Second)
	for range 2 {
		r := w.refreshWith(token, nil)
		checkReply(t, r, 429, "temporarily_unavailable", 90055)
		if r.Retry != "17" {
			t.Errorf("Retry-After %q", r.Retry)
		}
	}
	if r := w.refreshWith(token, nil); r.Status != http.StatusOK {
		t.Errorf("still throttled: %s", r.Description)
	}
	w.Outage(true)
	checkReply(t, w.refreshWith(token, nil), 503, "temporarily_unavailable", 90006)
	if status, _ := getJSON(t, w.url+"/common/discovery/v2.0/keys"); status != 503 {
		t.Errorf("keys during an outage: %d", status)
	}
	w.Outage(false)
	w.Stall(time.Minute)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := SignIn(ctx, http.DefaultClient, w.authorizeURL(nil), Alice); err == nil {
		t.Error("a stalled tenant answers at once")
	}
}

func TestSkewedClock(t *testing.T) {
	w := start(t)
	w.SkewClock(10 * time.Minute)
	r := w.tokens(Alice, nil)
	w.clock.Advance(10 * time.Minute)
	claims := w.claimsOf(r.ID)
	if got := int64(claims["iat"].(float64)); got != w.clock.Now().Add(-5*time.Minute).Unix() {
		t.Errorf("iat %v", time.Unix(got, 0))
	}
}

// Restarting a local run must keep sign-ins, consent and keys.
func TestRestartKeepsSignIns(t *testing.T) {
	w := start(t)
	path := filepath.Join(t.TempDir(), "sub", "tenant.json")
	again := func() {
		t.Helper()
		var err error
		if w.Tenant, err = New(Options{BaseURL: w.url, Now: w.clock.Now, State: path}); err != nil {
			t.Fatal(err)
		}
		w.must(w.Register(DefaultApp(secret, callback)))
	}
	again()
	before := w.tokens(Alice, nil)
	factor := w.tokens(Frank, nil)
	w.must(w.RevokeSessions(Bob))
	revoked := w.tokens(Bob, nil)
	again()
	w.claimsOf(before.ID)
	if r := w.refreshWith(factor.Refresh, nil); r.Status != http.StatusOK {
		t.Errorf("a second factor is forgotten after a restart: %s", r.Description)
	}
	if r := w.refreshWith(revoked.Refresh, nil); r.Status != http.StatusOK {
		t.Errorf("what was issued after sessions were revoked is refused after a restart: %s", r.Description)
	}
	if r := w.refreshWith(before.Refresh, nil); r.Status != http.StatusOK {
		t.Errorf("refused after a restart: %s", r.Description)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file: %v %v", info, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{BaseURL: w.url, State: path}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged state file: %v", err)
	}
}

func identityToken(t *testing.T, endpoint string, id ManagedIdentity, resource string) string {
	t.Helper()
	status, body := askIdentity(t, endpoint, id.Header, url.Values{"resource": {resource}, "api-version": {"2019-08-01"}, "client_id": {id.ClientID}})
	token, _ := body["access_token"].(string)
	if status != http.StatusOK || token == "" || body["expires_on"] == "" {
		t.Fatalf("%d %v", status, body)
	}
	return token
}

func askIdentity(t *testing.T, endpoint, header string, q url.Values) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, endpoint+"?"+q.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-IDENTITY-HEADER", header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestManagedIdentityEndpointRefuses(t *testing.T) {
	w := start(t)
	id := ManagedIdentity{ClientID: Fabrikam, Principal: Contoso, Header: "h"}
	server := httptest.NewServer(w.ManagedIdentity(id))
	defer server.Close()
	for name, tc := range map[string]struct {
		header string
		q      url.Values
		status int
	}{
		"no header":      {"", url.Values{"resource": {"x"}, "api-version": {"2019-08-01"}, "client_id": {Fabrikam}}, 401},
		"old version":    {"h", url.Values{"resource": {"x"}, "api-version": {"2017-09-01"}, "client_id": {Fabrikam}}, 400},
		"no resource":    {"h", url.Values{"api-version": {"2019-08-01"}, "client_id": {Fabrikam}}, 400},
		"other identity": {"h", url.Values{"resource": {"x"}, "api-version": {"2019-08-01"}, "client_id": {Contoso}}, 400},
	} {
		if status, body := askIdentity(t, server.URL, tc.header, tc.q); status != tc.status {
			t.Errorf("%s: %d %v", name, status, body)
		}
	}
}

// The pages say what they are, run no script and are named for readers.
func TestPagesAreLabelledAndInert(t *testing.T) {
	w := start(t)
	for name, from := range map[string]string{
		"accounts": w.authorizeURL(params{"login_hint": Bob, "state": `"><script>alert(1)</script>`}),
		"refusal":  w.authorizeURL(params{"redirect_uri": `http://x/"><script>`}),
		"home":     w.url + "/",
		"logout":   w.url + "/common/oauth2/v2.0/logout?post_logout_redirect_uri=http://evil.example/",
	} {
		resp, err := http.Get(from)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		page := string(body)
		for _, want := range []string{"This is not Microsoft.</strong>", `<html lang="en">`, "<h1>", `name="viewport"`} {
			if !strings.Contains(page, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
		csp := resp.Header.Get("Content-Security-Policy")
		if strings.Contains(page, "<script") || !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-") || strings.Contains(csp, "form-action") {
			t.Errorf("%s: script, or policy %q", name, csp)
		}
		if name == "accounts" && !strings.Contains(page, `value="`+Bob+`" class="suggested" autofocus`) {
			t.Error("login_hint suggests nobody")
		}
	}
}

func TestFormPostAndFragment(t *testing.T) {
	w := start(t)
	fields := url.Values{"user": {Alice}, "consent": {"accept"}}
	to, err := Answer(context.Background(), http.DefaultClient, w.authorizeURL(params{"response_mode": "fragment"}), fields)
	if err != nil || !strings.HasPrefix(to, callback+"#code=") {
		t.Errorf("fragment: %s %v", to, err)
	}
	_, page, err := post(context.Background(), http.DefaultClient, w.authorizeURL(params{"response_mode": "form_post"}), fields)
	if err != nil || !strings.Contains(page, `action="`+callback+`"`) || !strings.Contains(page, `name="code" value="1.`) {
		t.Errorf("form_post: %s %v", page, err)
	}
}

func TestRegistrationRefusesWhatThePortalRefuses(t *testing.T) {
	w := start(t)
	for _, uri := range []string{"http://example.com/cb", "https://example.com/*", "https://example.com/#x", "vscode://cb", "/cb", "https://example.com/" + strings.Repeat("x", 256)} {
		if err := w.Register(App{ClientID: DefaultClientID, RedirectURIs: []string{uri}}); err == nil {
			t.Errorf("%s is registered", uri)
		}
	}
	if err := w.Register(App{ClientID: "my-app"}); err == nil {
		t.Error("a client id that is not a GUID")
	}
	// entra-docs: reply-url: the port of http://localhost does not count.
	if q := w.signInAs(Alice, nil); q.Get("code") == "" {
		t.Fatal(q)
	}
	app := App{RedirectURIs: []string{callback}}
	if !app.allows("http://localhost:9999/auth/callback") || app.allows("https://localhost:7071/auth/callback") {
		t.Error("the port of localhost counts, or the scheme does not")
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	app := DefaultApp(secret, callback)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, app); strings.Contains(text, secret) {
			t.Errorf("%s prints the secret", verb)
		}
	}
}

// Every code of the catalogue is provoked by some test.
func TestEveryCodeIsProvoked(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(body)
	}
	for code := range catalogue {
		if !regexp.MustCompile(fmt.Sprintf(`\b%d\b`, code)).MatchString(text.String()) {
			t.Errorf("no test provokes AADSTS%d", code)
		}
	}
}
