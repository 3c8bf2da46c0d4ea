package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/ratelimit"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func TestConsentIsAcceptedOnlyFromOurPageInThisBrowser(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for name, tt := range map[string]struct {
		status int
		header []string
		other  bool
		form   func(string) string
		says   string
	}{
		"another site's form":       {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "cross-site"}},
		"a sibling host's form":     {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "same-site"}},
		"another origin":            {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}},
		"origin in another scheme":  {status: http.StatusForbidden, header: []string{"Sec-Fetch-Site", "", "Origin", "http://mcp.example.com"}},
		"another browser's form":    {status: http.StatusBadRequest, other: true},
		"a form cut short":          {status: http.StatusBadRequest, form: func(f string) string { return f[:len(f)-4] }, says: "not made by this server"},
		"a form with a changed bit": {status: http.StatusBadRequest, form: func(f string) string { return f[:40] + flip(f[40]) + f[41:] }, says: "not made by this server"},
		"no form":                   {status: http.StatusBadRequest, form: func(string) string { return "" }, says: "not made by this server"},
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
			w.table.Taken()
			resp := b.decide(form, "approve", tt.header...)
			wantPage(t, resp, tt.status)
			if !strings.Contains(text(t, resp), tt.says) {
				t.Errorf("the page does not say %q", tt.says)
			}
			if _, writes := w.table.Taken(); writes != 0 || len(w.upstream.requests()) != 0 {
				t.Errorf("%d writes, %d sign-ins begun", writes, len(w.upstream.requests()))
			}
		})
	}
}

func TestAFormIsOneTransactionHoweverOftenItIsSent(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	first := onward(t, b.decide(form, "approve"))
	w.table.Taken()
	for range 3 {
		again := onward(t, b.decide(form, "approve"))
		if queryOf(t, again).Get("state") != queryOf(t, first).Get("state") || queryOf(t, again).Get("nonce") != queryOf(t, first).Get("nonce") {
			t.Errorf("the form leads to %s, then to %s", first, again)
		}
	}
	if _, writes := w.table.Taken(); writes != 3 { // to insert what is there
		t.Errorf("%d writes to decide the same three times again", writes)
	}
	if n := w.rows("t-"); n != 1 {
		t.Errorf("%d transactions", n)
	}
	if got := b.arrive(w.upstream.signIn(t, onward(t, b.decide(form, "approve")))); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
	wantPage(t, b.decide(form, "approve"), http.StatusBadRequest) // that sign-in is over
	if n := w.rows("t-"); n != 1 {
		t.Errorf("%d transactions", n)
	}
}

func TestOneAddressCannotFloodTheTableWithApprovals(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	var forms []string
	for range 101 {
		resp := b.get(issuer + "/authorize?" + request(id).Encode())
		forms = append(forms, match(t, text(t, resp), `name="request" value="([^"]+)"`))
	}
	w.clock.Advance(time.Second)
	for _, form := range forms[:100] {
		wantStatus(t, b.decide(form, "approve"), http.StatusOK)
	}
	w.table.Taken()
	resp := b.decide(forms[100], "approve")
	wantPage(t, resp, http.StatusTooManyRequests)
	if got := resp.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q", got)
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
	w.clock.Advance(time.Second)
	wantStatus(t, b.decide(forms[100], "approve"), http.StatusOK)

	slow := newWorld(t, func(o *authserver.Options) { o.SignIns = ratelimit.Limit{PerSecond: 0.1, Burst: 1} })
	b = slow.browser()
	b.approve(request(slow.publicClient()))
	slow.clock.Advance(time.Second)
	resp = b.decide(b.open(request(slow.publicClient())), "approve")
	wantPage(t, resp, http.StatusTooManyRequests)
	if got := resp.Header.Get("Retry-After"); got != "8" {
		t.Errorf("Retry-After %q by the operator's limit", got)
	}
}

// A page of somebody else's can submit our form without the button, or get the
// second click of a double click onto it: nobody decides that fast.
func TestAFormThatComesBackAtOnceIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	resp := b.get(issuer + "/authorize?" + request(id).Encode())
	for _, wait := range []time.Duration{0, 699 * time.Millisecond, 699 * time.Millisecond} {
		form := match(t, text(t, resp), `name="request" value="([^"]+)"`)
		w.clock.Advance(wait)
		w.table.Taken()
		resp = b.decide(form, "approve")
		wantStatus(t, resp, http.StatusOK)
		if reads, writes := w.table.Taken(); reads+writes != 0 || len(w.upstream.requests()) != 0 {
			t.Fatalf("%d reads, %d writes, %d sign-ins begun", reads, writes, len(w.upstream.requests()))
		}
	}
	form := match(t, text(t, resp), `name="request" value="([^"]+)"`)
	w.clock.Advance(700 * time.Millisecond)
	if got := b.arrive(w.upstream.signIn(t, onward(t, b.decide(form, "approve")))); got.Get("code") == "" || got.Get("state") != "client state" {
		t.Errorf("the client got %v", got)
	}
}

// An instance cannot tell how long a page was open that another one, whose clock is
// ahead, has shown.
func TestAnInstanceWhoseClockIsBehindTakesTheForm(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.clock.Advance(-20 * time.Second)
	if got := b.arrive(w.upstream.signIn(t, onward(t, b.decide(form, "approve")))); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
}

// Forms of an earlier version say neither when they were shown nor which
// transaction they begin.
func TestAFormOfAnEarlierVersionIsTaken(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	ring := w.challenges.Ring
	plain, err := ring.Open(t.Context(), keyring.ConsentForm, nil, b.open(request(w.publicClient())))
	var form map[string]any
	if err != nil || json.Unmarshal(plain, &form) != nil || form["shown"] == nil || form["state"] == nil {
		t.Fatalf("%s, %v", plain, err)
	}
	delete(form, "shown")
	delete(form, "state")
	plain, _ = json.Marshal(form)
	sealed, err := ring.Seal(t.Context(), keyring.ConsentForm, nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.arrive(w.upstream.signIn(t, onward(t, b.decide(sealed, "approve")))); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
	sealed, _ = ring.Seal(t.Context(), keyring.ConsentForm, nil, []byte("no JSON"))
	wantPage(t, b.decide(sealed, "approve"), http.StatusInternalServerError)
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
	w.clock.Advance(10*time.Minute - 2*time.Second)
	wantStatus(t, b.decide(form, "approve"), http.StatusOK)
	w.clock.Advance(time.Second)
	wantPage(t, b.decide(form, "approve"), http.StatusBadRequest)
}

func TestDoubledParametersAreRefusedAtConsent(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.table.Taken()
	for _, more := range []string{"&decision=cancel", "&request=x", "&x=1&x=2"} {
		r := httptest.NewRequest(http.MethodPost, issuer+"/consent", strings.NewReader("request="+form+"&decision=approve"+more))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp := b.do(r)
		wantPage(t, resp, http.StatusBadRequest)
		if !strings.Contains(text(t, resp), "occurs more than once") {
			t.Errorf("%s: the page does not say why", more)
		}
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 || len(w.upstream.requests()) != 0 {
		t.Errorf("%d reads, %d writes, %d sign-ins begun", reads, writes, len(w.upstream.requests()))
	}
}

// A page that is open for a while must not outlive what the client may do, whether
// or not it may still be answered elsewhere.
func TestAnAddressThatIsWithdrawnWhileThePageIsOpenIsNotUsed(t *testing.T) {
	for _, addresses := range []string{`"` + callback + `"`, `"` + callback + `","https://other.example/callback"`} {
		w := newWorld(t)
		b := w.browser()
		id, _ := w.register(`{"redirect_uris":[` + addresses + `],"token_endpoint_auth_method":"none"}`)
		form := b.open(request(id))
		w.restart(func(o *clients.Options) { o.Policy = onlyOther(t) })
		w.table.Taken()
		for _, decision := range []string{"approve", "cancel"} {
			resp := b.decide(form, decision)
			wantPage(t, resp, http.StatusBadRequest)
			if strings.Contains(text(t, resp), "client.example/callback") {
				t.Error("the page leads to the withdrawn address")
			}
		}
		if _, writes := w.table.Taken(); writes != 0 || len(w.upstream.requests()) != 0 {
			t.Errorf("%d writes, %d sign-ins begun", writes, len(w.upstream.requests()))
		}
	}
}

// Nobody knows whether the client still exists: that is no reason to register again.
func TestAStorageOutageAtConsentIsNotTheClientsFault(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.clock.Advance(2 * time.Minute) // past the registry's cache
	w.table.Before(storetest.Fail(errStorage))
	for _, decision := range []string{"approve", "cancel"} {
		wantPage(t, b.decide(form, decision), http.StatusServiceUnavailable)
	}
	w.table.Repair()
	wantStatus(t, b.decide(form, "approve"), http.StatusOK) // the page is still good
}

func TestNobodyIsSentToEntraWithoutATransaction(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.table.Before(storetest.Fail(errStorage, storetest.Writes...))
	resp := b.decide(form, "approve")
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.TemporarilyUnavailable) {
		t.Errorf("the client is told %v", got)
	}
	for _, c := range resp.Cookies() {
		if strings.Contains(c.Name, "signin") {
			t.Errorf("a binding cookie for a sign-in that does not exist: %s", c.Name)
		}
	}
	w.table.Repair()
	wantStatus(t, b.decide(form, "approve"), http.StatusOK) // the page is still good
}

func TestACookieThatIsNotOursIsReplaced(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	u, _ := url.Parse(issuer)
	for _, value := range []string{"x", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("!", 43), strings.Repeat("A", 42) + "B"} {
		b := w.browser()
		b.jar.SetCookies(u, []*http.Cookie{{Name: "__Host-mcp-csrf", Value: value, Path: "/", Secure: true}})
		b.open(request(id))
		for _, c := range b.jar.Cookies(u) {
			if c.Name == "__Host-mcp-csrf" && c.Value == value {
				t.Errorf("%q is kept", value)
			}
		}
	}
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
	w.clock.Advance(2 * time.Minute) // past the registry's cache
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
	w.table.Taken()
	got := reached(t, onward(t, b.decide(form, "cancel")))
	if got.Get("error") != string(oauth.AccessDenied) || got.Get("state") != "client state" || got.Get("iss") != issuer {
		t.Errorf("the client is told %v", got)
	}
	if _, writes := w.table.Taken(); writes != 0 || len(w.upstream.requests()) != 0 {
		t.Error("a cancelled consent left traces")
	}
	if !strings.Contains(w.log.String(), `msg="sign-in refused" path=/consent`) {
		t.Errorf("the log says nothing:\n%s", w.log)
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
	if r.State == "" || r.Nonce == "" || r.CodeChallenge == "" || r.State == r.Nonce {
		t.Errorf("Entra was asked with %+v", r)
	}
}

// Without ENTRA_PROMPT's select_account, Entra takes whoever is signed in there.
func TestWhatEntraAsksIsTheOperatorsChoice(t *testing.T) {
	for setting, want := range map[string]string{"select_account": "select_account", "login": "login", "none": "", "": ""} {
		w := newWorld(t, func(o *authserver.Options) { o.Prompt = setting })
		if to := w.browser().approve(request(w.publicClient())); queryOf(t, to).Get("prompt") != want || queryOf(t, to).Has("prompt") != (want != "") {
			t.Errorf("%s: the browser goes to %s", setting, to)
		}
	}
}

func TestApprovalWritesOnceAndOnlyAfterTheQuestion(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	form := b.open(request(w.publicClient()))
	w.table.Taken()
	resp := b.decide(form, "approve")
	if reads, writes := w.table.Taken(); reads != 0 || writes != 1 {
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
	w.table.Taken()
	got := reached(t, onward(t, b.decide(form, "approve")))
	if got.Get("error") != string(oauth.TemporarilyUnavailable) || got.Get("state") != "client state" {
		t.Errorf("the client is told %v", got)
	}
	if _, writes := w.table.Taken(); writes != 0 {
		t.Errorf("%d writes for a sign-in that could not begin", writes)
	}
}

// What opens an app beside the browser is followed by a click alone: a link of a
// stranger's could otherwise lead into any app.
func TestAnAppWithItsOwnSchemeIsOpenedByAClick(t *testing.T) {
	w := newWorld(t)
	const uri = "cursor://anysphere.cursor-mcp/oauth/callback"
	id, _ := w.register(`{"client_name":"Cursor","redirect_uris":["` + uri + `"],"token_endpoint_auth_method":"none"}`)
	b := w.browser()
	resp := b.get(w.upstream.signIn(t, b.approve(request(id, "redirect_uri", uri))))
	wantStatus(t, resp, http.StatusOK)
	if to := offered(t, resp); !strings.HasPrefix(to, uri+"?code=") {
		t.Errorf("the link leads to %s", to)
	}
	if !strings.Contains(text(t, resp), "Open <bdi>Cursor</bdi>") {
		t.Error("the page does not name the app to open")
	}
	for name, resp := range map[string]*http.Response{
		"a request that cannot succeed": b.get(issuer + "/authorize?" + request(id, "redirect_uri", uri, "response_type", "none").Encode()),
		"cancelled":                     b.decide(b.open(request(id, "redirect_uri", uri)), "cancel"),
	} {
		if to := offered(t, resp); !strings.HasPrefix(to, uri+"?error=") {
			t.Errorf("%s: the link leads to %s", name, to)
		}
	}
}

func TestCookiesCannotBePlantedOrRead(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.get(issuer + "/authorize?" + request(w.publicClient()).Encode())
	w.clock.Advance(time.Second)
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

func TestWhatIsUntickedIsNotGranted(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	decide := func(form string, ticked ...string) string {
		t.Helper()
		return onward(t, b.choose(form, ticked...))
	}
	granted := func(to string) any {
		t.Helper()
		return w.tokens(id, b.arrive(w.upstream.signIn(t, to)).Get("code"))["scope"]
	}
	if got := granted(decide(b.open(request(id)), "tasks")); got != "email openid profile tasks" {
		t.Errorf("all ticked: %v", got)
	}
	if got := granted(decide(b.open(request(id)))); got != "email openid profile" {
		t.Errorf("unticked: %v", got)
	}
	if got := granted(decide(b.open(request(id, "scope", "openid")), "tasks", "admin")); got != "email openid profile" {
		t.Errorf("ticked without having been asked for: %v", got)
	}
	form := b.open(request(id)) // back from Entra's page, and another decision
	decide(form, "tasks")
	if got := granted(decide(form)); got != "email openid profile" {
		t.Errorf("unticked afterwards: %v", got)
	}
}

// Nobody knows which decision the callback will find: the client is told, or the
// person that this sign-in is over.
func TestAnotherDecisionThatIsNotKeptIsNotUsed(t *testing.T) {
	for name, tt := range map[string]struct {
		hook func(w *world, b *browser, back string) storetest.Hook
		over bool
	}{
		"the sign-in cannot be read": {func(*world, *browser, string) storetest.Hook {
			return storetest.Fail(errStorage, storetest.Get).In("t-")
		}, false},
		"it cannot be written": {func(*world, *browser, string) storetest.Hook {
			return storetest.Fail(errStorage, storetest.Replace).In("t-")
		}, false},
		"it is finished meanwhile": {func(_ *world, b *browser, back string) storetest.Hook {
			return storetest.Once(func() error { b.arrive(back); return nil }, storetest.Replace)
		}, true},
		"it is swept meanwhile": {func(w *world, _ *browser, _ string) storetest.Hook {
			return storetest.Once(func() error {
				_, err := w.table.Drop(t.Context(), storetest.Rows(t, w.table, store.Prefix("t-")))
				return err
			}, storetest.Replace)
		}, true},
	} {
		w := newWorld(t)
		b := w.browser()
		form := b.open(request(w.publicClient()))
		back := w.upstream.signIn(t, onward(t, b.choose(form, "tasks")))
		w.table.Before(tt.hook(w, b, back))
		resp := b.choose(form)
		if tt.over {
			wantPage(t, resp, http.StatusBadRequest)
			continue
		}
		if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.TemporarilyUnavailable) {
			t.Errorf("%s: the client is told %v", name, got)
		}
	}
}

// Browsers send cookies in an order of their own.
func TestTheOldestBindingGivesWay(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	u, _ := url.Parse(issuer)
	for range 8 {
		b.approve(request(id))
	}
	form := b.open(request(id))
	cookies := b.jar.Cookies(u)
	oldest := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return strings.Contains(c.Name, "signin") })
	r := httptest.NewRequest(http.MethodPost, issuer+"/consent", strings.NewReader(url.Values{"request": {form}, "decision": {"approve"}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range slices.Backward(cookies) {
		r.AddCookie(c)
	}
	r.AddCookie(&http.Cookie{Name: "__Host-mcp-signin-0000000000000000", Value: "not ours"})
	var dropped []string
	for _, c := range w.serve(r).Cookies() {
		if c.MaxAge < 0 {
			dropped = append(dropped, c.Name)
		}
	}
	if !slices.Equal(dropped, []string{"__Host-mcp-signin-0000000000000000", cookies[oldest].Name}) {
		t.Errorf("dropped %v, want the one that is not ours and %s", dropped, cookies[oldest].Name)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func onlyOther(t *testing.T) clients.RedirectPolicy {
	t.Helper()
	policy, err := clients.NewRedirectPolicy("only", "https://other.example/*")
	if err != nil {
		t.Fatal(err)
	}
	return policy
}
