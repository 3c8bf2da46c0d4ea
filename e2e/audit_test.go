package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/authserver"
	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/operator"
	"entramcp/handler/store"
	"entramcp/handler/toolkit"
)

// audited is a server whose audit events the test reads.
type audited struct {
	*stack.Local
	t     *testing.T
	lines stack.Output
	read  int
	log   *slog.Logger
	// table and wrapper are what the command line opens.
	table   store.Table
	wrapper keyring.Wrapper
}

func newAudited(t *testing.T, env map[string]string) *audited {
	t.Helper()
	a := &audited{t: t}
	a.log = observe.NewLogger(observe.LogOptions{Out: &a.lines, Errs: &a.lines, Level: slog.LevelInfo})
	a.Local = stack.StartLocal(t, env, func(d *handler.Dependencies) {
		a.table, a.wrapper, d.Log = d.Table, d.Wrapper, a.log
		d.Catalogue.Tools = append(d.Catalogue.Tools,
			toolkit.Define("send", "Send mail.", answer42, toolkit.RequireScopes("Mail.Send")),
			toolkit.Define("administer", "For administrators.", answer42, toolkit.RequireRole("Mcp.Admin")))
	})
	a.must(a.Tenant.Reconfigure(stack.ClientID, func(app *tenant.App) {
		app.AppRoles = append(app.AppRoles, tenant.ManageRole)
		app.ApplicationRoles = append(app.ApplicationRoles, tenant.ManageRole)
	}))
	logged(t, &a.lines, string(observe.KeyRingChanged))
	a.news()
	return a
}

// visitor is where requests of clients and browsers come from.
const visitor = "203.0.113.77"

var forwarded = withHeader{"X-Forwarded-For", visitor}

// app is a client, which has registered.
func (a *audited) app(user string) *app {
	a.t.Helper()
	c := &app{t: a.t, Client: oauthclient.New(a.URL, appCallback), browser: a.browser(user)}
	c.HTTP = &http.Client{Transport: forwarded}
	return registered(c)
}

func (a *audited) browser(user string) *stack.Browser {
	return a.Browser(user).Through(forwarded)
}

// news are the audit events since the last call.
func (a *audited) news() []map[string]any {
	a.t.Helper()
	var events []map[string]any
	all := a.lines.String()
	for line := range strings.Lines(all[a.read:]) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			a.t.Fatalf("not JSON: %s", line)
		}
		if e["category"] == observe.AuditCategory {
			events = append(events, e)
		}
	}
	a.read = len(all)
	return events
}

// get fetches a page as a stranger.
func (a *audited) get(address string) {
	a.t.Helper()
	res, err := http.Get(address)
	if err != nil {
		a.t.Fatal(err)
	}
	_ = res.Body.Close()
}

// authorization is a request of a client.
func (a *audited) authorization(client, redirectURI string) string {
	c := oauthclient.New(a.URL, redirectURI)
	c.ID = client
	return c.Request(url.Values{"scope": {"openid offline_access"}, "code_challenge": {oauth.S256(appVerifier)}}).URL
}

// redeem shows a code to the token endpoint.
func (a *audited) redeem(c *app, code string) {
	c.token(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {appCallback}, "code_verifier": {appVerifier}})
}

// onPage signs a user in to a page of the server's own and presses the button of
// the form whose action ends so.
func (a *audited) onPage(b *stack.Browser, path, action, button string, fields ...string) {
	a.t.Helper()
	page, err := b.Open(a.URL + path)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, f := range page.Forms {
		n := slices.IndexFunc(f.Buttons, func(named string) bool { return strings.HasPrefix(named, button) })
		if n < 0 || !strings.HasSuffix(f.Action, action) {
			continue
		}
		for i := 0; i < len(fields); i += 2 {
			f.Fields.Set(fields[i], fields[i+1])
		}
		if done, err := b.Press(&stack.Page{URL: page.URL, Forms: []stack.Form{f}}, f.Buttons[n]); err != nil || done.Status != http.StatusOK {
			a.t.Fatalf("%s on %s: %v %+v", button, path, err, done)
		}
		return
	}
	a.t.Fatalf("no button %s on %s:\n%s", button, path, page.Body)
}

func (a *audited) account(user string) *stack.Browser {
	a.t.Helper()
	b := a.browser(user)
	if _, err := b.SignInAt(a.URL + "/account"); err != nil {
		a.t.Fatal(err)
	}
	return b
}

// manager is an administrator on the page for managing.
func (a *audited) manager() *stack.Browser {
	b := a.account(stack.Alice)
	a.news()
	return b
}

// commands are what the command line does, on the table of the server.
func (a *audited) commands() *operator.Operator {
	a.t.Helper()
	o, err := operator.New(config.Config{Issuer: a.URL, Resource: oauth.Resource(a.MCP()), AccessTokenLifetime: time.Hour, RefreshLifetime: 24 * time.Hour}, a.table, a.wrapper, a.log)
	if err != nil {
		a.t.Fatal(err)
	}
	return o
}

func (a *audited) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// published is a client's metadata document on the loopback.
func (a *audited) published() string {
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"client_id":"http://%s%s","client_name":"Published","redirect_uris":[%q],"token_endpoint_auth_method":"none"}`, r.Host, r.URL.Path, appCallback)
	}))
	a.t.Cleanup(host.Close)
	return host.URL + "/mcp.json"
}

// documentedEvents are the names and the members that docs/audit.md has.
func documentedEvents(t *testing.T) (names, members []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| .* \\| (?:3002|6003) \\|").FindAllSubmatch(page, -1) {
		names = append(names, string(m[1]))
	}
	table, _, _ := bytes.Cut(page, []byte("## Events"))
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllSubmatch(table, -1) {
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllSubmatch(row[1], -1) {
			members = append(members, string(m[1]))
		}
	}
	if len(names) < 25 || len(members) < 14 {
		t.Fatalf("the page has the events %v and the members %v", names, members)
	}
	return names, members
}

// check holds an event to the documented schema, and to what no event may have.
func (a *audited) check(e map[string]any, members []string) {
	a.t.Helper()
	for m := range e {
		if !slices.Contains(append([]string{"time", "level", "msg", "category", "schema"}, members...), m) {
			a.t.Errorf("%s has the member %s, which is not documented", e["event"], m)
		}
	}
	if e["schema"] != float64(observe.AuditSchema) || e["msg"] != "audit" || e["correlation_id"] == "" {
		a.t.Errorf("%v", e)
	}
	text := fmt.Sprint(e)
	secrets := map[string]string{
		visitor: "an address", a.Tenant.ObjectID(stack.Bob): "an object ID", a.Tenant.ObjectID(stack.Alice): "another object ID",
		"contoso.example": "a user name", "Bob": "a name", "Alice": "another name", stack.ClientSecret: "our secret", appVerifier: "a verifier",
	}
	for _, x := range a.Seen("/token") {
		var issued struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		_ = json.Unmarshal(x.Body, &issued)
		secrets[x.Form.Get("code")], secrets[x.Form.Get("refresh_token")] = "a code", "a refresh token"
		secrets[issued.Access], secrets[issued.Refresh] = "an access token", "a new refresh token"
	}
	delete(secrets, "") // of what a request or an answer has not
	for secret, what := range secrets {
		if strings.Contains(text, secret) {
			a.t.Errorf("%s in %s", what, text)
		}
	}
}

const (
	pinnedClient   = "https://client.example/mcp.json"
	pinnedRedirect = "https://client.example/cb"
	pinnedList     = `[{"client_id":"` + pinnedClient + `","client_name":"Pinned","redirect_uris":["` + pinnedRedirect + `"],"token_endpoint_auth_method":"none"}]`
)

// TestEveryDecisionIsOneEvent drives each decision through what the server shows
// to the outside and reads which events it writes: one for each decision, of the
// documented schema, without a secret, a name or an address. Together they are all
// that there are.
func TestEveryDecisionIsOneEvent(t *testing.T) {
	names, members := documentedEvents(t)
	driven := map[string]bool{}
	t.Cleanup(func() {
		for _, name := range names {
			if !driven[name] {
				t.Errorf("no decision here emits %s", name)
			}
		}
	})
	// connected is a client that is signed in; what that wrote has been read.
	connected := func(a *audited, user string) *app {
		c := a.app(user).signIn("openid", "offline_access")
		a.news()
		return c
	}
	robot := tenant.CallerToken{App: "0b071000-0000-4000-8000-00000000000b"}
	for _, tt := range []struct {
		name string
		act  func(a *audited)
		want []string // name, and after a space its reason
	}{
		{"a client registers", func(a *audited) { a.app(stack.Bob) }, []string{"client_registered"}},
		{"a client publishes a document", func(a *audited) { a.get(a.authorization(a.published(), appCallback)) }, []string{"document_accepted", "consent_shown"}},
		{"a user signs in", func(a *audited) { a.app(stack.Bob).signIn("openid") },
			[]string{"client_registered", "consent_shown", "consent_approved", "signed_in", "code_redeemed"}},
		{"a user refuses", func(a *audited) {
			c := a.app(stack.Bob)
			c.browser.Prefer = "decision=cancel"
			c.authorize("openid")
		}, []string{"client_registered", "consent_shown", "consent_refused"}},
		{"Entra refuses", func(a *audited) { a.app(tenant.Dave).authorize("openid") },
			[]string{"client_registered", "consent_shown", "consent_approved", "sign_in_failed AADSTS50057"}},
		{"a code comes again at once", func(a *audited) {
			c := a.app(stack.Bob)
			code := c.authorize("openid").Get("code")
			a.news()
			a.redeem(c, code)
			a.redeem(c, code)
		}, []string{"code_redeemed", "code_repeated"}},
		{"a code comes again too late", func(a *audited) {
			c := a.app(stack.Bob)
			code := c.authorize("openid").Get("code")
			a.news()
			a.redeem(c, code)
			a.Clock.Advance(31 * time.Second)
			a.redeem(c, code)
		}, []string{"code_redeemed", "code_reused authorization code used twice"}},
		{"a client refreshes, and repeats it", func(a *audited) {
			c := connected(a, stack.Bob)
			a.Clock.Advance(10 * time.Second)
			old := c.refresh
			c.renew()
			c.refresh = old
			c.renew()
		}, []string{"token_refreshed", "token_repeated"}},
		{"an old refresh token comes", func(a *audited) {
			c := connected(a, stack.Bob)
			a.Clock.Advance(10 * time.Second)
			old := c.refresh
			c.renew()
			a.news()
			a.Clock.Advance(2 * time.Minute)
			c.refresh = old
			c.renew()
		}, []string{"token_reused refresh token reuse"}},
		{"Entra refuses to refresh", func(a *audited) {
			c := connected(a, stack.Bob)
			a.Clock.Advance(10 * time.Second)
			a.must(a.Tenant.Change(stack.Bob, func(u *tenant.User) { u.Disabled = true }))
			c.renew()
		}, []string{"refresh_refused AADSTS50057"}},
		{"a client revokes", func(a *audited) {
			c := connected(a, stack.Bob)
			c.send("/revoke", "application/x-www-form-urlencoded", url.Values{"token": {c.refresh}, "client_id": {c.ID}}.Encode())
		}, []string{"grant_revoked revoked by the client"}},
		{"a user signs in to the account page and disconnects an app", func(a *audited) {
			connected(a, stack.Bob)
			a.onPage(a.account(stack.Bob), "/account", "/disconnect", "grant=")
		}, []string{"account_signed_in", "disconnected disconnected by the user"}},
		{"a user forgets an approval", func(a *audited) {
			b := a.browser(stack.Bob)
			_, err := b.Approve(a.authorization(pinnedClient, pinnedRedirect))
			a.must(err)
			b = a.account(stack.Bob)
			a.news()
			a.onPage(b, "/account", "/forget", "approval=")
		}, []string{"approval_forgotten"}},
		{"a user has everything removed", func(a *audited) {
			connected(a, stack.Bob)
			b := a.account(stack.Bob)
			a.news()
			challenge := authserver.ClaimsPrefix + string(grants.SubjectOf(stack.TenantID, a.Tenant.ObjectID(stack.Bob)))
			_, err := a.table.Insert(a.t.Context(), store.Row{Partition: challenge, Key: "claims", Value: []byte("sealed")})
			a.must(err)
			a.onPage(b, "/account", "/erase", "=", "sure", "yes")
			if left := a.Rows(a.t, challenge); len(left) != 0 {
				a.t.Errorf("%d rows of the user's sign-ins are left", len(left))
			}
		}, []string{"disconnected disconnected by the user", "data_erased"}},
		{"a manager ends one connection", func(a *audited) {
			connected(a, stack.Bob)
			a.onPage(a.manager(), "/account/manage?user="+a.Tenant.ObjectID(stack.Bob), "/manage", "do=disconnect")
		}, []string{"admin_action disconnect"}},
		{"a manager signs a user out", func(a *audited) {
			a.onPage(a.manager(), "/account/manage?user="+a.Tenant.ObjectID(stack.Bob), "/manage", "do=sign-out-user")
		}, []string{"admin_action sign-out-user"}},
		{"a manager blocks and unblocks a user", func(a *audited) {
			b := a.manager()
			a.onPage(b, "/account/manage?user="+a.Tenant.ObjectID(stack.Bob), "/manage", "do=block-user")
			a.onPage(b, "/account/manage?user="+a.Tenant.ObjectID(stack.Bob), "/manage", "do=unblock-user")
		}, []string{"blocked", "unblocked"}},
		{"a manager blocks a host, which gets nowhere", func(a *audited) {
			c := connected(a, stack.Bob)
			a.onPage(a.manager(), "/account/manage", "/manage", "do=block", "kind", "redirect-host", "value", "127.0.0.1")
			a.get(a.authorization(c.ID, appCallback))
			c.renew()
			c.send("/register", "application/json", `{"client_name":"other","redirect_uris":["`+appCallback+`"],"token_endpoint_auth_method":"none"}`)
		}, []string{"blocked", "block_enforced", "block_enforced blocked: redirect-host", "block_enforced"}},
		{"a user who is blocked signs in to the account page", func(a *audited) {
			a.onPage(a.manager(), "/account/manage?user="+a.Tenant.ObjectID(stack.Bob), "/manage", "do=block-user")
			a.news()
			if page, err := a.browser(stack.Bob).SignInAt(a.URL + "/account"); err == nil && len(page.Forms) > 0 {
				a.t.Errorf("let in: %s", page.Body)
			}
		}, []string{"block_enforced"}},
		{"an automation signs a user out", func(a *audited) {
			caller := robot
			caller.Roles = []string{tenant.ManageRole}
			token, err := a.Tenant.Issue(caller)
			a.must(err)
			c := a.app(stack.Bob)
			a.news()
			if answer := c.send("/account/manage/api", "application/json", `{"do":"sign-out-user","user":"`+a.Tenant.ObjectID(stack.Bob)+`"}`, "Authorization", "Bearer "+token); answer.Status != http.StatusOK {
				a.t.Errorf("%+v", answer)
			}
		}, []string{"admin_action sign-out-user"}},
		{"an application without its role calls", func(a *audited) {
			token, err := a.Tenant.Issue(robot)
			a.must(err)
			c := a.app(stack.Bob)
			a.news()
			c.access = token
			c.call("greet")
		}, []string{"caller_refused role is missing"}},
		{"a tool is called", func(a *audited) { connected(a, stack.Bob).call("greet") }, []string{"tool_called"}},
		{"a tool refuses for a scope", func(a *audited) { connected(a, stack.Bob).call("send") }, []string{"tool_refused insufficient_scope"}},
		{"a tool refuses for a role", func(a *audited) { connected(a, stack.Bob).call("administer") }, []string{"tool_refused scope or role"}},
		{"a user consents to another API", func(a *audited) {
			c := a.app(stack.Bob).signIn("openid", "User.Read")
			text := c.call("identity").text
			i := strings.Index(text, a.URL+"/connect?request=")
			if i < 0 {
				a.t.Fatalf("no link in %s", text)
			}
			link := strings.Fields(text[i:])[0]
			a.news()
			if page, err := a.browser(stack.Bob).SignInAt(link); err != nil || !strings.HasSuffix(page.URL.Path, "/connect/done") {
				a.t.Fatalf("%v %+v", err, page)
			}
			_, _ = a.browser(stack.Alice).SignInAt(link)
		}, []string{"consent_shown", "consent_approved", "api_consented", "consent_shown", "consent_approved", "sign_in_failed another account"}},
		{"an operator rotates and retires keys", func(a *audited) {
			a.app(stack.Bob).signIn("openid")
			a.news()
			o := a.commands()
			a.must(o.RotateKeys(a.t.Context()))
			a.must(o.RetireKeys(a.t.Context(), 1))
		}, []string{"key_ring_changed added", "key_ring_changed retired"}},
		{"an operator signs out, blocks and unblocks", func(a *audited) {
			o := a.commands()
			a.must(o.Revoke(a.t.Context(), grants.BlockClient, "c"))
			a.must(o.Block(a.t.Context(), grants.BlockClient, "c", "phishing"))
			a.must(o.Unblock(a.t.Context(), grants.BlockClient, "c"))
		}, []string{"admin_action revoke", "blocked", "unblocked"}},
	} {
		for _, want := range tt.want {
			name, _, _ := strings.Cut(want, " ")
			driven[name] = true
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAudited(t, map[string]string{"PINNED_CLIENTS": pinnedList, "ENTRA_APP_CALLERS": "roles", "TRUSTED_PROXIES": "127.0.0.1/32,::1/128"})
			tt.act(a)
			events := a.news()
			var got []string
			for _, e := range events {
				reason, _ := e["reason"].(string)
				got = append(got, strings.TrimSpace(e["event"].(string)+" "+reason))
				a.check(e, members)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("events %q\n want %q", got, tt.want)
			}
		})
	}
}
