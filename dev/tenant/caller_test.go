package tenant

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	robotID = "0b071000-0000-4000-8000-00000000000b"
	mcpURL  = "https://mcp.contoso.example/mcp"
)

func withRoles(a *App) {
	a.ApplicationRoles, a.IdentifierURIs = []string{InvokeRole}, []string{mcpURL}
}

func TestIssuedCallersLookLikeEntras(t *testing.T) {
	w := start(t, withRoles)
	for name, test := range map[string]struct {
		token CallerToken
		want  map[string]any // nil: absent
	}{
		"application":  {CallerToken{App: robotID, Roles: []string{InvokeRole}}, map[string]any{"idtyp": "app", "scp": nil, "azp": robotID, "azpacr": "2", "ver": "2.0", "aud": DefaultClientID, "sid": nil}},
		"public":       {CallerToken{App: robotID, Public: true}, map[string]any{"azpacr": "0", "roles": nil}},
		"agent":        {CallerToken{App: robotID, Agent: true, Blueprint: "b"}, map[string]any{"idtyp": "app", "xms_act_fct": "11 9", "xms_sub_fct": "9 11", "xms_par_app_azp": "b"}},
		"agent for":    {CallerToken{App: robotID, Agent: true, User: Bob, Scopes: []string{DefaultScope}}, map[string]any{"idtyp": "user", "scp": DefaultScope, "xms_act_fct": "11 9", "xms_sub_fct": nil, "name": "Bob Berg"}},
		"agent's user": {CallerToken{App: robotID, Agent: true, AgentUser: true, User: Bob, Scopes: []string{DefaultScope}}, map[string]any{"xms_sub_fct": "13"}},
		"user":         {CallerToken{App: robotID, User: Bob, Scopes: []string{DefaultScope}}, map[string]any{"idtyp": "user", "scp": DefaultScope, "azp": robotID, "preferred_username": Bob}},
		"edited":       {CallerToken{App: robotID, Edit: func(c map[string]any) { c["aud"] = "x" }}, map[string]any{"aud": "x"}},
	} {
		raw, err := w.Issue(test.token)
		if err != nil {
			t.Fatal(err)
		}
		claims := w.claimsOf(raw)
		for claim, want := range test.want {
			if claims[claim] != want {
				t.Errorf("%s: %s is %v, want %v", name, claim, claims[claim], want)
			}
		}
		if agent := name == "agent"; agent == (claims["sub"] == claims["oid"]) && !strings.Contains(name, "user") && test.token.User == "" {
			t.Errorf("%s: sub %v, oid %v", name, claims["sub"], claims["oid"])
		}
	}
	for name, c := range map[string]CallerToken{
		"unknown app": {For: robotID}, "unknown role": {App: robotID, Roles: []string{"Mcp.Admin"}}, "unknown user": {App: robotID, User: "nobody"},
		"unknown scope": {App: robotID, User: Bob, Scopes: []string{"Mail.Read"}},
	} {
		if _, err := w.Issue(c); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
}

func TestRolesOfApplicationsAreAssigned(t *testing.T) {
	w := start(t, withRoles)
	w.must(w.Register(App{ClientID: robotID, Secrets: []Secret{{Value: "robot"}}, TokenVersion: 2}))
	ask := func(change params) reply {
		return w.post(Contoso, merged(params{"grant_type": "client_credentials", "client_id": robotID, "client_secret": "robot", "scope": "api://" + DefaultClientID + "/.default"}, change))
	}
	first := w.claimsOf(ask(nil).Access)
	if first["roles"] != nil || first["idtyp"] != "app" || first["oid"] == robotID {
		t.Errorf("claims are %v", first)
	}
	w.must(w.AssignRole(first["oid"].(string), DefaultClientID, InvokeRole))
	if roles, _ := w.claimsOf(ask(nil).Access)["roles"].([]any); len(roles) != 1 || roles[0] != InvokeRole {
		t.Errorf("roles are %v", roles)
	}
	if err := w.AssignRole(first["oid"].(string), DefaultClientID, "Mcp.Admin"); err == nil {
		t.Error("a role for users was assigned to an application")
	}
	for name, test := range map[string]struct {
		change params
		code   int // 0: issued
	}{
		"by URL":                     {params{"scope": mcpURL + "/.default"}, 0},
		"by URL and resource":        {params{"scope": mcpURL + "/.default", "resource": mcpURL}, 0},
		"resource names the same":    {params{"resource": mcpURL}, 0},
		"resource with a slash":      {params{"scope": mcpURL + "/.default", "resource": mcpURL + "/"}, 9010010},
		"resource in another case":   {params{"scope": mcpURL + "/.default", "resource": strings.ToUpper(mcpURL)}, 9010010},
		"resource nobody registered": {params{"resource": "https://other.example/mcp"}, 9010010},
		"scope of another":           {params{"scope": "https://graph.microsoft.com/.default", "resource": mcpURL}, 9010010},
	} {
		if r := ask(test.change); (r.Status == http.StatusOK) != (test.code == 0) || (test.code != 0 && r.Codes[0] != test.code) {
			t.Errorf("%s: %d %s", name, r.Status, r.Description)
		}
	}
}

func TestAnExternalTenant(t *testing.T) {
	w := start(t)
	var err error
	if w.Tenant, err = New(Options{BaseURL: w.url, Now: w.clock.Now, External: true}); err != nil {
		t.Fatal(err)
	}
	app := DefaultApp(secret, callback)
	app.AssignmentRequired = false
	w.must(w.Register(app))
	if q := w.signInAs(Bob, nil); !strings.Contains(q.Get("error_description"), "AADSTS65001") {
		t.Errorf("a user of an external tenant consented: %v", q)
	}
	w.must(w.Reconfigure(DefaultClientID, func(a *App) { a.AdminConsented = true }))
	r := w.tokens(Bob, nil)
	if issuer := w.claimsOf(r.ID)["iss"]; issuer != "https://"+Contoso+".ciamlogin.com/"+Contoso+"/v2.0" {
		t.Errorf("the issuer is %v", issuer)
	}
	w.clock.Advance(11 * time.Hour)
	if r := w.refreshWith(r.Refresh, nil); r.Status != http.StatusOK {
		t.Errorf("after 11 hours: %s", r.Description)
	}
	w.clock.Advance(2 * time.Hour)
	if r := w.refreshWith(r.Refresh, nil); r.Status == http.StatusOK || r.Codes[0] != 700082 {
		t.Errorf("after 13 hours: %d %s", r.Status, r.Description)
	}
	res, err := http.Get(w.url + "/organizations/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		t.Error("an external tenant is one tenant")
	}
}

func TestGraphAnswersWithItsOwnErrors(t *testing.T) {
	w := start(t, func(a *App) { a.AdminConsented = true })
	assertion := w.tokens(Bob, nil).Access
	token := func(scope string) string {
		r := w.onBehalfOfWith(assertion, params{"scope": "https://graph.microsoft.com/" + scope})
		if r.Status != http.StatusOK {
			t.Fatalf("%s: %s", scope, r.Description)
		}
		return r.Access
	}
	none := w.tokens(Alice, nil).Access
	alice := w.onBehalfOfWith(none, params{"scope": "https://graph.microsoft.com/User.Read.All"}).Access
	for name, test := range map[string]struct {
		token, path string
		status      int
		code        string
		has         string
	}{
		"me":                      {token("User.Read"), "/v1.0/me", 200, "", "Accountant"},
		"manager":                 {token("User.Read.All"), "/v1.0/me/manager", 200, "", "Alice Ames"},
		"no manager":              {alice, "/v1.0/me/manager", 404, "Request_ResourceNotFound", ""},
		"manager without right":   {token("User.Read"), "/v1.0/me/manager", 403, "Authorization_RequestDenied", ""},
		"messages":                {token("Mail.Read"), "/v1.0/me/messages", 200, "", "Welcome"},
		"messages without right":  {token("User.Read"), "/v1.0/me/messages", 403, "ErrorAccessDenied", ""},
		"users":                   {token("User.ReadBasic.All"), "/v1.0/users?$top=3", 200, "", "nextLink"},
		"the rest of them":        {token("User.ReadBasic.All"), "/v1.0/users?$top=3&$skiptoken=6", 200, "", "value"},
		"a negative page":         {token("User.ReadBasic.All"), "/v1.0/users?$top=-1", 400, "Request_UnsupportedQuery", ""},
		"one user, greater right": {token("User.Read.All"), "/v1.0/users/" + url.PathEscape(Heidi), 200, "", "Heidi"},
		"nobody":                  {token("User.ReadBasic.All"), "/v1.0/users/nobody", 404, "Request_ResourceNotFound", ""},
		"no token":                {"", "/v1.0/users", 401, "InvalidAuthenticationToken", ""},
		"another API's token":     {assertion, "/v1.0/me/messages", 401, "InvalidAuthenticationToken", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, w.url+test.path, nil)
		if test.token != "" {
			r.Header.Set("Authorization", "Bearer "+test.token)
		}
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		if rec.Code != test.status || !strings.Contains(rec.Body.String(), test.code) || !strings.Contains(rec.Body.String(), test.has) {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	w.ThrottleGraph(1)
	if status, _ := w.graph(token("User.Read")); status != http.StatusTooManyRequests {
		t.Errorf("throttled: %d", status)
	}
	if status, _ := w.graph(token("User.Read")); status != http.StatusOK {
		t.Errorf("after it: %d", status)
	}
}

func TestTheSignInPageSaysWhomItIsForAndWhatWillHappen(t *testing.T) {
	w := start(t)
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, w.authorizeURL(nil), nil))
	page := rec.Body.String()
	for _, want := range []string{"This is not Microsoft", "no password", outcomeSignsIn, outcomeStep, outcomeRefused, "start with him"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, u := range defaultUsers() {
		if !strings.Contains(page, u.Username) || u.Note == "" || u.Outcome == "" {
			t.Errorf("%s is missing, or nothing is said of the account", u.Username)
		}
	}
}
