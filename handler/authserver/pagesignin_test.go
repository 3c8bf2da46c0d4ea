package authserver_test

import (
	"context"
	"errors"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

// notebook is a PageSignIn that notes who signed in.
type notebook struct {
	entries []string
	fail    error
}

func (n *notebook) Finish(_ context.Context, signIn entra.SignIn, data []byte) (authserver.PageSignInEnd, error) {
	if n.fail != nil {
		return authserver.PageSignInEnd{}, n.fail
	}
	n.entries = append(n.entries, signIn.Claims.Username+" for "+string(data))
	return authserver.PageSignInEnd{To: "/notebook?page=1", Cookie: &http.Cookie{Name: "__Host-notebook", Value: "session", Path: "/", Secure: true, HttpOnly: true}}, nil
}

// withNotebook is a world with a page that begins it.
func withNotebook(t *testing.T) (*world, *notebook) {
	n := &notebook{}
	w := newWorld(t, func(o *authserver.Options) {
		o.Prompt, o.DomainHint = "select_account", "contoso.example"
	})
	w.server.HandlePageSignIn("notebook", n.Finish)
	w.server.HandlePageSignIn("other", (&notebook{}).Finish)
	w.mux.HandleFunc("GET /notebook", func(rw http.ResponseWriter, r *http.Request) {
		token, err := w.server.FormToken(rw, r, "notebook")
		if err != nil {
			t.Error(err)
		}
		_, _ = rw.Write([]byte(`<input name="token" value="` + token + `">`))
	})
	w.mux.HandleFunc("POST /notebook", func(rw http.ResponseWriter, r *http.Request) {
		if err := w.server.CheckForm(r, "notebook", r.FormValue("token")); err != nil {
			w.server.Refuse(rw, r, err)
			return
		}
		w.server.BeginPageSignIn(rw, r, "notebook", authserver.PageSignInRequest{Data: []byte("page one"), Back: "/notebook", Scopes: []string{"openid", "profile", "Mail.Read"}})
	})
	return w, n
}

// begin opens the page, presses its button, and returns the answer.
func (b *browser) begin(header ...string) *http.Response {
	b.w.t.Helper()
	page := b.get(issuer + "/notebook")
	return b.press(match(b.w.t, text(b.w.t, page), `name="token" value="([^"]+)"`), header...)
}

func (b *browser) press(token string, header ...string) *http.Response {
	r := formRequest("/notebook", url.Values{"token": {token}}.Encode())
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return b.do(r)
}

func TestAPageSignInEndsAtAPageOfOurs(t *testing.T) {
	w, n := withNotebook(t)
	b := w.browser()
	back := w.upstream.signIn(t, onward(t, b.begin()))
	asked := w.upstream.requests()[0]
	if strings.Join(asked.Scopes, " ") != "openid profile Mail.Read" || asked.Prompt != "select_account" || asked.DomainHint != "contoso.example" {
		t.Errorf("Entra was asked with %+v", asked)
	}
	for range 2 { // the callback is delivered twice
		resp := b.get(back)
		wantStatus(t, resp, http.StatusSeeOther)
		if to := resp.Header.Get("Location"); to != issuer+"/notebook?page=1" {
			t.Errorf("the browser goes to %s", to)
		}
		if c := resp.Header.Values("Set-Cookie"); len(c) != 2 || !strings.HasPrefix(c[1], "__Host-notebook=session; ") {
			t.Errorf("cookies %q", c)
		}
	}
	if len(n.entries) != 1 || n.entries[0] != tenant.Alice+" for page one" {
		t.Errorf("the page sign-in finished with %q", n.entries)
	}
	if w.rows("g-") != 0 {
		t.Error("a grant was made")
	}
}

func TestAPageSignInThatFailsSaysSoOnAPageAndLeadsBack(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(w *world, n *notebook, to string) string
		status  int
		says    string
	}{
		"Entra refuses": {func(w *world, _ *notebook, to string) string {
			return w.upstream.refuse(w.t, to, "access_denied", "AADSTS65004")
		}, http.StatusForbidden, "You did not approve the access that this server asked for."},
		"not assigned": {func(w *world, _ *notebook, to string) string {
			return w.upstream.refuse(w.t, to, "access_denied", "AADSTS50105")
		}, http.StatusForbidden, "You cannot sign in here"},
		"Entra does not answer": {func(w *world, _ *notebook, to string) string {
			back := w.upstream.signIn(w.t, to)
			w.upstream.breakWith(errors.New("timeout"))
			return back
		}, http.StatusServiceUnavailable, "Not available right now"},
		"the user is blocked": {func(w *world, n *notebook, to string) string {
			w.block(grants.BlockUser, string(w.subject()))
			return w.upstream.signIn(w.t, to)
		}, http.StatusForbidden, "blocked"},
		"the tenant is blocked": {func(w *world, n *notebook, to string) string {
			w.block(grants.BlockTenant, tenant.Contoso)
			return w.upstream.signIn(w.t, to)
		}, http.StatusForbidden, "blocked"},
		"the page sign-in refuses": {func(w *world, n *notebook, to string) string {
			n.fail = oauth.New(oauth.AccessDenied, "Not you.")
			return w.upstream.signIn(w.t, to)
		}, http.StatusForbidden, "cannot continue"},
		"the page sign-in breaks": {func(w *world, n *notebook, to string) string {
			n.fail = errors.New("secret detail")
			return w.upstream.signIn(w.t, to)
		}, http.StatusInternalServerError, "Something went wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			w, n := withNotebook(t)
			b := w.browser()
			back := tt.prepare(w, n, onward(t, b.begin()))
			for range 2 {
				resp := b.get(back)
				wantStatus(t, resp, tt.status)
				body := text(t, resp)
				if !strings.Contains(body, tt.says) || strings.Contains(body, "secret detail") || strings.Contains(body, "http-equiv") {
					t.Errorf("the page does not say %q:\n%s", tt.says, body)
				}
				if to := html.UnescapeString(match(t, body, `<a [^>]*href="([^"]+)"[^>]*>Back</a>`)); to != issuer+"/notebook" {
					t.Errorf("it leads to %s", to)
				}
				showsReference(t, resp)
			}
			if w.rows("g-") != 0 || len(n.entries) != 0 {
				t.Error("the page sign-in was finished")
			}
		})
	}
}

// A link, another site's form and a token of another browser start nothing.
func TestAPageSignInBeginsWithAFormOfOursAlone(t *testing.T) {
	w, _ := withNotebook(t)
	b := w.browser()
	own := match(t, text(t, b.get(issuer+"/notebook")), `name="token" value="([^"]+)"`)
	foreign := match(t, text(t, w.browser().get(issuer+"/notebook")), `name="token" value="([^"]+)"`)
	consent := b.open(request(w.publicClient()))
	elsewhere := httptest.NewRequest(http.MethodGet, issuer+"/other", nil)
	b.cookies(elsewhere)
	other, err := w.server.FormToken(httptest.NewRecorder(), elsewhere, "other")
	if err != nil {
		t.Fatal(err)
	}
	w.table.Taken()
	for name, resp := range map[string]*http.Response{
		"another site":            b.press(own, "Sec-Fetch-Site", "cross-site"),
		"another origin":          b.press(own, "Origin", "https://evil.example"),
		"another browser's token": b.press(foreign),
		"a consent form":          b.press(consent),
		"a form for another page": b.press(other),
		"no token":                b.press(""),
	} {
		if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusForbidden || !strings.Contains(text(t, resp), "<h1>This sign-in cannot continue</h1>") {
			t.Errorf("%s: %d\n%s", name, resp.StatusCode, text(t, resp))
		}
	}
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, issuer+"/notebook", nil)
	b.cookies(r)
	w.server.BeginPageSignIn(rec, r, "notebook", authserver.PageSignInRequest{})
	r = formRequest("/notebook", "")
	b.cookies(r)
	unknown := httptest.NewRecorder()
	w.server.BeginPageSignIn(unknown, r, "unheard of", authserver.PageSignInRequest{})
	if rec.Code != http.StatusBadRequest || unknown.Code != http.StatusBadRequest {
		t.Errorf("a GET: %d; an unknown kind: %d", rec.Code, unknown.Code)
	}
	w.clock.Advance(10 * time.Minute)
	if resp := b.press(own); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("an old token: %d", resp.StatusCode)
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 || len(w.upstream.requests()) != 0 {
		t.Errorf("%d reads, %d writes, %d sign-ins begun", reads, writes, len(w.upstream.requests()))
	}
}

// The page says so and leads back, and the same form or callback works later.
func TestAnOutageAtAPageSignInLosesNothing(t *testing.T) {
	w, n := withNotebook(t)
	b := w.browser()
	token := match(t, text(t, b.get(issuer+"/notebook")), `name="token" value="([^"]+)"`)
	back := ""
	for _, step := range []struct {
		name string
		fail func()
		ask  func() *http.Response
	}{
		{"Entra, at the form", func() { w.upstream.breakWith(errors.New("timeout")) }, func() *http.Response { return b.press(token) }},
		{"storage, at the form", func() { w.table.Before(storetest.Fail(errStorage, storetest.Writes...)) }, func() *http.Response { return b.press(token) }},
		{"storage, at the callback", func() {
			back = w.upstream.signIn(t, onward(t, b.press(token)))
			w.table.Before(storetest.Fail(errStorage, storetest.Writes...))
		}, func() *http.Response { return b.get(back) }},
	} {
		step.fail()
		resp := step.ask()
		wantStatus(t, resp, http.StatusServiceUnavailable)
		body := text(t, resp)
		if to := html.UnescapeString(match(t, body, `<a [^>]*href="([^"]+)"`)); to != issuer+"/notebook" || strings.Contains(body, "http-equiv") || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%s: it leads to %s:\n%s", step.name, to, body)
		}
		w.upstream.breakWith(nil)
		w.table.Repair()
	}
	if b.get(back); len(n.entries) != 1 {
		t.Errorf("the page sign-in finished with %q", n.entries)
	}
}

// Instances of two versions answer callbacks while one takes the other's place.
func TestAnInstanceThatDoesNotKnowTheKindSaysSo(t *testing.T) {
	w, n := withNotebook(t)
	b := w.browser()
	back := w.upstream.signIn(t, onward(t, b.begin()))
	w.restart()
	resp := b.get(back)
	wantStatus(t, resp, http.StatusInternalServerError)
	if !strings.Contains(text(t, resp), `href="`+issuer+`/notebook"`) {
		t.Errorf("no way back:\n%s", text(t, resp))
	}
	if len(n.entries) != 0 {
		t.Errorf("the page sign-in finished with %q", n.entries)
	}
}

func TestOneAddressCannotFloodTheTableWithPageSignIns(t *testing.T) {
	w, _ := withNotebook(t)
	b := w.browser()
	token := match(t, text(t, b.get(issuer+"/notebook")), `name="token" value="([^"]+)"`)
	for range 100 {
		wantStatus(t, b.press(token), http.StatusOK)
	}
	w.table.Taken()
	wantPage(t, b.press(token), http.StatusTooManyRequests)
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

func TestAFormTokenIsNeitherMadeNorRefusedWithoutKeys(t *testing.T) {
	w := newWorld(t)
	w.table.Before(storetest.Fail(errStorage).In(keyring.Partition))
	r := httptest.NewRequest(http.MethodGet, issuer, nil)
	token, err := w.server.FormToken(httptest.NewRecorder(), r, "notebook")
	if oauth.ErrorCode(err) != oauth.TemporarilyUnavailable || token != "" {
		t.Errorf("%q, %v", token, err)
	}
	w.table.Repair()
	w.restart()
	if token, err = w.server.FormToken(httptest.NewRecorder(), r, "notebook"); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.table.Before(storetest.Fail(errStorage).In(keyring.Partition))
	if err := w.server.CheckForm(r, "notebook", token); oauth.ErrorCode(err) != oauth.TemporarilyUnavailable {
		t.Errorf("checked: %v", err)
	}
}

// Entra calls one address back for every kind.
func TestNoKindOfSignInFinishesAnothers(t *testing.T) {
	w, n := withNotebook(t)
	id := w.publicClient()
	b := w.browser()
	flow, client := onward(t, b.begin()), b.approve(request(id))
	if got := b.arrive(w.upstream.signIn(t, client)); got.Get("code") == "" || len(n.entries) != 0 {
		t.Errorf("the client got %v, the page sign-in %q", got, n.entries)
	}
	if resp := b.get(w.upstream.signIn(t, flow)); resp.Header.Get("Location") != issuer+"/notebook?page=1" || w.rows("g-") != 1 {
		t.Errorf("the page sign-in leads to %s; %d grants", resp.Header.Get("Location"), w.rows("g-"))
	}
}

// A browser that loses its id between the form and the callback is another one.
func TestAPageSignInEndsInTheBrowserThatBeganIt(t *testing.T) {
	w, n := withNotebook(t)
	back := w.upstream.signIn(t, onward(t, w.browser().begin()))
	wantPage(t, w.browser().get(back), http.StatusBadRequest)
	if len(n.entries) != 0 {
		t.Errorf("the page sign-in finished with %q", n.entries)
	}
}
