package handler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler"
	"entramcp/handler/clocktest"
	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/operator"
	"entramcp/handler/secret"
	"entramcp/handler/store/storetest"
	"entramcp/handler/toolkit"
)

const (
	robotApp   = "0b071000-0000-4000-8000-00000000000b"
	copilotApp = "ab3be6b7-f5df-413d-ac2d-abf1e3fd9c0b"
)

// entraWorld is the whole server beside the simulated tenant.
type entraWorld struct {
	*tenant.Tenant
	t      *testing.T
	server *handler.Server
	table  *storetest.Instrumented
	// authority is where the tenant is.
	authority string
	ring      *keyring.Ring
	cfg       config.Config
	deps      handler.Dependencies
	// clock is that of the tenant and of every instance.
	clock *clocktest.Clock
}

func newEntraWorld(t *testing.T, settings map[string]string) *entraWorld {
	t.Helper()
	w := &entraWorld{t: t, clock: &clocktest.Clock{}}
	authority := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(rw, r) }))
	t.Cleanup(authority.Close)
	w.authority = authority.URL
	var err error
	if w.Tenant, err = tenant.New(tenant.Options{BaseURL: authority.URL, SigningKey: tenant.SharedKey(), Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	app := tenant.DefaultApp("s3cret-value", mcpIssuer+"/auth/callback")
	app.AssignmentRequired, app.AdminConsented = false, true
	app.Scopes = append(app.Scopes, "User.Read")
	app.IdentifierURIs = []string{mcpIssuer + "/mcp"}
	if err := w.Register(app); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"ENTRA_AUTHORITY": authority.URL, "ENTRA_TENANT_ID": tenant.Contoso, "ENTRA_CLIENT_ID": tenant.DefaultClientID,
		"ENTRA_CLIENT_SECRET": "s3cret-value", "ENTRA_API_SCOPE": "api://" + tenant.DefaultClientID + "/" + tenant.DefaultScope,
	}
	maps.Copy(env, settings)
	if w.cfg, err = config.Load(func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	w.table = storetest.Instrument(storetest.Embedded(t))
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(strings.Repeat("0123456789abcdef", 4))})
	if err != nil {
		t.Fatal(err)
	}
	w.ring = keyring.New(keyring.Options{Table: w.table, Wrapper: wrapper, Now: w.clock.Now})
	catalogue := toolkit.Catalogue{Tools: []toolkit.Tool{
		toolkit.Define("caller", "Who calls.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (map[string]string, error) {
			who, err := c.Identity(ctx)
			return map[string]string{"kind": c.Kind.String(), "subject": string(c.Subject), "client": c.ClientID, "name": who.Name, "scopes": c.Scopes.String()}, err
		}),
		toolkit.Define("admin", "For administrators.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "done", nil }, toolkit.RequireRole("Mcp.Admin")),
		toolkit.Define("send", "Send mail.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "sent", nil }, toolkit.RequireScopes("Mail.Send")),
		toolkit.Define("keep", "Keep a note.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
			_, err := toolkit.DataOf[string](c, "notes").Put(ctx, "note", "text", "")
			return "kept", err
		}),
		toolkit.Define("profile", "The profile in Graph.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
			token, err := c.Token(ctx, "User.Read")
			if err != nil {
				return "", err
			}
			return w.graphName(ctx, authority.URL, token.Reveal())
		}, toolkit.CallAPI("User.Read")),
	}}
	w.deps = handler.Dependencies{Table: w.table, Wrapper: wrapper, Catalogue: &catalogue, Now: w.clock.Now}
	w.server = w.another()
	return w
}

// another is one more instance on the same table.
func (w *entraWorld) another() *handler.Server {
	w.t.Helper()
	s, err := handler.New(w.cfg, w.deps)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// operator is one who works on the server's table.
func (w *entraWorld) operator() *operator.Operator {
	w.t.Helper()
	o, err := operator.New(w.cfg, w.deps.Table, w.deps.Wrapper, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *entraWorld) graphName(ctx context.Context, graph, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, graph+"/v1.0/me", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var profile struct{ DisplayName string }
	err = json.NewDecoder(res.Body).Decode(&profile)
	return profile.DisplayName, err
}

func (w *entraWorld) issue(c tenant.CallerToken) string {
	w.t.Helper()
	token, err := w.Issue(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// call calls a tool and returns the status and the body.
func (w *entraWorld) call(token, tool string) (int, string) {
	w.t.Helper()
	return w.callAt(w.server, token, tool)
}

// callAt is call of an instance.
func (w *entraWorld) callAt(to http.Handler, token, tool string) (int, string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, tool)
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodPost, mcpIssuer+"/mcp", bytes.NewReader([]byte(body)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	to.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

var entraCallersOn = map[string]string{"ENTRA_APP_CALLERS": "roles", "ENTRA_CLIENTS": copilotApp}

func TestCallersWithEntrasOwnTokens(t *testing.T) {
	robot := tenant.CallerToken{App: robotApp, Roles: []string{tenant.InvokeRole}}
	agent := tenant.CallerToken{App: robotApp, Agent: true, Roles: []string{tenant.InvokeRole}}
	alice := tenant.CallerToken{App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope, "User.Read"}}
	for name, test := range map[string]struct {
		token  tenant.CallerToken
		tool   string
		status int
		says   []string
	}{
		"application":                    {robot, "caller", 200, []string{`"kind":"application"`, `"client":"` + robotApp, `"scopes":""`}},
		"agent":                          {agent, "caller", 200, []string{`"kind":"agent"`}},
		"user of a named application":    {alice, "caller", 200, []string{`"kind":"user"`, `"name":"Alice Ames"`, "User.Read", `"client":"` + copilotApp}},
		"application without the role":   {tenant.CallerToken{App: robotApp}, "caller", 403, []string{"Mcp.Invoke", "24 hours"}},
		"user of another application":    {tenant.CallerToken{App: robotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}}, "caller", 401, []string{"ENTRA_CLIENTS"}},
		"user's role":                    {alice, "admin", 200, []string{"done"}},
		"application without that role":  {robot, "admin", 200, []string{`"isError":true`, "Mcp.Admin"}},
		"on behalf of the user":          {alice, "profile", 200, []string{"Alice Ames"}},
		"application on behalf of":       {robot, "profile", 200, []string{`"isError":true`, "users who have signed in"}},
		"application, tool with a scope": {robot, "send", 403, []string{"signed-in user", "Mail.Send"}},
		"user without that scope":        {tenant.CallerToken{App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}}, "profile", 200, []string{`"isError":true`, "User.Read"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEntraWorld(t, entraCallersOn)
			w.call(w.issue(robot), "caller") // reads what is blocked, as every instance does once
			before := w.table.Count()
			status, body := w.call(w.issue(test.token), test.tool)
			if status != test.status {
				t.Errorf("status %d: %s", status, body)
			}
			for _, want := range test.says {
				if !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), want) {
					t.Errorf("%s lacks %s", body, want)
				}
			}
			if n := w.table.Count() - before; n != 0 {
				t.Errorf("%d storage operations", n)
			}
		})
	}
}

func TestAUserIsTheSameThroughANamedApplication(t *testing.T) {
	w := newEntraWorld(t, entraCallersOn)
	_, body := w.call(w.issue(tenant.CallerToken{App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}}), "caller")
	if want := string(grants.SubjectOf(tenant.Contoso, w.ObjectID(tenant.Alice))); !strings.Contains(body, want) {
		t.Errorf("%s lacks the subject of our own sign-in, %s", body, want)
	}
}

func TestAnApplicationIsNeverAUser(t *testing.T) {
	w := newEntraWorld(t, entraCallersOn)
	id := w.ObjectID(tenant.Alice)
	_, body := w.call(w.issue(tenant.CallerToken{App: robotApp, Roles: []string{tenant.InvokeRole}, Edit: func(c map[string]any) { c["oid"] = id }}), "caller")
	if subject := string(grants.SubjectOf(tenant.Contoso, id)); strings.Contains(body, subject) || !strings.Contains(body, "application") {
		t.Errorf("an application has the subject of a user: %s", body)
	}
}

func TestEntrasOwnTokensAreOffByDefault(t *testing.T) {
	w := newEntraWorld(t, nil)
	for name, c := range map[string]tenant.CallerToken{
		"application": {App: robotApp, Roles: []string{tenant.InvokeRole}},
		"user":        {App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}},
	} {
		if status, body := w.call(w.issue(c), "caller"); status != http.StatusUnauthorized || strings.Contains(body, "ENTRA_") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestAnOutageOfEntraIsNoVerdictOnItsTokens(t *testing.T) {
	w := newEntraWorld(t, entraCallersOn)
	token := w.issue(tenant.CallerToken{App: robotApp, Roles: []string{tenant.InvokeRole}})
	w.Outage(true)
	if status, body := w.call(token, "caller"); status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", status, body)
	}
	w.Outage(false)
	if status, body := w.call(token, "caller"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}

func TestBlockedCallersAreRefused(t *testing.T) {
	w := newEntraWorld(t, entraCallersOn)
	blocks := grants.New(grants.Options{Table: w.table, Ring: w.ring, Issuer: mcpIssuer, Resource: mcpResource})
	robot := w.issue(tenant.CallerToken{App: robotApp, Roles: []string{tenant.InvokeRole}})
	alice := w.issue(tenant.CallerToken{App: copilotApp, User: tenant.Alice, Scopes: []string{tenant.DefaultScope}})
	if err := blocks.Block(t.Context(), grants.BlockApp, robotApp, "test"); err != nil {
		t.Fatal(err)
	}
	if err := blocks.Block(t.Context(), grants.BlockUser, string(grants.SubjectOf(tenant.Contoso, w.ObjectID(tenant.Alice))), "test"); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"app": robot, "user": alice} {
		if status, body := w.call(token, "caller"); status != http.StatusUnauthorized || !strings.Contains(body, "blocked this "+name) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

// Who is blocked manages nothing by the automation either, whatever role its token
// has.
func TestABlockedApplicationManagesNothing(t *testing.T) {
	for kind, value := range map[grants.BlockKind]string{grants.BlockApp: robotApp, grants.BlockTenant: tenant.Contoso} {
		w := newEntraWorld(t, nil)
		token := w.issue(tenant.CallerToken{App: robotApp, Roles: []string{tenant.ManageRole}})
		signOut := func(username string) (int, string) {
			r := httptest.NewRequest(http.MethodPost, mcpIssuer+"/account/manage/api", strings.NewReader(`{"do":"sign-out-user","user":"`+w.ObjectID(username)+`"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			rec := httptest.NewRecorder()
			w.server.ServeHTTP(rec, r)
			return rec.Code, rec.Body.String()
		}
		alice := w.connect(w.server, tenant.Alice)
		if status, body := signOut(tenant.Bob); status != http.StatusOK {
			t.Fatalf("%s: before it is blocked: %d %s", kind, status, body)
		}
		_, blocks := handler.Inside(w.server)
		if err := blocks.Block(t.Context(), kind, value, "test"); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(2 * time.Second)
		if status, body := signOut(tenant.Alice); status != http.StatusUnauthorized || !strings.Contains(body, "blocked this "+string(kind)) {
			t.Errorf("%s: blocked: %d %s", kind, status, body)
		}
		if err := blocks.Unblock(t.Context(), kind, value); err != nil {
			t.Fatal(err)
		}
		if kind == grants.BlockTenant {
			continue // the block has ended what its users had
		}
		if status, _ := w.call(alice.access, "caller"); status != http.StatusOK {
			t.Errorf("a blocked application has signed a user out: %d", status)
		}
	}
}

// An operator who looks why an agent has no tools finds which application was
// refused; what a forged token says of itself is not repeated.
func TestARefusedCallerIsNamedInTheAudit(t *testing.T) {
	w := newEntraWorld(t, entraCallersOn)
	var log bytes.Buffer
	w.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	to := w.another()
	genuine := w.issue(tenant.CallerToken{App: robotApp})
	w.callAt(to, genuine, "caller")
	if text := log.String(); !strings.Contains(text, "event=caller_refused client_id="+robotApp+" tenant="+tenant.Contoso) {
		t.Error(text)
	}
	log.Reset()
	w.callAt(to, genuine[:len(genuine)-8]+"AAAAAAAA", "caller")
	if text := log.String(); !strings.Contains(text, "caller_refused") || strings.Contains(text, robotApp) {
		t.Error(text)
	}
}

func TestTheLogNamesAnAgentsBlueprintOnce(t *testing.T) {
	const blueprint = "0b071000-0000-4000-8000-0000000000bb"
	w := newEntraWorld(t, entraCallersOn)
	var log bytes.Buffer
	w.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	to := w.another()
	token := w.issue(tenant.CallerToken{App: robotApp, Agent: true, Blueprint: blueprint, Roles: []string{tenant.InvokeRole}})
	for range 3 {
		if status, body := w.callAt(to, token, "caller"); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	if text := log.String(); strings.Count(text, "blueprint="+blueprint) != 1 || strings.Contains(text, token) {
		t.Error(text)
	}
}
