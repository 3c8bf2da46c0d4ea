package tenant

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"entramcp/handler/clocktest"
)

const userRead = "https://graph.microsoft.com/User.Read"

// graph asks for the profile.
func (w *world) graph(token string) (int, map[string]any) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.url+"/v1.0/me", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestOnBehalfOfReadsTheProfile(t *testing.T) {
	w := start(t)
	w.must(w.GrantConsent(Alice, DefaultClientID, userRead))
	for _, scope := range []string{userRead, "User.Read", "https://graph.microsoft.com/.default", "user.read offline_access"} {
		r := w.onBehalfOfWith(w.tokens(Alice, nil).Access, params{"scope": scope})
		if r.Status != http.StatusOK || (r.Refresh != "") != strings.Contains(scope, "offline_access") {
			t.Fatalf("%s: %s", scope, r.Description)
		}
		if status, me := w.graph(r.Access); status != http.StatusOK || me["userPrincipalName"] != Alice || me["displayName"] != "Alice Ames" {
			t.Errorf("%s: %d %v", scope, status, me)
		}
	}
}

func TestGraphTakesOnlyItsOwnTokens(t *testing.T) {
	w := start(t)
	api := w.tokens(Alice, nil)
	w.must(w.GrantConsent(Alice, DefaultClientID, "Mail.Read"))
	mail := w.onBehalfOfWith(api.Access, params{"scope": "Mail.Read"}).Access
	for name, tc := range map[string]struct {
		token  string
		status int
	}{
		"none": {"", 401}, "nonsense": {"x", 401}, "ours": {api.Access, 401}, "an ID token": {api.ID, 401}, "without User.Read": {mail, 403},
	} {
		if status, _ := w.graph(tc.token); status != tc.status {
			t.Errorf("%s: %d", name, status)
		}
	}
}

func TestOnBehalfOfRefusals(t *testing.T) {
	const challenge = `{"access_token":{"polids":{"essential":true,"values":["p"]}}}`
	edit := func(f func(*User)) func(*world) error {
		return func(w *world) error { return w.Change(Alice, f) }
	}
	for name, tc := range map[string]struct {
		change   params
		meddle   func(*world) error
		after    time.Duration
		oauth    string
		code     int
		suberror string
		claims   string
	}{
		"no assertion":     {change: params{"assertion": "-"}, oauth: "invalid_request", code: 900144},
		"other use":        {change: params{"requested_token_use": "impersonate"}, oauth: "invalid_request", code: 90100},
		"no JWT":           {change: params{"assertion": "x"}, oauth: "invalid_grant", code: 50013},
		"expired":          {after: 2 * time.Hour, oauth: "invalid_grant", code: 500133},
		"OIDC scopes only": {change: params{"scope": "openid"}, oauth: "invalid_scope", code: 70011},
		"unknown scope":    {change: params{"scope": "Mail.Burn"}, oauth: "invalid_scope", code: 650053},
		"two resources":    {change: params{"scope": "User.Read " + apiScope}, oauth: "invalid_request", code: 28000},
		"no consent":       {change: params{"scope": "Mail.Read"}, oauth: "invalid_grant", code: 65001, suberror: "consent_required"},
		"MFA":              {meddle: edit(func(u *User) { u.MFA = true }), oauth: "interaction_required", code: 50076, suberror: "basic_action"},
		"challenged":       {meddle: edit(func(u *User) { u.Challenge, u.NoSecondFactor = challenge, true }), oauth: "interaction_required", code: 50079, suberror: "basic_action", claims: challenge},
		"blocked":          {meddle: edit(func(u *User) { u.Blocked = true }), oauth: "interaction_required", code: 53003, suberror: "message_only"},
		"disabled":         {meddle: edit(func(u *User) { u.Disabled = true }), oauth: "invalid_grant", code: 50057},
		"keys withdrawn":   {meddle: func(w *world) error { return w.RollKeys(true) }, oauth: "invalid_grant", code: 50013},
		"at common":        {change: params{"tenant": "common"}, oauth: "invalid_request", code: 9001023},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			w.must(w.GrantConsent(Alice, DefaultClientID, userRead))
			token := w.tokens(Alice, nil).Access
			w.clock.Advance(tc.after)
			if tc.meddle != nil {
				w.must(tc.meddle(w))
			}
			r := w.onBehalfOfWith(token, tc.change)
			checkReply(t, r, 400, tc.oauth, tc.code)
			if r.Suberror != tc.suberror || r.Claims != tc.claims {
				t.Errorf("suberror %q, claims %q", r.Suberror, r.Claims)
			}
		})
	}
}

// The assertion must be an access token for this very app.
func TestOnBehalfOfTakesNoOtherToken(t *testing.T) {
	w := start(t)
	w.must(w.GrantConsent(Alice, DefaultClientID, userRead))
	tokens := w.tokens(Alice, nil)
	graph := w.onBehalfOfWith(tokens.Access, nil).Access
	app := w.post(Contoso, merged(params{"grant_type": grantCredentials, "client_id": DefaultClientID, "client_secret": secret, "scope": DefaultClientID + "/.default"}, nil)).Access
	for name, token := range map[string]string{"ID token": tokens.ID, "Graph's": graph, "app-only": app} {
		if r := w.onBehalfOfWith(token, nil); r.code() != 50013 {
			t.Errorf("%s: %d %s", name, r.Status, r.Description)
		}
	}
}

// azidentity and MSAL insist on https, so the tenant is served with a
// certificate here; both run unchanged.
func TestAzidentityWorks(t *testing.T) {
	w := &world{t: t, clock: clocktest.At(time.Now())}
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	defer server.Close()
	var err error
	w.url = server.URL
	if w.Tenant, err = New(Options{BaseURL: server.URL, Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	app := DefaultApp(secret, callback)
	certificate, key := newCertificate(t, w.clock.Now().AddDate(0, -1, 0))
	id := ManagedIdentity{ClientID: "22222222-2222-4222-8222-222222222222", Principal: "33333333-3333-4333-8333-333333333333", Header: "h"}
	app.AdminConsented = true
	app.Certificates = append(app.Certificates, certificate)
	app.Federated = []FederatedCredential{w.Federation(id)}
	w.must(w.Register(app))
	endpoint := httptest.NewServer(w.ManagedIdentity(id))
	defer endpoint.Close()
	t.Setenv("IDENTITY_ENDPOINT", endpoint.URL)
	t.Setenv("IDENTITY_HEADER", id.Header)

	// A user token, issued as the token endpoint would.
	w.mu.Lock()
	parsed, refused := w.parseScope(w.app(DefaultClientID), apiScope)
	if refused != nil {
		t.Fatal(refused.text)
	}
	answer, refused := w.issue(tokenRequest{realm{Contoso, Contoso}, w.app(DefaultClientID), "1", nil},
		issuance{user: w.user(Alice), tenant: Contoso, wanted: parsed})
	w.mu.Unlock()
	if refused != nil {
		t.Fatal(refused.text)
	}
	user, err := answer["access_token"].(unsigned).sign()
	if err != nil {
		t.Fatal(err)
	}

	client := azcore.ClientOptions{Transport: server.Client(), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL}}
	options := &azidentity.OnBehalfOfCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: true}
	identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(id.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	assert := func(ctx context.Context) (string, error) {
		token, err := identity.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{TokenExchange + "/.default"}})
		return token.Token, err
	}
	bySecret, err1 := azidentity.NewOnBehalfOfCredentialWithSecret(Contoso, DefaultClientID, user, secret, options)
	byCertificate, err2 := azidentity.NewOnBehalfOfCredentialWithCertificate(Contoso, DefaultClientID, user, app.Certificates, key, options)
	byIdentity, err3 := azidentity.NewOnBehalfOfCredentialWithClientAssertions(Contoso, DefaultClientID, user, assert, options)
	for name, c := range map[string]struct {
		credential azcore.TokenCredential
		err        error
	}{"secret": {bySecret, err1}, "certificate": {byCertificate, err2}, "managed identity": {byIdentity, err3}} {
		t.Run(name, func(t *testing.T) {
			if c.err != nil {
				t.Fatal(c.err)
			}
			if _, err := c.credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{userRead}}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
