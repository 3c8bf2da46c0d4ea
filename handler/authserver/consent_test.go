package authserver_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/handler/authserver"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

func TestConsentIsAcceptedOnlyFromOurPageInThisBrowser(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for name, tt := range map[string]struct {
		status int
		header []string
		other  bool
		form   func(string) string
	}{
		"another site's form":       {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "cross-site"}},
		"a sibling host's form":     {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "same-site"}},
		"another origin":            {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}},
		"origin in another scheme":  {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "", "Origin", "http://mcp.example.com"}},
		"another browser's form":    {status: http.StatusBadRequest, other: true},
		"a form cut short":          {status: http.StatusBadRequest, form: func(f string) string { return f[:len(f)-4] }},
		"a form with a changed bit": {status: http.StatusBadRequest, form: func(f string) string { return f[:40] + flip(f[40]) + f[41:] }},
		"no form":                   {status: http.StatusBadRequest, form: func(string) string { return "" }},
		"JSON":                      {status: http.StatusBadRequest, header: []string{"Content-Type", "application/json"}},
		"multipart":                 {status: http.StatusBadRequest, header: []string{"Content-Type", "multipart/form-data; boundary=x"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			form := b.open(request(id))
			if tt.form != nil {
				form = tt.form(form)
			}
			if tt.other {
				b = w.browser()
				b.open(request(id))
			}
			w.table.counted()
			resp := b.decide(form, "approve", tt.header...)
			wantPage(t, resp, tt.status)
			if _, writes := w.table.counted(); writes != 0 || len(w.upstream.requests()) != 0 {
				t.Errorf("%d writes, %d sign-ins begun", writes, len(w.upstream.requests()))
			}
		})
	}
}

// One sealed form can be submitted again and again, and each approval is a row.
func TestOneAddressCannotFloodTheTableWithApprovals(t *testing.T) {
	w := newWorld(t, func(o *authserver.Options) { o.ApproveRate, o.ApproveBurst = 0.5, 3 })
	b := w.browser()
	form := b.open(request(w.publicClient()))
	for range 3 {
		wantStatus(t, b.decide(form, "approve"), http.StatusOK)
	}
	w.table.counted()
	wantPage(t, b.decide(form, "approve"), http.StatusTooManyRequests)
	if _, writes := w.table.counted(); writes != 0 {
		t.Errorf("%d writes", writes)
	}
	w.advance(2 * time.Second)
	wantStatus(t, b.decide(form, "approve"), http.StatusOK)
}

func TestConsentWithoutTheCookieIsRefused(t *testing.T) {
	w := newWorld(t)
	form := w.browser().open(request(w.publicClient()))
	wantPage(t, w.browser().decide(form, "approve"), http.StatusBadRequest)
}

func TestBrowsersWithoutFetchMetadataCanApprove(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	resp := b.decide(b.open(request(w.publicClient())), "approve", "Sec-Fetch-Site", "", "Origin", issuer)
	wantStatus(t, resp, http.StatusOK)
}

func TestConsentPageExpires(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.advance(10*time.Minute - time.Second)
	wantStatus(t, b.decide(form, "approve"), http.StatusOK)
	w.advance(time.Second)
	wantPage(t, b.decide(form, "approve"), http.StatusBadRequest)
}

func TestAClientThatIsGoneByNowIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	page, err := w.table.List(t.Context(), store.Prefix("c-"), "")
	if err != nil || len(page.Rows) != 1 {
		t.Fatalf("%d clients, %v", len(page.Rows), err)
	}
	if _, err := w.table.Drop(t.Context(), page.Rows); err != nil {
		t.Fatal(err)
	}
	w.advance(2 * time.Minute) // past the registry's cache
	for _, decision := range []string{"approve", "cancel"} {
		wantPage(t, b.decide(form, decision), http.StatusBadRequest)
	}
}

func TestConsentNeedsADecision(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	for _, decision := range []string{"", "yes", "APPROVE"} {
		wantPage(t, b.decide(form, decision), http.StatusBadRequest)
	}
}

// Browsers hold redirects that answer a form to form-action, so that a
// redirect here would leave the user on a page where nothing happens.
func TestAFormIsNeverAnsweredWithARedirect(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for _, decision := range []string{"approve", "cancel", "other"} {
		b := w.browser()
		resp := b.decide(b.open(request(id)), decision)
		if resp.Header.Get("Location") != "" || resp.StatusCode/100 == 3 {
			t.Errorf("%s is answered with a redirect", decision)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self'") {
			t.Errorf("%s: policy %q", decision, csp)
		}
	}
}

func TestCancelTellsTheClientAndWritesNothing(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.table.counted()
	got := reached(t, onward(t, b.decide(form, "cancel")))
	if got.Get("error") != string(oauth.AccessDenied) || got.Get("state") != "client state" || got.Get("iss") != issuer {
		t.Errorf("the client is told %v", got)
	}
	if _, writes := w.table.counted(); writes != 0 || len(w.upstream.requests()) != 0 {
		t.Error("a cancelled consent left traces")
	}
}

func TestAPageOpenedTwiceCanBeApprovedInEitherTab(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	first, second := b.open(request(id)), b.open(request(id))
	for _, form := range []string{first, second} {
		to := onward(t, b.decide(form, "approve"))
		if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
			t.Errorf("the client got %v", got)
		}
	}
}

func TestNothingOfTheClientReachesEntra(t *testing.T) {
	w := newWorld(t)
	q := request(w.publicClient(), "prompt", "consent")
	to := w.browser().approve(q)
	for _, secret := range []string{challenge, "client+state", "tasks", "consent", "resource"} {
		if strings.Contains(to, secret) {
			t.Errorf("%q is in %s", secret, to)
		}
	}
	r := w.upstream.requests()[0]
	if r.State == "" || r.Nonce == "" || r.Challenge == "" || r.State == r.Nonce {
		t.Errorf("Entra was asked with %+v", r)
	}
}

func TestApprovalWritesOnceAndOnlyAfterTheQuestion(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.table.counted()
	resp := b.decide(form, "approve")
	if reads, writes := w.table.counted(); reads != 0 || writes != 1 {
		t.Errorf("%d reads and %d writes, want one write", reads, writes)
	}
	var bindings int
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, "__Host-mcp-signin-") && c.MaxAge > 0 {
			bindings++
		}
	}
	if bindings != 1 {
		t.Errorf("%d binding cookies, want 1", bindings)
	}
}

func TestEntraOutageAtConsentGoesToTheClient(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.upstream.breakWith(http.ErrHandlerTimeout)
	w.table.counted()
	got := reached(t, onward(t, b.decide(form, "approve")))
	if got.Get("error") != string(oauth.TemporarilyUnavailable) || got.Get("state") != "client state" {
		t.Errorf("the client is told %v", got)
	}
	if _, writes := w.table.counted(); writes != 0 {
		t.Errorf("%d writes for a sign-in that could not begin", writes)
	}
}

func TestAnAppWithItsOwnSchemeGetsItsAnswer(t *testing.T) {
	w := newWorld(t)
	const uri = "cursor://anysphere.cursor-mcp/oauth/callback"
	id, _ := w.register(`{"client_name":"Cursor","redirect_uris":["` + uri + `"],"token_endpoint_auth_method":"none"}`)
	b := w.browser()
	resp := b.get(w.upstream.signIn(t, b.approve(request(id, "redirect_uri", uri))))
	wantStatus(t, resp, http.StatusOK)
	if to := onward(t, resp); !strings.HasPrefix(to, uri+"?code=") {
		t.Errorf("the page goes to %s", to)
	}
	if !strings.Contains(text(t, resp), "Open <bdi>Cursor</bdi>") {
		t.Error("the page does not name the app to open")
	}
}

func TestCookiesCannotBePlantedOrRead(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.get(issuer + "/authorize?" + request(w.publicClient()).Encode())
	second := b.decide(match(t, text(t, first), `name="request" value="([^"]+)"`), "approve")
	for _, c := range append(first.Cookies(), second.Cookies()...) {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %s", c.Raw)
		}
	}
	if len(first.Cookies()) != 1 || len(second.Cookies()) != 1 {
		t.Errorf("%d and %d cookies, want one each", len(first.Cookies()), len(second.Cookies()))
	}
}

func TestOnLoopbackCookiesWorkWithoutHTTPS(t *testing.T) {
	w := newWorld(t, func(o *authserver.Options) { o.Issuer = "http://localhost:7071" })
	for _, c := range w.browser().get(issuer + "/authorize?" + request(w.publicClient()).Encode()).Cookies() {
		if c.Secure || strings.HasPrefix(c.Name, "__") || !c.HttpOnly {
			t.Errorf("cookie %s", c.Raw)
		}
	}
}

func TestAbandonedTabsDoNotOverflowTheHeader(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	var signIns []string
	for range 20 {
		w.advance(time.Second)
		signIns = append(signIns, b.approve(request(id)))
	}
	var bindings int
	r, _ := http.NewRequest(http.MethodGet, issuer, nil)
	for _, c := range b.jar.Cookies(r.URL) {
		if strings.Contains(c.Name, "signin") {
			bindings++
		}
	}
	if bindings != 8 {
		t.Errorf("%d binding cookies, want 8", bindings)
	}
	for _, to := range signIns[12:] {
		if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
			t.Errorf("a recent sign-in was dropped: %v", got)
		}
	}
	wantPage(t, b.get(w.upstream.signIn(t, signIns[11])), http.StatusBadRequest)
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}
