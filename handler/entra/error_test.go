package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	sim "entramcp/dev/tenant"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

func TestRefreshEndsTheGrantOnlyWhenTheSignInIsOver(t *testing.T) {
	challenge := map[string]any{"claims": `{"access_token":{"capolids":{"essential":true,"values":["x"]}}}`}
	answers := func(code string, aadsts int, more ...map[string]any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { refuse(w, code, aadsts, more...) }
	}
	raw := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	for name, test := range map[string]struct {
		respond http.HandlerFunc
		kind    Kind
		ends    bool
	}{
		"expired by inactivity":         {answers("invalid_grant", 700082), SignInOver, true},
		"revoked":                       {answers("invalid_grant", 50173), SignInOver, true},
		"sign-in frequency":             {answers("invalid_grant", 70043), SignInOver, true},
		"unknown number":                {answers("invalid_grant", 999999), SignInOver, true},
		"disabled user":                 {answers("invalid_grant", 50057), NotAllowed, true},
		"unassigned user":               {answers("invalid_grant", 50105), NotAllowed, true},
		"second factor":                 {answers("invalid_grant", 50076, map[string]any{"suberror": "basic_action"}), InteractionNeeded, true},
		"conditional access":            {answers("interaction_required", 53003, challenge), InteractionNeeded, true},
		"conditional access by address": {answers("access_denied", 53003), PolicyBlocked, true},
		"claims beside an end":          {answers("invalid_grant", 50173, challenge), InteractionNeeded, true},
		"claims beside a wrong secret":  {answers("invalid_client", 7000215, challenge), Misconfigured, false},
		"claims beside an outage":       {answers("temporarily_unavailable", 90033, challenge), Unavailable, false},
		"claims that cannot be carried": {answers("invalid_grant", 50057, map[string]any{"claims": "[1]"}), NotAllowed, true},
		"challenge of an unknown kind":  {answers("interaction_required", 999999, challenge), InteractionNeeded, true},
		"consent withdrawn":             {answers("invalid_grant", 65001, map[string]any{"suberror": "consent_required"}), ConsentNeeded, true},
		"consent, unknown number":       {answers("invalid_grant", 999999, map[string]any{"suberror": "consent_required"}), ConsentNeeded, true},
		"wrong secret":                  {answers("invalid_client", 7000215), Misconfigured, false},
		"app removed":                   {answers("unauthorized_client", 700016), Misconfigured, false},
		"federated credential missing":  {answers("unauthorized_client", 70021), Misconfigured, false},
		"scope unknown":                 {answers("invalid_scope", 70011), Misconfigured, false},
		"directory down":                {answers("invalid_grant", 90033), Unavailable, false},
		"temporarily_unavailable":       {answers("temporarily_unavailable", 999999), Unavailable, false},
		"an error nobody knows":         {answers("surprise", 999999), Unavailable, false},
		"500 with an OAuth error":       {raw(500, `{"error":"invalid_grant"}`), Unavailable, false},
		"502 of a proxy":                {raw(502, "<html>bad gateway</html>"), Unavailable, false},
		"400 of a proxy":                {raw(400, "<html>blocked</html>"), Unavailable, false},
		"400 with another JSON":         {raw(400, `{"message":"blocked"}`), Unavailable, false},
		"200 with a page":               {raw(200, "<html>sign in to the hotel</html>"), Unavailable, false},
		"200 without a token":           {raw(200, `{}`), Unavailable, false},
		"200 with another type":         {raw(200, `{"token_type":"pop","access_token":"x","expires_in":60}`), Unavailable, false},
		"200 without an expiry":         {raw(200, `{"token_type":"Bearer","access_token":"x"}`), Unavailable, false},
		"200 longer than 1 MiB":         {raw(200, `{"token_type":"Bearer","access_token":"`+strings.Repeat("x", maxBody)+`","expires_in":60}`), Unavailable, false},
		"403 of a firewall":             {raw(403, ""), Unavailable, false},
		"404":                           {raw(404, `{"error":"invalid_grant"}`), Unavailable, false},
		"two numbers, the second tells": {answers("invalid_grant", 70002, map[string]any{"error_codes": []int{70002, 70000}}), SignInOver, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newTenant(t)
			e.respond = test.respond
			f := e.refreshError(e.client())
			if f.Kind != test.kind || f.EndsGrant() != test.ends {
				t.Fatalf("error is %v, want %s", f, test.kind)
			}
			if test.ends != (f.AtToken().Code == oauth.InvalidGrant) {
				t.Errorf("the client gets %v", f.AtToken())
			}
			if !test.ends && (f.AtToken().Status() != http.StatusServiceUnavailable || f.AtToken().RetryAfter <= 0) {
				t.Errorf("the client gets status %d, Retry-After %s", f.AtToken().Status(), f.AtToken().RetryAfter)
			}
			if f.Summary == "" || f.NextStep == "" || f.CorrelationID == "" {
				t.Errorf("summary %q, next step %q, correlation %q", f.Summary, f.NextStep, f.CorrelationID)
			}
			if name == "conditional access" && f.Claims != challenge["claims"] {
				t.Errorf("the claims challenge is lost: %q", f.Claims)
			}
			if (f.Kind == ConsentNeeded) != (f.ConsentURL != "") {
				t.Errorf("consent URL is %q", f.ConsentURL)
			}
		})
	}
}

func TestRawTextOfEntraGoesToTheLogOnly(t *testing.T) {
	e := newTenant(t)
	var log strings.Builder
	c, err := New(e.config(), Deps{Now: e.clock.Now, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	e.must(err)
	e.refuses("invalid_grant", 700082)
	_, err = c.Refresh(context.Background(), refreshToken("used-up-refresh-token"))
	f := AsError(err)
	if strings.Contains(f.Description(), "ada@") || strings.Contains(f.Description(), "Trace ID") || strings.Contains(f.AtToken().Description, "ada@") {
		t.Errorf("the description holds raw text: %s", f.Description())
	}
	if !strings.Contains(f.Description(), "(AADSTS700082)") {
		t.Errorf("the description lacks the number: %s", f.Description())
	}
	for _, want := range []string{"0c0c0c0c-0000-0000-0000-000000000002", "0a0a0a0a-0000-0000-0000-000000000001", `"aadsts":700082`, "raw text"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
	for _, secret := range []string{"used-up-refresh-token", testSecret} {
		if strings.Contains(log.String(), secret) || strings.Contains(f.Error(), secret) {
			t.Errorf("a secret reached the log")
		}
	}
}

// A client that obeys Retry-After must come back while its old refresh token is
// still accepted.
func TestRetryAfterIsPassedOnWithinBounds(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"17": 17 * time.Second, "": defaultRetry, "soon": defaultRetry, "0": time.Second, "-3": time.Second, "300": 30 * time.Second, "86400": 30 * time.Second,
		"Mon, 23 Nov 2026 12:00:20 GMT": 20 * time.Second, "Mon, 23 Nov 2026 12:10:00 GMT": 30 * time.Second,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			e := newTenant(t)
			e.respond = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusTooManyRequests)
			}
			if f := e.refreshError(e.client()); f.Kind != Unavailable || f.RetryAfter != want || f.AtToken().RetryAfter != want {
				t.Errorf("Retry-After %q gives %s, want %s", value, f.RetryAfter, want)
			}
		})
	}
}

func TestRetryAfterOfARefusalIsPassedOn(t *testing.T) {
	e := newTenant(t)
	e.respond = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "11")
		refuse(w, "temporarily_unavailable", 90055)
	}
	if f := e.refreshError(e.client()); f.Kind != Unavailable || f.RetryAfter != 11*time.Second {
		t.Errorf("error is %v after %s", f, f.RetryAfter)
	}
}

// What Entra refuses for a moment is sent once more, for clients that take any
// error for the end of the sign-in; never a code that may have been redeemed.
func TestARefusalOfAMomentIsRepeatedOnce(t *testing.T) {
	status := func(code int, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(code)
		}
	}
	page := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); fmt.Fprint(w, text) }
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	oauthError := func(w http.ResponseWriter, _ *http.Request) { refuse(w, "invalid_grant", 90033) }
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		timeout time.Duration
		refresh int // requests
		code    int
	}{
		"503":                        {status(503, ""), 0, 2, 2},
		"429 for a second":           {status(429, "1"), 0, 2, 2},
		"429 for longer":             {status(429, "7"), 0, 1, 1},
		"an OAuth error that passes": {oauthError, 0, 2, 2},
		"502":                        {status(502, ""), 0, 2, 1},
		"400 of a proxy":             {page(400, "<html>blocked</html>"), 0, 2, 1},
		"403 with another JSON":      {page(403, `{"message":"blocked"}`), 0, 2, 1},
		"200 with a page":            {page(200, "<html>sign in to the hotel</html>"), 0, 2, 1},
		"connection cut":             {cut, 0, 2, 1},
		"no time left":               {status(503, ""), 400 * time.Millisecond, 1, 1},
		"a final refusal":            {func(w http.ResponseWriter, _ *http.Request) { refuse(w, "invalid_grant", 50173) }, 0, 1, 1},
	} {
		for grant, want := range map[string]int{"refresh": test.refresh, "code": test.code} {
			t.Run(name+", "+grant, func(t *testing.T) {
				t.Parallel()
				e := newTenant(t)
				c := e.client(func(cfg *Config) { cfg.Timeout = cmp.Or(test.timeout, 5*time.Second) })
				e.must(c.Ready(t.Context()))
				signIn := e.signedInAs(c, sim.Alice)
				callback := e.callback(c, sim.Alice)
				before := e.tokenRequests()
				e.set(func() {
					e.respond = func(w http.ResponseWriter, r *http.Request) {
						e.set(func() { e.respond = nil })
						test.answer(w, r)
					}
				})
				var err error
				if grant == "refresh" {
					_, err = c.Refresh(t.Context(), signIn.RefreshToken)
				} else {
					_, err = c.Exchange(t.Context(), callback)
				}
				if n := e.tokenRequests() - before; n != want || (err == nil) != (want == 2) {
					t.Errorf("%d requests, want %d: %v", n, want, err)
				}
			})
		}
	}
}

func TestARequestIsRepeatedOnlyForWhoStillWaits(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if waits(gone, time.Hour) {
		t.Error("a request is repeated for a caller who has gone")
	}
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if waits(short, time.Hour) {
		t.Error("a wait outlasts its deadline")
	}
	if !waits(short, time.Millisecond) || !waits(t.Context(), time.Millisecond) {
		t.Error("nothing is repeated")
	}
}

func TestSlowEntraIsCutOff(t *testing.T) {
	e := newTenant(t)
	c := e.client(func(cfg *Config) { cfg.Timeout = 100 * time.Millisecond })
	e.must(c.Ready(context.Background()))
	release := make(chan struct{})
	defer close(release)
	e.respond = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	if f := e.refreshError(c); f.Kind != Unavailable || !errors.Is(f, context.DeadlineExceeded) {
		t.Errorf("error is %v", f)
	}
}

func TestBlockedByAddressSendsNobodyInCircles(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	e.must(e.Change(sim.Bob, func(u *sim.User) { u.BlockedFromServers = true }))
	q, verifier := e.redirected(c, sim.Bob, "") // the browser may
	_, err := c.Exchange(t.Context(), Callback{Code: Code{secret.New(q.Get("code"))}, Verifier: verifier, Nonce: testNonce})
	f := AsError(err)
	if f.Kind != PolicyBlocked || !f.EndsGrant() || f.AtToken().Code != oauth.InvalidGrant {
		t.Errorf("error is %v", f)
	}
	if d := f.Description(); !strings.Contains(d, "administrator has to act") || strings.Contains(d, "Sign in again") {
		t.Errorf("description is %q", d)
	}
}

func TestRefusedConnectionIsUnavailable(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	if err := c.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	e.server.Close()
	if f := e.refreshError(c); f.Kind != Unavailable {
		t.Errorf("error is %v", f)
	}
}

func TestCredentialDoesNotFollowARedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed: %s", r.URL)
	}))
	defer elsewhere.Close()
	e := newTenant(t)
	e.respond = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	}
	if f := e.refreshError(e.client()); f.Kind != Unavailable {
		t.Errorf("error is %v", f)
	}
}

func TestErrorOnTheCallbackIsExplained(t *testing.T) {
	c := newTenant(t).client()
	q := func(code, description string) url.Values {
		return url.Values{"error": {code}, "error_description": {description}, "state": {"s"}}
	}
	const ids = ": raw. Trace ID: 0a0a0a0a-0000-0000-0000-000000000001 Correlation ID: 0c0c0c0c-0000-0000-0000-000000000002 Timestamp: x"
	for name, test := range map[string]struct {
		query  url.Values
		kind   Kind
		aadsts int
		oauth  oauth.Code
	}{
		"declined consent": {q("access_denied", "AADSTS65004"+ids), Declined, 65004, oauth.AccessDenied},
		"unassigned":       {q("access_denied", "AADSTS50105"+ids), NotAllowed, 50105, oauth.AccessDenied},
		"admin consent":    {q("access_denied", "AADSTS90094"+ids), ConsentNeeded, 90094, oauth.AccessDenied},
		"no number":        {q("access_denied", "the user cancelled"), Declined, 0, oauth.AccessDenied},
		"server fault":     {q("server_error", ""), Unavailable, 0, oauth.TemporarilyUnavailable},
		"bad scope":        {q("invalid_scope", "AADSTS650053"+ids), Misconfigured, 650053, oauth.ServerError},
		"anything else":    {q("<script>", "<script>"), Unavailable, 0, oauth.TemporarilyUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.FromRedirect(test.query)
			if f.Kind != test.kind || f.AADSTS != test.aadsts || f.AtCallback().Code != test.oauth {
				t.Errorf("error is %v for the client %v", f, f.AtCallback())
			}
			if strings.Contains(f.Description(), "<script>") || strings.Contains(f.Description(), "raw") {
				t.Errorf("the description holds Entra's text: %s", f.Description())
			}
			if test.aadsts != 0 && (f.CorrelationID != "0c0c0c0c-0000-0000-0000-000000000002" || f.TraceID == "") {
				t.Errorf("ids are %q %q", f.CorrelationID, f.TraceID)
			}
		})
	}
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	longest := `{"x":"` + strings.Repeat("x", maxClaims-len(`{"x":""}`)) + `"}`
	for claims, want := range map[string]string{challenge: challenge, longest: longest, "": "", "[]": "", "{": "", `{"x":"` + strings.Repeat("x", maxClaims) + `"}`: ""} {
		query := q("interaction_required", "AADSTS50076"+ids)
		query.Set("claims", claims)
		if f := c.FromRedirect(query); f.Claims != want || f.Kind != InteractionNeeded {
			t.Errorf("claims of %d bytes: %q, %s", len(claims), f.Claims, f.Kind)
		}
	}
	if FromRedirect(url.Values{"code": {"c"}}) != nil {
		t.Error("a callback without an error is explained as one")
	}
}

func TestConsentLinkNamesAppScopeAndTenant(t *testing.T) {
	for tenant, path := range map[string]string{testTenant: testTenant, "organizations": "organizations", "common": "organizations"} {
		e := newTenant(t)
		c := e.client(func(cfg *Config) { cfg.Tenant, cfg.AllowedTenants = tenant, []string{"*"} })
		f := c.FromRedirect(url.Values{"error": {"consent_required"}})
		u, err := url.Parse(f.ConsentURL)
		if err != nil || u.Path != "/"+path+"/v2.0/adminconsent" || u.Query().Get("client_id") != testClient ||
			u.Query().Get("redirect_uri") != testCallback || !strings.Contains(u.Query().Get("scope"), testScope) {
			t.Errorf("%s: link is %s (%v)", tenant, f.ConsentURL, err)
		}
	}
}

// The audit trail, the log and the client each get of an error what is for them.
func TestAnErrorSaysToEachReaderWhatIsForThem(t *testing.T) {
	numbered := &Error{
		AADSTS: 50105, OAuth: oauth.AccessDenied, Kind: NotAllowed, Summary: "No.", NextStep: "Ask.",
		CorrelationID: "c-1", TraceID: "t-1", code: "invalid_grant", cause: errors.New("raw text"),
	}
	plain := &Error{OAuth: oauth.ServerError, Kind: Misconfigured, Summary: "No.", NextStep: "Fix."}
	for name, test := range map[string]struct{ got, want string }{
		"audit, by number":  {numbered.AuditReason(), "AADSTS50105"},
		"audit, by code":    {plain.AuditReason(), "server_error"},
		"description":       {numbered.Description(), "No. Ask. (AADSTS50105)"},
		"no number":         {plain.Description(), "No. Fix."},
		"error":             {numbered.Error(), "entra: not_allowed: invalid_grant AADSTS50105 (correlation c-1): raw text"},
		"error, all absent": {plain.Error(), "entra: misconfigured"},
		"log":               {numbered.LogValue().String(), "[kind=not_allowed error=invalid_grant aadsts=50105 correlation_id=c-1 trace_id=t-1 cause=raw text]"},
		"log, all absent":   {plain.LogValue().String(), "[kind=misconfigured error= correlation_id= trace_id=]"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", name, test.got, test.want)
		}
	}
	if !errors.Is(numbered, numbered.cause) || !errors.Is(numbered.AtCallback(), numbered) {
		t.Error("the cause is lost")
	}
	if f := AsError(fmt.Errorf("waiting: %w", context.DeadlineExceeded)); f.Kind != Unavailable || !strings.Contains(f.Error(), "time ran out") {
		t.Errorf("a deadline is %v", f)
	}
}

func TestUnexplainedErrorIsUnavailable(t *testing.T) {
	if f := AsError(errors.New("surprise")); f.Kind != Unavailable || f.EndsGrant() {
		t.Errorf("error is %v", f)
	}
	wrapped := fmt.Errorf("while renewing: %w", &Error{Kind: SignInOver})
	if f := AsError(wrapped); f.Kind != SignInOver {
		t.Errorf("error is %v", f)
	}
}
