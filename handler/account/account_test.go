package account

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
	"entramcp/handler/store/storetest"
)

const (
	tenant = "c0a7050c-0000-4000-8000-000000000001"
	alice  = "a11ce000-0000-4000-8000-000000000001"
	bob    = "b0b00000-0000-4000-8000-000000000001"
	issuer = "http://localhost:7071"
)

// world is an account page over real grants.
type world struct {
	t      *testing.T
	grants *grants.Service
	mux    *http.ServeMux
	now    time.Time
	*Account
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	table := storetest.Embedded(t)
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(strings.Repeat("0123456789abcdef", 4))})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, now: time.Now(), mux: http.NewServeMux()}
	now := func() time.Time { return w.now }
	log := slog.New(slog.DiscardHandler)
	ring := keyring.New(keyring.Options{Table: table, Wrapper: wrapper, Now: now, Log: log})
	w.grants = grants.New(grants.Options{Table: table, Ring: ring, Issuer: issuer, Resource: issuer + "/mcp", Now: now, Log: log})
	o := Options{
		Grants: w.grants, Ring: ring, Issuer: issuer, Pages: pages.New(pages.Brand{}), Tenant: tenant, Now: now, Log: log,
		SignIn: func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "to Entra") },
		FormToken: func(_ http.ResponseWriter, _ *http.Request, purpose string) (string, error) {
			return "token for " + purpose, nil
		},
		CheckForm: func(r *http.Request, purpose, token string) error {
			if r.Header.Get("Origin") != issuer || token != "token for "+purpose {
				return oauth.New(oauth.AccessDenied, "The form was sent by another site.")
			}
			return nil
		},
		VerifyRole: func(_ context.Context, raw, role string) (entra.Caller, error) {
			switch {
			case raw == "unknown":
				return entra.Caller{}, errors.New("Entra's keys are away")
			case raw != "good" || role != ManageRole:
				return entra.Caller{}, &entra.Refusal{Message: "no"}
			}
			return entra.Caller{AppID: "app", TenantID: tenant}, nil
		},
	}
	if change != nil {
		change(&o)
	}
	w.Account = New(o)
	for pattern, h := range w.Routes() {
		w.mux.HandleFunc(pattern, h)
	}
	return w
}

// connect makes a grant of a user for a client.
func (w *world) connect(user, client string) grants.Tokens {
	w.t.Helper()
	verifier := oauth.NewVerifier()
	code, err := w.grants.Create(w.t.Context(), grants.Authorization{
		ClientID: client, ClientName: client + " app", RedirectURI: "https://" + client + ".example/cb", CodeChallenge: oauth.S256(verifier),
		Scopes: oauth.NewScopes("openid"), Identity: grants.Identity{TenantID: tenant, ObjectID: user, Name: "Somebody", Username: "somebody@contoso.com"},
		Upstream: grants.Upstream{RefreshToken: grants.EntraRefreshToken{Value: secret.New("upstream-secret")}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	tokens, err := w.grants.Redeem(w.t.Context(), code, grants.Redemption{ClientID: client, RedirectURI: "https://" + client + ".example/cb", Verifier: verifier})
	if err != nil {
		w.t.Fatal(err)
	}
	return tokens
}

// browser has the session of somebody.
type browser struct {
	*world
	cookie *http.Cookie
	form   string
}

func (w *world) signedIn(user string, roles ...string) *browser {
	w.t.Helper()
	to, cookie, err := w.Finish(w.t.Context(), entra.SignIn{Claims: &entra.Claims{TenantID: tenant, ObjectID: user, Name: "Somebody", Username: "somebody@contoso.com", Roles: roles}})
	if err != nil || to != "/account" {
		w.t.Fatal(to, err)
	}
	b := &browser{world: w, cookie: cookie}
	b.get("/account")
	return b
}

var formField = regexp.MustCompile(`name="form" value="([^"]+)"`)

func (b *browser) do(r *http.Request) (int, string) {
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	rec := httptest.NewRecorder()
	b.mux.ServeHTTP(rec, r)
	if m := formField.FindStringSubmatch(rec.Body.String()); m != nil {
		b.form = m[1]
	}
	return rec.Code, rec.Body.String()
}

func (b *browser) get(path string) (int, string) {
	return b.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func (b *browser) post(path string, pairs ...string) (int, string) {
	form := url.Values{"form": {b.form}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", issuer)
	return b.do(r)
}

func (w *world) works(tokens grants.Tokens) bool {
	_, err := w.grants.Verify(w.t.Context(), tokens.Access.Reveal())
	return err == nil
}

func TestAUserSeesTheirAppsAndDisconnectsOne(t *testing.T) {
	w := newWorld(t, nil)
	claude, cursor, bobs := w.connect(alice, "claude"), w.connect(alice, "cursor"), w.connect(bob, "claude")
	b := w.signedIn(alice)
	_, body := b.get("/account")
	for _, want := range []string{"claude app", "cursor app", "claude.example", "Somebody", "Disconnect all"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(body, "Manage connections") || strings.Contains(body, "upstream-secret") {
		t.Error("the page shows what is not the user's to see")
	}
	if status, body := b.post("/account/disconnect", "grant", claude.Grant.ID); status != http.StatusOK || strings.Contains(body, "claude app") || !strings.Contains(body, "Disconnected.") {
		t.Errorf("%d %.2000s", status, body)
	}
	if w.works(claude) || !w.works(cursor) || !w.works(bobs) {
		t.Error("not exactly the one that was disconnected has ended")
	}
	// Another user's grant is not within reach.
	b.post("/account/disconnect", "grant", bobs.Grant.ID)
	if !w.works(bobs) {
		t.Error("one user has disconnected another's app")
	}
	w.now = w.now.Add(2 * time.Second)
	b.post("/account/disconnect", "grant", "all")
	if w.works(cursor) || !w.works(bobs) {
		t.Error("disconnect all: not exactly the user's own")
	}
}

func TestFormsAreTakenFromTheSessionsOwnPageOnly(t *testing.T) {
	w := newWorld(t, nil)
	tokens := w.connect(alice, "claude")
	b := w.signedIn(alice)
	send := func(change func(*http.Request, url.Values)) int {
		form := url.Values{"form": {b.form}, "grant": {tokens.Grant.ID}}
		r := httptest.NewRequest(http.MethodPost, "/account/disconnect", nil)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", issuer)
		r.AddCookie(b.cookie)
		change(r, form)
		r.Body = io.NopCloser(strings.NewReader(form.Encode()))
		rec := httptest.NewRecorder()
		w.mux.ServeHTTP(rec, r)
		if !w.works(tokens) {
			t.Error("the grant has ended")
		}
		return rec.Code
	}
	for name, change := range map[string]func(*http.Request, url.Values){
		"another site":             func(r *http.Request, _ url.Values) { r.Header.Set("Origin", "https://evil.example") },
		"without the form's token": func(_ *http.Request, f url.Values) { f.Del("form") },
		"another session's token":  func(_ *http.Request, f url.Values) { f.Set("form", w.signedIn(bob).form) },
	} {
		if status := send(change); status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status := send(func(r *http.Request, _ url.Values) { r.Header.Del("Cookie") }); status != http.StatusOK {
		t.Errorf("without a session: %d, want the page to sign in", status)
	}
}

func TestASessionEnds(t *testing.T) {
	w := newWorld(t, nil)
	b := w.signedIn(alice)
	if _, body := b.get("/account"); !strings.Contains(body, "No app is connected") {
		t.Error("no page for the session")
	}
	w.now = w.now.Add(sessionLifetime)
	if _, body := b.get("/account"); !strings.Contains(body, "/account/sign-in") {
		t.Error("the session goes on after its time")
	}
	b.cookie = &http.Cookie{Name: b.cookie.Name, Value: "made-up"}
	if _, body := b.get("/account"); !strings.Contains(body, "/account/sign-in") {
		t.Error("a made-up cookie is a session")
	}
	if _, body := b.post("/account/sign-in"); body != "to Entra" {
		t.Error("signing in does not lead to Entra")
	}
}

// TestASessionEndsWithABlock: a manager who is put out manages nothing until the
// session would end by itself.
func TestASessionEndsWithABlock(t *testing.T) {
	for kind, value := range map[grants.BlockKind]string{
		grants.BlockUser: string(grants.SubjectOf(tenant, alice)), grants.BlockTenant: tenant,
	} {
		w := newWorld(t, nil)
		m := w.signedIn(alice, ManageRole)
		if status, body := m.get("/account/manage"); status != http.StatusOK || strings.Contains(body, "/account/sign-in") {
			t.Fatalf("%s: no page for the session: %d", kind, status)
		}
		if err := w.grants.Block(t.Context(), kind, value, "test"); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/account", "/account/manage"} {
			if _, body := m.get(path); !strings.Contains(body, "/account/sign-in") {
				t.Errorf("%s: %s goes on", kind, path)
			}
		}
		m.post("/account/manage", "do", "block", "kind", "client", "value", "claude")
		if blocked, err := w.grants.Blocked(t.Context(), grants.Parties{ClientID: "claude"}); blocked != nil || err != nil {
			t.Errorf("%s: a form of the session was obeyed", kind)
		}
	}
}

func TestManagingTakesTheRoleAndStaysInTheTenant(t *testing.T) {
	w := newWorld(t, nil)
	tokens := w.connect(bob, "claude")
	if status, _ := w.signedIn(alice).get("/account/manage"); status == http.StatusOK {
		t.Error("a user without the role manages")
	}
	if status, _ := w.signedIn(alice).post("/account/manage", "do", "sign-out-user", "user", bob); status == http.StatusOK || !w.works(tokens) {
		t.Error("a user without the role has signed another out")
	}
	m := w.signedIn(alice, ManageRole)
	if _, body := m.get("/account"); !strings.Contains(body, "/account/manage") {
		t.Error("no link to the page of managers")
	}
	if _, body := m.get("/account/manage?user=" + strings.ToUpper(bob)); !strings.Contains(body, "claude app") {
		t.Error("the user's apps are not shown")
	}
	if _, body := m.get("/account/manage?user=bob@contoso.com"); !strings.Contains(body, "not an object ID") {
		t.Error("a name is taken for an object ID")
	}
	w.now = w.now.Add(2 * time.Second)
	if status, _ := m.post("/account/manage", "do", "sign-out-user", "user", bob); status != http.StatusOK || w.works(tokens) {
		t.Errorf("%d: signed out, and the token works", status)
	}
	w.now = w.now.Add(2 * time.Second)
	again := w.connect(bob, "claude")
	if _, body := m.get("/account/manage?app=CLAUDE"); !strings.Contains(body, "1 connection") || !strings.Contains(body, "claude app") || strings.Contains(body, "Somebody") {
		t.Errorf("found by the app's name: %.3000s", body)
	}
	if _, body := m.get("/account/manage?app=cursor"); strings.Contains(body, "1 connection") {
		t.Error("another app is found")
	}
	if status, body := m.post("/account/manage", "do", "block", "kind", "client", "value", "claude", "reason", "ticket 12"); status != http.StatusOK || !strings.Contains(body, "ticket 12") || w.works(again) {
		t.Errorf("%d: blocked, and the token works", status)
	}
	m.post("/account/manage", "do", "unblock", "kind", "client", "value", "claude")
	if blocked, err := w.grants.Blocked(t.Context(), grants.Parties{ClientID: "claude"}); blocked != nil || err != nil {
		t.Error(blocked, err)
	}
	other := newWorld(t, func(o *Options) { o.Tenant = "another" })
	if status, _ := other.signedIn(alice, ManageRole).post("/account/manage", "do", "block", "kind", "client", "value", "claude"); status == http.StatusOK {
		t.Error("managers of a tenant that is not the operator's block an app for everybody")
	}
}

// The event names whom the action has met, whatever else the form holds.
func TestAnActionIsAuditedWithItsOwnTarget(t *testing.T) {
	user := "user " + string(grants.SubjectOf(tenant, bob))
	for do, target := range map[string]string{
		"disconnect": user, "sign-out-user": user, "block-user": user, "unblock-user": user,
		"sign-out": "client claude", "block": "client claude", "unblock": "client claude",
	} {
		what := action{Do: do, User: " " + strings.ToUpper(bob), Kind: grants.BlockClient, Value: "claude"}
		if e := what.event(tenant); e.Target != target {
			t.Errorf("%s: target %q, want %q", do, e.Target, target)
		}
	}
}

func TestAutomationSignsAUserOut(t *testing.T) {
	w := newWorld(t, nil)
	tokens := w.connect(bob, "claude")
	w.now = w.now.Add(2 * time.Second)
	send := func(token, contentType, body string) int {
		r := httptest.NewRequest(http.MethodPost, "/account/manage/api", strings.NewReader(body))
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		r.Header.Set("Content-Type", contentType)
		rec := httptest.NewRecorder()
		w.mux.ServeHTTP(rec, r)
		return rec.Code
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`curl -X POST PUBLIC-URL/account/manage/api [^\x60]* -d '(\{.*\})'`).FindSubmatch(page)
	if documented == nil {
		t.Fatal("docs/operations.md has no action")
	}
	action := strings.Replace(string(documented[1]), "OBJECT-ID", bob, 1)
	for name, tt := range map[string]struct {
		token, contentType, body string
		status                   int
	}{
		"no token":               {"", "application/json", action, 401},
		"a token of another API": {"bad", "application/json", action, 401},
		"an outage of Entra":     {"unknown", "application/json", action, 503},
		"a form":                 {"good", "application/x-www-form-urlencoded", action, 400},
		"an unknown member":      {"good", "application/json", `{"do":"sign-out-user","user":"` + bob + `","all":true}`, 400},
		"a user name":            {"good", "application/json", `{"do":"sign-out-user","user":"bob@contoso.com"}`, 400},
		"nothing to do":          {"good", "application/json", `{}`, 400},
	} {
		if status := send(tt.token, tt.contentType, tt.body); status != tt.status || !w.works(tokens) {
			t.Errorf("%s: %d, want %d", name, status, tt.status)
		}
	}
	if status := send("good", "application/json; charset=utf-8", action); status != 200 || w.works(tokens) {
		t.Errorf("%d: signed out, and the token works", status)
	}
}

func TestWhatIsKeptIsDownloadedAndRemoved(t *testing.T) {
	var erased []string
	w := newWorld(t, func(o *Options) {
		o.RememberedApprovals = func(context.Context, grants.Subject) ([]RememberedApproval, error) {
			return []RememberedApproval{{Key: "k", Client: "Claude", Target: "claude.ai"}}, nil
		}
		o.Forget = func(_ context.Context, _ grants.Subject, key string) error {
			erased = append(erased, "approval:"+key)
			return nil
		}
		o.Export = func(context.Context, grants.Subject) (any, error) { return map[string]string{"notes": "mine"}, nil }
		o.Erase = func(context.Context, grants.Subject) error { erased = append(erased, "tools"); return nil }
	})
	tokens := w.connect(alice, "claude")
	b := w.signedIn(alice)
	_, body := b.post("/account/export")
	var out exported
	if err := json.Unmarshal([]byte(body), &out); err != nil || len(out.Apps) != 1 || len(out.Approvals) != 1 || out.ObjectID != alice || strings.Contains(body, "upstream-secret") {
		t.Errorf("%v %s", err, body)
	}
	b.get("/account")
	b.post("/account/forget", "approval", "k")
	if status, _ := b.post("/account/forget"); status != http.StatusBadRequest {
		t.Errorf("a form without an approval: %d", status)
	}
	if _, body := b.post("/account/erase"); !strings.Contains(body, "cannot be undone") || !w.works(tokens) {
		t.Error("it is not asked before everything is removed")
	}
	if _, body := b.post("/account/erase", "sure", "yes"); !strings.Contains(body, "Everything is removed") || w.works(tokens) {
		t.Errorf("%.500s", body)
	}
	if got := strings.Join(erased, " "); got != "approval:k tools" {
		t.Errorf("removed: %s", got)
	}
	if list, err := w.grants.List(t.Context(), grants.SubjectOf(tenant, alice)); len(list) != 0 || err != nil {
		t.Error(list, err)
	}
}

func TestAnOutageIsAPageWithRetryAfter(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.RememberedApprovals = func(context.Context, grants.Subject) ([]RememberedApproval, error) {
			return nil, errors.New("storage is away")
		}
	})
	b := &browser{world: w}
	_, b.cookie, _ = w.Finish(t.Context(), entra.SignIn{Claims: &entra.Claims{TenantID: tenant, ObjectID: alice}})
	r := httptest.NewRequest(http.MethodGet, "/account", nil)
	r.AddCookie(b.cookie)
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, r)
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || strings.Contains(rec.Body.String(), "storage is away") {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}
