package handler_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/clients"
)

// postForm asks the tenant's token endpoint.
func (w *entraWorld) postForm(form url.Values) string {
	w.t.Helper()
	return w.tokenIn(http.Post(w.authority+"/"+tenant.Contoso+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", strings.NewReader(form.Encode())))
}

func (w *entraWorld) tokenIn(res *http.Response, err error) string {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.AccessToken == "" {
		w.t.Fatalf("no token: %s", text)
	}
	return answer.AccessToken
}

// robot is an application of the tenant with a secret and, if trusts is given,
// with a federated credential.
func (w *entraWorld) robot(trusts ...tenant.FederatedCredential) {
	w.t.Helper()
	if err := w.Register(tenant.App{
		ClientID: robotApp, Name: "Robot", Principal: robotPrincipal, TokenVersion: 2,
		Secrets: []tenant.Secret{{Value: "robot-secret"}}, Federated: trusts,
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *entraWorld) assign(principal string) {
	w.t.Helper()
	if err := w.AssignRole(principal, tenant.DefaultClientID, tenant.InvokeRole); err != nil {
		w.t.Fatal(err)
	}
}

// identity is a machine with a managed identity.
func (w *entraWorld) identity() (id tenant.ManagedIdentity, token func(resource string) string) {
	id = tenant.ManagedIdentity{ClientID: "1d000000-0000-4000-8000-000000000001", Principal: "1d000000-0000-4000-8000-000000000002", Header: "h"}
	endpoint := httptest.NewServer(w.ManagedIdentity(id))
	w.t.Cleanup(endpoint.Close)
	return id, func(resource string) string {
		w.t.Helper()
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, endpoint.URL+"?"+url.Values{
			"resource": {resource}, "api-version": {"2019-08-01"}, "client_id": {id.ClientID}}.Encode(), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("X-Identity-Header", id.Header)
		return w.tokenIn(http.DefaultClient.Do(req))
	}
}

// byHand is a client that the operator makes, before and after its application has
// shown its redirect URI. Such applications send no PKCE and no resource.
func (w *entraWorld) byHand(redirect string) *app {
	w.t.Helper()
	o := w.operator()
	made, first, err := o.CreateClient(w.t.Context(), clients.OperatorClient{Name: "By hand", RedirectURIs: []string{"https://later.invalid/"}, WithoutPKCE: true})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := o.SetRedirectURIs(w.t.Context(), made.ID, []string{redirect}); err != nil {
		w.t.Fatal(err)
	}
	a := &app{entraWorld: w, id: made.ID, secret: first.Reveal(), redirect: redirect, bare: true}
	a.redeem(w.server, a.get(w.server, a.approve(w.server, tenant.Alice)))
	// While one secret takes the place of the other, both are good.
	second, err := o.RotateSecret(w.t.Context(), made.ID, 24*time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, secret := range []string{a.secret, second.Reveal()} {
		a.secret = secret
		a.refreshes()
	}
	return a
}

// byItself is a client that registers itself, is given a secret and signs a user
// in.
func (w *entraWorld) byItself(redirect string, metadata map[string]any) *app {
	w.t.Helper()
	a := w.register(w.server, redirect, metadata)
	if a.secret == "" {
		w.t.Fatal("the client was given no secret")
	}
	a.redeem(w.server, a.get(w.server, a.approve(w.server, tenant.Alice)))
	a.refreshes()
	return a
}

// refreshes is a refresh when that of a minute ago is settled.
func (a *app) refreshes() {
	a.t.Helper()
	a.clock.Advance(time.Minute)
	if status := a.renew(a.server); status != http.StatusOK {
		a.t.Fatalf("a refresh: %d", status)
	}
}

const robotPrincipal = "0b071000-0000-4000-8000-0000000000aa"

// TestEachWayOfMicrosoftsCallersReachesATool follows docs/microsoft-callers.md,
// as far as the simulated tenant can stand for Entra. Applications get their token
// by Entra's own protocol; those of agents and of Microsoft's token store are made
// as Entra's look. Clients of ours go through registration, consent and sign-in,
// and refresh. The page names the cases by section.
func TestEachWayOfMicrosoftsCallersReachesATool(t *testing.T) {
	const api = "api://" + tenant.DefaultClientID
	for name, test := range map[string]struct {
		token func(*entraWorld) string
		kind  string
	}{
		"an application with a secret": {func(w *entraWorld) string {
			w.robot()
			w.assign(robotPrincipal)
			return w.postForm(url.Values{"grant_type": {"client_credentials"}, "client_id": {robotApp}, "client_secret": {"robot-secret"}, "scope": {api + "/.default"}})
		}, "application"},
		"by the MCP endpoint's own URL": {func(w *entraWorld) string {
			w.robot()
			w.assign(robotPrincipal)
			return w.postForm(url.Values{"grant_type": {"client_credentials"}, "client_id": {robotApp}, "client_secret": {"robot-secret"},
				"scope": {mcpIssuer + "/mcp/.default"}, "resource": {mcpIssuer + "/mcp"}})
		}, "application"},
		"a managed identity": {func(w *entraWorld) string {
			id, token := w.identity()
			w.assign(id.Principal)
			return token(api)
		}, "application"},
		"a pipeline with a federated credential": {func(w *entraWorld) string {
			id, token := w.identity() // stands for the pipeline's issuer
			w.robot(w.Federation(id))
			w.assign(robotPrincipal)
			return w.postForm(url.Values{"grant_type": {"client_credentials"}, "client_id": {robotApp}, "scope": {api + "/.default"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {token(tenant.TokenExchange)}})
		}, "application"},
		"an agent identity": {func(w *entraWorld) string {
			return w.issue(tenant.CallerToken{App: robotApp, Agent: true, Roles: []string{tenant.InvokeRole}})
		}, "agent"},
		"an agent for a person": {func(w *entraWorld) string {
			return w.issue(tenant.CallerToken{App: copilotApp, Agent: true, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}})
		}, "user"},
		"a program for its user": {func(w *entraWorld) string {
			const redirect = "https://program.example/callback"
			w.robot()
			if err := w.Reconfigure(robotApp, func(a *tenant.App) { a.RedirectURIs = []string{redirect} }); err != nil {
				w.t.Fatal(err)
			}
			back, err := tenant.SignIn(w.t.Context(), http.DefaultClient, w.authority+"/"+tenant.Contoso+"/oauth2/v2.0/authorize?"+url.Values{
				"response_type": {"code"}, "client_id": {robotApp}, "redirect_uri": {redirect}, "state": {"s"},
				"scope": {mcpIssuer + "/mcp/" + tenant.DefaultScope}, "resource": {mcpIssuer + "/mcp"}}.Encode(), tenant.Alice)
			if err != nil {
				w.t.Fatal(err)
			}
			answer, err := url.Parse(back)
			if err != nil {
				w.t.Fatal(err)
			}
			return w.postForm(url.Values{"grant_type": {"authorization_code"}, "client_id": {robotApp}, "client_secret": {"robot-secret"},
				"code": {answer.Query().Get("code")}, "redirect_uri": {redirect}})
		}, "user"},
		"Foundry for a person": {func(w *entraWorld) string {
			return w.byHand("https://global.consent.azure-apim.net/redirect/foundry-5f1c").access
		}, "user"},
		"Copilot Studio by dynamic discovery": {func(w *entraWorld) string {
			return w.byItself("https://global.consent.azure-apim.net/redirect/my-20tool-5f1c", map[string]any{
				"client_name": "Copilot Studio", "token_endpoint_auth_method": "client_secret_post"}).access
		}, "user"},
		"Copilot Studio by hand": {func(w *entraWorld) string {
			return w.byHand("https://global.consent.azure-apim.net/redirect/my-20tool-5f1c").access
		}, "user"},
		"Microsoft 365 Copilot by DCR": {func(w *entraWorld) string {
			return w.byItself("https://teams.microsoft.com/api/platform/v1.0/oAuthRedirect", map[string]any{
				"client_name": "Microsoft 365 Copilot", "application_type": "native", "token_endpoint_auth_method": "none"}).access
		}, "user"},
		"single sign-on of Microsoft 365 Copilot": {func(w *entraWorld) string {
			return w.issue(tenant.CallerToken{App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}})
		}, "user"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEntraWorld(t, map[string]string{"ENTRA_APP_CALLERS": "roles", "ENTRA_CLIENTS": copilotApp + "," + robotApp, "ENTRA_RESOURCE_URI": "on"})
			if status, body := w.call(test.token(w), "caller"); status != http.StatusOK || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), `"kind":"`+test.kind+`"`) {
				t.Errorf("%d %s", status, body)
			}
		})
	}
}

// Without an assignment Entra issues a token all the same.
func TestATokenIsNotPermission(t *testing.T) {
	w := newEntraWorld(t, entraCallersOn)
	w.robot()
	token := w.postForm(url.Values{"grant_type": {"client_credentials"}, "client_id": {robotApp}, "client_secret": {"robot-secret"}, "scope": {tenant.DefaultClientID + "/.default"}})
	if status, body := w.call(token, "caller"); status != http.StatusForbidden || !strings.Contains(body, robotPrincipal) {
		t.Errorf("%d %s", status, body)
	}
}

// Users of an external tenant (External ID) cannot consent, and their sign-in ends
// when it was not used for half a day. Its issuer is on another host than its pages.
func TestUsersOfAnExternalTenantSignIn(t *testing.T) {
	w := newEntraWorld(t, nil)
	var err error
	if w.Tenant, err = tenant.New(tenant.Options{BaseURL: w.authority, SigningKey: tenant.SharedKey(), Now: w.clock.Now, External: true}); err != nil {
		t.Fatal(err)
	}
	registration := tenant.DefaultApp("s3cret-value", mcpIssuer+"/auth/callback")
	registration.AssignmentRequired = false
	if err := w.Register(registration); err != nil {
		t.Fatal(err)
	}
	if _, end := w.authorize(w.server, tenant.Bob); strings.Contains(end.Header().Get("Location"), "code=") || !strings.Contains(end.Body.String(), "AADSTS65001") {
		t.Errorf("before an administrator has consented: %d %s %s", end.Code, end.Header().Get("Location"), end.Body)
	}
	if err := w.Reconfigure(tenant.DefaultClientID, func(a *tenant.App) { a.AdminConsented = true }); err != nil {
		t.Fatal(err)
	}
	bob := w.connect(w.server, tenant.Bob)
	if status, body := w.call(bob.access, "caller"); status != http.StatusOK {
		t.Errorf("a call: %d %s", status, body)
	}
	w.clock.Advance(11 * time.Hour)
	if status := bob.renew(w.server); status != http.StatusOK {
		t.Errorf("a refresh after 11 hours: %d", status)
	}
	w.clock.Advance(13 * time.Hour)
	if status := bob.renew(w.server); status != http.StatusBadRequest {
		t.Errorf("a refresh 13 hours later: %d", status)
	}
}
