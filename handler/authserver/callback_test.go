package authserver_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/entra"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

func TestCallbackFromAnotherBrowserIsRefusedAndBurnsNothing(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	victim, attacker := w.browser(), w.browser()
	back := w.upstream.signIn(t, attacker.approve(request(id)))

	victim.approve(request(id)) // has cookies of its own
	w.table.Taken()
	wantPage(t, victim.get(back), http.StatusBadRequest)
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("a callback without its cookie cost %d operations", reads+writes)
	}
	if got := attacker.arrive(back); got.Get("code") == "" {
		t.Errorf("the browser that began got %v", got)
	}
}

func TestACookieIsGoodForItsOwnSignInOnly(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	to := b.approve(request(id))
	u, _ := url.Parse(issuer)
	var own *http.Cookie
	for _, c := range b.jar.Cookies(u) {
		if strings.Contains(c.Name, "signin") {
			own = c
		}
	}
	other := w.browser()
	foreign := other.approve(request(id))
	for _, c := range other.jar.Cookies(u) {
		if strings.Contains(c.Name, "signin") { // the name of that sign-in, the value of ours
			b.jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: own.Value, Path: "/", Secure: true}})
		}
	}
	w.table.Taken()
	wantPage(t, b.get(w.upstream.signIn(t, foreign)), http.StatusBadRequest)
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
	if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
		t.Errorf("our own sign-in got %v", got)
	}
}

// Browsers deliver a callback twice: reload, double navigation, a first request
// that was cut off.
func TestTheSameBrowserGetsTheSameAnswerAgain(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	code := b.arrive(back).Get("code")
	w.restart() // on another instance
	w.clock.Advance(59 * time.Second)
	w.upstream.during(func() { t.Error("Entra is asked again") })
	if again := b.arrive(back).Get("code"); again != code {
		t.Errorf("the code is %q, then %q", code, again)
	}
	if n := w.rows("g-"); n != 1 {
		t.Errorf("%d grants", n)
	}
	wantPage(t, w.browser().get(back), http.StatusBadRequest) // another browser
}

func TestTheAnswerIsRepeatedForAMinuteAndUntilItIsUsed(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for name, spend := range map[string]func(code string){
		"redeemed": func(code string) { w.tokens(id, code) },
		"old":      func(string) { w.clock.Advance(time.Minute) },
	} {
		b := w.browser()
		back := w.upstream.signIn(t, b.approve(request(id)))
		u, _ := url.Parse(issuer)
		cookies := b.jar.Cookies(u)
		spend(b.arrive(back).Get("code"))
		b.jar.SetCookies(u, secure(cookies)) // a browser that kept them
		resp := b.get(back)
		wantPage(t, resp, http.StatusBadRequest)
		if strings.Contains(text(t, resp), "code=") {
			t.Errorf("%s: the code is shown again", name)
		}
	}
}

// A refusal of Entra's is repeated as it was, the page with it, for a minute.
func TestAFailureIsRepeatedToo(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.refuse(t, b.approve(request(w.publicClient())), "access_denied", "AADSTS50105: x")
	for range 2 {
		resp := b.get(back)
		wantStatus(t, resp, http.StatusForbidden)
		if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.AccessDenied) || !strings.Contains(text(t, resp), "You cannot sign in here") {
			t.Errorf("the client is told %v", got)
		}
	}
	w.clock.Advance(time.Minute)
	wantPage(t, b.get(back), http.StatusBadRequest)
}

// Whoever hangs up while another callback is about to answer ends nothing.
func TestWaitingForAnAnswerEndsWithTheRequest(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.during(func() {
		ctx, hangUp := context.WithCancel(t.Context())
		w.table.After(storetest.Once(func() error { hangUp(); return nil }, storetest.Get).In("t-"))
		r := httptest.NewRequest(http.MethodGet, back, nil).WithContext(ctx)
		b.cookies(r)
		wantPage(t, w.serve(r), http.StatusServiceUnavailable)
	})
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
}

// The first request is cut off while Entra answers; the second finds what the
// first one finished.
func TestWhatWasClaimedIsFinishedThoughTheBrowserHungUp(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	w.upstream.during(func() { close(asked); <-answer })
	first, hangUp := context.WithCancel(t.Context())
	done := make(chan *http.Response)
	r := httptest.NewRequest(http.MethodGet, back, nil).WithContext(first)
	b.cookies(r)
	go func() { done <- w.serve(r) }()
	<-asked
	hangUp()
	second := make(chan *http.Response)
	r = httptest.NewRequest(http.MethodGet, back, nil)
	b.cookies(r)
	go func() { second <- w.serve(r) }()
	close(answer)
	one, two := reached(t, (<-done).Header.Get("Location")), reached(t, (<-second).Header.Get("Location"))
	if one.Get("code") == "" || one.Get("code") != two.Get("code") {
		t.Errorf("the browser got %v and %v", one, two)
	}
	if n := w.rows("g-"); n != 1 {
		t.Errorf("%d grants", n)
	}
}

// Of two callbacks at once one asks Entra: its code works once.
func TestManyCallbacksAtOnceMakeOneGrant(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	codes := make(chan string)
	for range 8 {
		r := httptest.NewRequest(http.MethodGet, back, nil)
		b.cookies(r)
		go func() { codes <- queryOf(t, w.serve(r).Header.Get("Location")).Get("code") }()
	}
	first := <-codes
	for range 7 {
		if code := <-codes; code == "" || code != first {
			t.Errorf("codes %q and %q", first, code)
		}
	}
	if n := w.rows("g-"); n != 1 {
		t.Errorf("%d grants", n)
	}
}

func TestASignInWhoseInstanceDiedStartsAgain(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.during(func() { w.table.Before(storetest.Fail(errStorage)) })
	r := httptest.NewRequest(http.MethodGet, back, nil)
	b.cookies(r)
	w.serve(r)
	w.table.Repair()
	w.clock.Advance(time.Minute)
	began := time.Now()
	resp := b.get(back)
	wantPage(t, resp, http.StatusBadRequest)
	if !strings.Contains(text(t, resp), "interrupted") || !strings.Contains(text(t, resp), "connect again") {
		t.Errorf("the page does not say what to do:\n%s", text(t, resp))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it takes %s to say so", took)
	}
	if n := w.rows("g-"); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// Entra says that the code is spent: somebody else has claimed the same sign-in
// without our knowing, and its answer is the one that counts.
func TestACodeThatEntraHasSeenBeforeIsNotAnAnswer(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.breakWith(&entra.Error{Kind: entra.InteractionNeeded, AADSTS: 54005, OAuth: oauth.AccessDenied, Summary: "Used."})
	w.server.ShortenAnswerWaits()
	resp := b.get(back)
	wantPage(t, resp, http.StatusBadRequest)
	if !strings.Contains(text(t, resp), "interrupted") {
		t.Error(text(t, resp))
	}
}

func TestLookingAtACallbackConsumesNothing(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.Taken()
	for name, tt := range map[string]struct {
		method, header, value string
		status                int
	}{
		"HEAD":      {http.MethodHead, "X", "", http.StatusOK},
		"Chromium":  {http.MethodGet, "Sec-Purpose", "prefetch", http.StatusServiceUnavailable},
		"prerender": {http.MethodGet, "Sec-Purpose", "prefetch;prerender", http.StatusServiceUnavailable},
		"Safari":    {http.MethodGet, "Purpose", "prefetch", http.StatusServiceUnavailable},
		"Firefox":   {http.MethodGet, "X-Moz", "prefetch", http.StatusServiceUnavailable},
	} {
		r := httptest.NewRequest(tt.method, back, nil)
		r.Header.Set(tt.header, tt.value)
		resp := b.do(r)
		if resp.StatusCode != tt.status || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
}

// On localhost another port can plant a binding cookie.
func TestABindingCookieIsGoodInTheBrowserThatApproved(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	attacker, victim := w.browser(), w.browser()
	back := w.upstream.signIn(t, attacker.approve(request(id)))
	victim.open(request(id)) // has an id of its own
	u, _ := url.Parse(issuer)
	for _, c := range attacker.jar.Cookies(u) {
		if strings.Contains(c.Name, "signin") {
			victim.jar.SetCookies(u, secure([]*http.Cookie{c}))
		}
	}
	wantPage(t, victim.get(back), http.StatusBadRequest)
	if n := w.rows("g-"); n != 0 {
		t.Errorf("%d grants", n)
	}
	if got := attacker.arrive(back); got.Get("code") == "" {
		t.Errorf("the browser that began got %v", got)
	}
}

func TestCallbackAfterTheTransactionExpiredIsRefused(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Minute, time.Hour, 2 * time.Hour} {
		w, b, back := signedInAtEntra(t)
		w.clock.Advance(after)
		wantPage(t, b.get(back), http.StatusBadRequest)
	}
}

func TestStatesThatCannotBeOursCostNoStorage(t *testing.T) {
	w := newWorld(t) // at 12:55
	b := w.browser()
	id := w.publicClient()
	own := queryOf(t, b.approve(request(id))).Get("state")
	secret := strings.Repeat("A", 43)
	for _, at := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
		w.clock.Advance(at)
		w.table.Taken()
		for _, q := range []string{"", "state=", "state=x", "state=2026112312-a", "state=2026112310-a-" + secret, "state=2026112314-a-" + secret,
			"state=2026112312-g-" + secret, "state=2026112399-a-" + secret, "state=2026112312-a-" + secret + "A", "state=..%2F..%2F12-a-" + secret,
			"state=2026112312-a-" + secret, "state=%zz"} {
			resp := b.get(issuer + "/auth/callback?code=c&" + q)
			wantPage(t, resp, http.StatusBadRequest)
			if q == "state=x" && !strings.Contains(text(t, resp), "This sign-in is over") {
				t.Errorf("%s: the page does not say why", q)
			}
		}
		if at != 0 { // our own state, and the cookie for it, in another hour
			resp := b.get(issuer + "/auth/callback?code=c&state=" + own)
			wantPage(t, resp, http.StatusBadRequest)
			if !strings.Contains(text(t, resp), "This sign-in is over") {
				t.Error("the page does not say why")
			}
		}
		if reads, writes := w.table.Taken(); reads+writes != 0 {
			t.Errorf("%d operations", reads+writes)
		}
		w.clock.Advance(-at)
	}
}

// Instances do not agree on the time: half a minute is promised, also when the
// hour turns.
func TestAClockThatIsHalfAMinuteOffFinishesASignIn(t *testing.T) {
	for _, opened := range []time.Time{
		time.Date(2026, 11, 23, 12, 50, 15, 0, time.UTC), // the state's hour has just turned
		time.Date(2026, 11, 23, 12, 49, 45, 0, time.UTC),
		time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC),
	} {
		for _, off := range []time.Duration{-30 * time.Second, 30 * time.Second} {
			w := newWorld(t)
			w.clock.Advance(opened.Sub(w.clock.Now()))
			b := w.browser()
			form := b.open(request(w.publicClient()))
			to := onward(t, b.decide(form, "approve"))
			w.clock.Advance(off)
			if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
				t.Errorf("%s, %s: the client got %v", opened, off, got)
			}
		}
	}
}

// A page is approved late, and the user takes long at Entra.
func TestASignInHasTenMinutesWheneverItIsApproved(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for minute := range 60 {
		w.clock.Advance(time.Duration((60+minute-w.clock.Now().Minute())%60) * time.Minute)
		opened := w.clock.Now()
		b := w.browser()
		form := b.open(request(id))
		w.clock.Advance(10*time.Minute - 2*time.Second)
		to := onward(t, b.decide(form, "approve"))
		w.clock.Advance(10*time.Minute - time.Second)
		if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
			t.Fatalf("opened at %s: the client got %v", opened, got)
		}
	}
}

// The longest request that is accepted fits the form and the table, also when
// every byte of it takes six, and when the answer is kept beside it.
func TestTheLongestRequestIsKept(t *testing.T) {
	w := newWorld(t)
	address := callback + "?" + strings.Repeat("q", 2000)
	id, _ := w.register(`{"client_name":"` + strings.Repeat("n", 64) + `","redirect_uris":["` + address + `"],"token_endpoint_auth_method":"none"}`)
	state := strings.Repeat("\x00", 4096)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(id, "redirect_uri", address, "state", state)))
	for range 2 {
		resp := b.get(back)
		wantStatus(t, resp, http.StatusSeeOther)
		if got := queryOf(t, resp.Header.Get("Location")); got.Get("state") != state || got.Get("code") == "" {
			t.Errorf("the client got %.200v", got)
		}
	}
	page, err := w.table.List(t.Context(), store.Prefix("t-"), "")
	if err != nil || len(page.Rows) != 1 || len(page.Rows[0].Value) > store.MaxValue*9/10 {
		t.Errorf("the row has %d bytes, %v", len(page.Rows[0].Value), err)
	}
}

// Instances of other versions share the table, and so does whoever can write to it.
func TestTransactionsOfOtherVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(plain []byte) []byte
		status int
	}{
		"as it is": {func(plain []byte) []byte { return plain }, http.StatusSeeOther},
		"an earlier version, which knew no browser": {func(plain []byte) []byte {
			return regexp.MustCompile(`"v":1,|,"browser":"[^"]*"`).ReplaceAll(plain, nil)
		}, http.StatusSeeOther},
		"a later version":  {func(plain []byte) []byte { return bytes.Replace(plain, []byte(`"v":1`), []byte(`"v":2`), 1) }, http.StatusBadRequest},
		"not readable":     {func([]byte) []byte { return []byte("no JSON") }, http.StatusInternalServerError},
		"not sealed by us": {nil, http.StatusBadRequest},
	} {
		w, b, back := signedInAtEntra(t)
		ring, row := w.challenges.Ring, storetest.Rows(t, w.table, store.Prefix("t-"))[0]
		ad := []byte(row.Partition + "/" + row.Key)
		plain, err := ring.Open(t.Context(), keyring.Transaction, ad, string(row.Value))
		if err != nil || !bytes.Contains(plain, []byte(`"verifier"`)) {
			t.Fatalf("%s, %v", plain, err)
		}
		row.Value = plain
		if tt.change != nil {
			sealed, err := ring.Seal(t.Context(), keyring.Transaction, ad, tt.change(plain))
			if err != nil {
				t.Fatal(err)
			}
			row.Value = []byte(sealed)
		}
		storetest.MustReplace(t, w.table, row)
		resp := b.get(back)
		if got := queryOf(t, resp.Header.Get("Location")).Get("code"); resp.StatusCode != tt.status || (got != "") != (tt.status == http.StatusSeeOther) {
			t.Errorf("%s: answer %d %s", name, resp.StatusCode, resp.Header.Get("Location"))
		}
		if tt.status != http.StatusSeeOther {
			wantPage(t, resp, tt.status)
			continue
		}
		row = storetest.Rows(t, w.table, store.Prefix("t-"))[0]
		if plain, err = ring.Open(t.Context(), keyring.Transaction, ad, string(row.Value)); err != nil || bytes.Contains(plain, []byte(`"verifier"`)) || bytes.Contains(plain, []byte(`"nonce"`)) {
			t.Errorf("%s: secrets that are of no more use are kept: %s, %v", name, plain, err)
		}
	}
}

func TestTransactionsExpireInTheTable(t *testing.T) {
	w := newWorld(t)
	w.browser().approve(request(w.publicClient()))
	page, err := w.table.List(t.Context(), store.Prefix("t-"), "")
	if err != nil || len(page.Rows) != 1 {
		t.Fatalf("%d rows, %v", len(page.Rows), err)
	}
	if life := page.Rows[0].Expires.Sub(w.clock.Now()); life < 10*time.Minute || life > 10*time.Minute+2*time.Second {
		t.Errorf("the row lives %s", life)
	}
}

func TestCallbackWithDoubledParametersIsRefused(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.Taken()
	for _, more := range []string{"&code=other", "&state=other", "&x=%zz"} {
		wantPage(t, b.get(back+more), http.StatusBadRequest)
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("the sign-in was spent: %v", got)
	}
}

// Entra never sends both; with both, the refusal counts and the code is not used.
func TestARefusalWithACodeIsARefusal(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	if got := b.arrive(back + "&error=access_denied&error_description=AADSTS65004"); got.Get("error") != string(oauth.AccessDenied) || got.Has("code") {
		t.Errorf("the client got %v", got)
	}
	if n := w.rows("g-"); n != 0 {
		t.Errorf("%d grants", n)
	}
}

func TestACallbackThatBringsNothingAsksNothing(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.during(func() { t.Error("Entra is asked for tokens") })
	to, _, _ := strings.Cut(back, "?")
	if got := b.arrive(to + "?state=" + queryOf(t, back).Get("state")); got.Get("error") != string(oauth.ServerError) || got.Get("state") != "client state" {
		t.Errorf("the client got %v", got)
	}
}

func TestParallelTabsBothFinish(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	first, second := b.approve(request(id, "state", "1")), b.approve(request(id, "state", "2"))
	if got := b.arrive(w.upstream.signIn(t, second)); got.Get("state") != "2" || got.Get("code") == "" {
		t.Errorf("the second tab got %v", got)
	}
	if got := b.arrive(w.upstream.signIn(t, first)); got.Get("state") != "1" || got.Get("code") == "" {
		t.Errorf("the first tab got %v", got)
	}
}

func TestCallbackTakesFiveStorageOperationsAndShortensItsCookie(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.Taken()
	resp := b.get(back)
	wantStatus(t, resp, http.StatusSeeOther)
	if reads, writes := w.table.Taken(); reads != 2 || writes != 3 {
		t.Errorf("%d reads and %d writes, want 2 and 3", reads, writes)
	}
	if c := resp.Cookies(); len(c) != 1 || !strings.Contains(c[0].Name, "signin") || c[0].MaxAge != 60 {
		t.Errorf("cookies %v, want the binding for 60 s more", c)
	}
}

// Whichever write fails: the client gets its error, at once or, where the same
// callback can still succeed, by a page that says so and goes on by itself.
func TestAStorageFaultAtTheCallbackReachesTheClient(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.Before(storetest.Fail(errStorage, storetest.Writes...))
	resp := b.get(back)
	wantStatus(t, resp, http.StatusServiceUnavailable)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.TemporarilyUnavailable) || got.Get("state") != "client state" {
		t.Errorf("the client is told %v", got)
	}
	w.table.Repair()
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("after the outage the client got %v", got)
	}

	back = w.upstream.signIn(t, b.approve(request(w.publicClient())))
	w.upstream.during(func() { w.table.Before(storetest.Fail(errStorage, storetest.Writes...)) }) // after the claim
	if got := b.arrive(back); got.Get("error") != string(oauth.TemporarilyUnavailable) {
		t.Errorf("the client got %v", got)
	}
}

// Between reading and claiming, another callback was faster, or the sweep was.
func TestACallbackThatIsOvertakenMakesNoGrant(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	id := w.publicClient()
	back := w.upstream.signIn(t, b.approve(request(id)))
	var first url.Values
	w.beforeReplace(func() { first = b.arrive(back) })
	if second := b.arrive(back); second.Get("code") == "" || second.Get("code") != first.Get("code") {
		t.Errorf("the browser got %v, then %v", first, second)
	}
	if n := w.rows("g-"); n != 1 {
		t.Errorf("%d grants", n)
	}

	back = w.upstream.signIn(t, b.approve(request(id)))
	w.beforeReplace(func() {
		page, err := w.table.List(t.Context(), store.Prefix("t-"), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page.Rows {
			if _, err := w.table.Drop(t.Context(), []store.Row{row}); err != nil {
				t.Fatal(err)
			}
		}
	})
	wantPage(t, b.get(back), http.StatusBadRequest)
	if n := w.rows("g-"); n != 1 {
		t.Errorf("%d grants", n)
	}
}

// Between reading and claiming, the person has decided again in another tab: nobody
// has claimed the sign-in, and the same callback finishes it.
func TestACallbackThatMeetsAnotherDecisionCanBeTriedAgain(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	id := w.publicClient()
	form := b.open(request(id))
	decide := func(ticked ...string) *http.Response { return b.choose(form, ticked...) }
	back := w.upstream.signIn(t, onward(t, decide("tasks")))
	w.beforeReplace(func() { wantStatus(t, decide(), http.StatusOK) })
	wantStatus(t, b.get(back), http.StatusServiceUnavailable)
	if got := w.tokens(id, b.arrive(back).Get("code"))["scope"]; got != "email openid profile" {
		t.Errorf("granted %v, want the last decision", got)
	}
}

// The write succeeded and its answer was lost: reading once more tells.
func TestALostAnswerOfTheClaimIsFoundOut(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.After(storetest.Once(func() error { return errStorage }, storetest.Replace))
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
}

// Nobody can tell whether it succeeded: the same callback can be tried again.
func TestAClaimOfUnknownOutcomeCanBeTriedAgain(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.Before(storetest.Once(func() error { w.table.Before(storetest.Fail(errStorage)); return errStorage }, storetest.Replace))
	resp := b.get(back)
	wantStatus(t, resp, http.StatusServiceUnavailable)
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.TemporarilyUnavailable) {
		t.Errorf("the client is told %v", got)
	}
	w.table.Repair()
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("after the outage the client got %v", got)
	}
}

// It was given; only a second delivery would not find it.
func TestAnAnswerThatCannotBeKeptIsLogged(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.during(func() { w.table.Before(storetest.Fail(errStorage, storetest.Replace).In("t-")) })
	if got := b.arrive(back); got.Get("code") == "" || strings.Count(w.log.String(), errStorage.Error()) != 1 {
		t.Errorf("the client got %v; the log:\n%s", got, w.log)
	}
}

func TestStorageOutageAtCallbackConsumesNothing(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.table.Before(storetest.Fail(errStorage))
	resp := b.get(back)
	wantPage(t, resp, http.StatusServiceUnavailable)
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.table.Repair()
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("after the outage the client got %v", got)
	}
}

// Whoever has the page, the form or the sign-in can go on with it once the keys are
// there again.
func TestAnOutageOfTheKeysLosesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	during := func(ask func() *http.Response) *http.Response {
		t.Helper()
		w.restart() // an instance that has not read them yet
		w.table.Before(storetest.Fail(errStorage).In(keyring.Partition))
		resp := ask()
		w.table.Repair()
		w.restart()
		wantStatus(t, resp, http.StatusServiceUnavailable)
		if resp.Header.Get("Retry-After") == "" || strings.Contains(text(t, resp), "http-equiv") {
			t.Errorf("%v, or the browser goes on by itself:\n%s", resp.Header, text(t, resp))
		}
		return resp
	}
	resp := during(func() *http.Response { return b.get(issuer + "/authorize?" + request(id).Encode()) })
	if got := reached(t, offered(t, resp)); got.Get("error") != string(oauth.TemporarilyUnavailable) || got.Get("state") != "client state" {
		t.Errorf("the client is told %v", got)
	}
	form := b.open(request(id))
	wantPage(t, during(func() *http.Response { return b.decide(form, "approve") }), http.StatusServiceUnavailable)
	back := w.upstream.signIn(t, onward(t, b.decide(form, "approve")))
	wantPage(t, during(func() *http.Response { return b.get(back) }), http.StatusServiceUnavailable)
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
}

func TestEntraOutageAtCallbackGoesToTheClient(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.breakWith(errors.New("dial tcp: connection refused"))
	got := b.arrive(back)
	if got.Get("error") != string(oauth.TemporarilyUnavailable) || got.Get("state") != "client state" || got.Get("iss") != issuer {
		t.Errorf("the client is told %v", got)
	}
}

func TestEntraRefusalsReachTheClientInPlainWords(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for name, tt := range map[string]struct {
		code, text string
		want       oauth.Code
		page       bool
		says       string
		after      string
	}{
		"declined":       {"access_denied", "AADSTS65004: secret upstream text", oauth.AccessDenied, false, "", ""},
		"admin consent":  {"consent_required", "AADSTS90094: secret upstream text", oauth.AccessDenied, true, authority + "/" + tenant.Contoso + "/v2.0/adminconsent", "120"},
		"not assigned":   {"access_denied", "AADSTS50105: secret upstream text", oauth.AccessDenied, true, "You cannot sign in here", "20"},
		"unknown reason": {"server_error", "secret upstream text", "", false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			resp := b.get(w.upstream.refuse(t, b.approve(request(id)), tt.code, tt.text))
			to := resp.Header.Get("Location")
			if tt.page {
				if to != "" {
					t.Fatalf("redirected at once to %s", to)
				}
				if body := text(t, resp); !strings.Contains(body, tt.says) || !strings.Contains(body, `content="`+tt.after+`;url=`) {
					t.Errorf("the page does not say %q, or goes on in other than %s s\n%s", tt.says, tt.after, body)
				}
				showsReference(t, resp)
				to = onward(t, resp)
			}
			got := reached(t, to)
			if got.Get("error") == "" || (tt.want != "" && got.Get("error") != string(tt.want)) || got.Get("state") != "client state" || got.Get("iss") != issuer {
				t.Errorf("the client is told %v", got)
			}
			if strings.Contains(text(t, resp)+to, "upstream") {
				t.Error("Entra's raw text is shown")
			}
		})
	}
}

func TestAnOperatorsMistakeIsSaidToTheUser(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.breakWith(&entra.Error{Kind: entra.Misconfigured, OAuth: oauth.ServerError, Summary: "The client secret is wrong.", NextStep: "Set ENTRA_CLIENT_SECRET anew."})
	resp := b.get(back)
	wantStatus(t, resp, http.StatusInternalServerError)
	if body := text(t, resp); !strings.Contains(body, "Set ENTRA_CLIENT_SECRET anew.") {
		t.Error(body)
	}
	if !strings.Contains(w.log.String(), `msg="sign-in refused" path=/auth/callback`) {
		t.Errorf("the log says nothing:\n%s", w.log)
	}
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.ServerError) {
		t.Errorf("the client is told %v", got)
	}
}

// To sign in again would be blocked again: the address is the server's.
func TestAPolicyAgainstTheServersAddressIsSaidToTheUser(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.breakWith(&entra.Error{Kind: entra.PolicyBlocked, OAuth: oauth.AccessDenied, AADSTS: 53003,
		Summary: "A policy blocked the server.", NextStep: "An administrator allows the server's addresses."})
	resp := b.get(back)
	wantStatus(t, resp, http.StatusForbidden)
	if body := text(t, resp); !strings.Contains(body, "An administrator has to act") || strings.Contains(body, "ign in again") {
		t.Error(body)
	}
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.AccessDenied) {
		t.Errorf("the client is told %v", got)
	}
}

func secure(cookies []*http.Cookie) []*http.Cookie {
	for _, c := range cookies {
		c.Path, c.Secure = "/", true
	}
	return cookies
}
