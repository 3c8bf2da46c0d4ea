package authserver_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
)

func TestCallbackFromAnotherBrowserIsRefusedAndBurnsNothing(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	victim, attacker := w.browser(), w.browser()
	back := w.upstream.signIn(t, attacker.approve(request(id)))

	victim.approve(request(id)) // has cookies of its own
	w.table.counted()
	wantPage(t, victim.get(back), http.StatusBadRequest)
	if reads, writes := w.table.counted(); reads+writes != 0 {
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
	wantPage(t, b.get(w.upstream.signIn(t, foreign)), http.StatusBadRequest)
	if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
		t.Errorf("our own sign-in got %v", got)
	}
}

func TestCallbackReplayIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
	u, _ := url.Parse(issuer)
	cookies := b.jar.Cookies(u)
	b.arrive(back)
	wantPage(t, b.get(back), http.StatusBadRequest)
	b.jar.SetCookies(u, secure(cookies)) // a browser that kept the cookie
	wantPage(t, b.get(back), http.StatusBadRequest)
}

func TestCallbackAfterTheTransactionExpiredIsRefused(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Minute, time.Hour, 2 * time.Hour} {
		w := newWorld(t)
		b := w.browser()
		back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
		w.advance(after)
		wantPage(t, b.get(back), http.StatusBadRequest)
	}
}

func TestStatesThatCannotBeOursCostNoStorage(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.approve(request(w.publicClient()))
	secret := strings.Repeat("A", 43)
	w.table.counted()
	for _, q := range []string{"", "state=", "state=x", "state=2026112312-a", "state=2026112310-a-" + secret, "state=2026112314-a-" + secret,
		"state=2026112312-g-" + secret, "state=2026112399-a-" + secret, "state=2026112312-a-" + secret + "A", "state=..%2F..%2F12-a-" + secret,
		"state=2026112312-a-" + secret, "state=%zz"} {
		wantPage(t, b.get(issuer+"/auth/callback?code=c&"+q), http.StatusBadRequest)
	}
	if reads, writes := w.table.counted(); reads+writes != 0 {
		t.Errorf("%d operations", reads+writes)
	}
}

func TestCallbackWithDoubledParametersIsRefused(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
	wantPage(t, b.get(back+"&code=other"), http.StatusBadRequest)
	wantPage(t, b.get(back+"&state=other"), http.StatusBadRequest)
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

func TestCallbackTakesFourStorageOperationsAndClearsItsCookie(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
	w.table.counted()
	b.arrive(back)
	if reads, writes := w.table.counted(); reads != 2 || writes != 2 {
		t.Errorf("%d reads and %d writes, want 2 and 2", reads, writes)
	}
	u, _ := url.Parse(issuer)
	for _, c := range b.jar.Cookies(u) {
		if strings.Contains(c.Name, "signin") {
			t.Errorf("%s is left", c.Name)
		}
	}
}

func TestStorageOutageAtCallbackConsumesNothing(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
	w.table.breakWith(errors.New("storage: timeout"))
	wantPage(t, b.get(back), http.StatusServiceUnavailable)
	w.table.breakWith(nil)
	if got := b.arrive(back); got.Get("code") == "" {
		t.Errorf("after the outage the client got %v", got)
	}
}

func TestEntraOutageAtCallbackGoesToTheClient(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
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
	}{
		"declined":       {"access_denied", "AADSTS65004: secret upstream text", oauth.AccessDenied, false, ""},
		"admin consent":  {"consent_required", "AADSTS90094: secret upstream text", oauth.AccessDenied, true, "https://login.example/adminconsent"},
		"not assigned":   {"access_denied", "AADSTS50105: secret upstream text", oauth.AccessDenied, true, "You cannot sign in here"},
		"unknown reason": {"server_error", "secret upstream text", "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser()
			resp := b.get(w.upstream.refuse(t, b.approve(request(id)), tt.code, tt.text))
			to := resp.Header.Get("Location")
			if tt.page {
				if to != "" {
					t.Fatalf("redirected at once to %s", to)
				}
				if body := text(t, resp); !strings.Contains(body, tt.says) || !strings.Contains(body, "correlation-7") {
					t.Errorf("the page does not say %q\n%s", tt.says, body)
				}
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
	w := newWorld(t)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(w.publicClient())))
	w.upstream.breakWith(&entra.Failure{Kind: entra.Misconfigured, OAuth: oauth.ServerError, Summary: "The client secret is wrong.", NextStep: "Set ENTRA_CLIENT_SECRET anew."})
	resp := b.get(back)
	wantStatus(t, resp, http.StatusInternalServerError)
	if body := text(t, resp); !strings.Contains(body, "Set ENTRA_CLIENT_SECRET anew.") {
		t.Error(body)
	}
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.ServerError) {
		t.Errorf("the client is told %v", got)
	}
}

func secure(cookies []*http.Cookie) []*http.Cookie {
	for _, c := range cookies {
		c.Path, c.Secure = "/", true
	}
	return cookies
}
