package handler_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"entramcp/dev/tenant"
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

const robotPrincipal = "0b071000-0000-4000-8000-0000000000aa"

// TestEachWayOfMicrosoftsCallersReachesATool follows docs/microsoft-callers.md,
// as far as the simulated tenant can stand for Entra: the caller gets its token
// by Entra's own protocol.
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
		"single sign-on of Microsoft 365 Copilot": {func(w *entraWorld) string {
			return w.issue(tenant.CallerToken{App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}})
		}, "user"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEntraWorld(t, map[string]string{"ENTRA_APP_CALLERS": "roles", "ENTRA_CLIENTS": copilotApp, "ENTRA_RESOURCE_URI": "on"})
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
