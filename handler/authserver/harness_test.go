package authserver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/clocktest"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/logtest"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

const (
	issuer   = "https://mcp.example.com"
	verifier = "the-verifier-that-only-the-client-knows-0123"
	callback = "https://client.example/callback"
)

var challenge = oauth.S256(verifier)

// world is one server with the simulated tenant and a clock of its own.
type world struct {
	t          testing.TB
	mux        *http.ServeMux
	server     *authserver.Server
	table      *storetest.Instrumented
	upstream   *upstream
	grants     *grants.Service
	challenges *authserver.ClaimsChallenges
	clients    *clients.Registry
	log        *logtest.Log
	change     []func(*authserver.Options)
	clock      *clocktest.Clock
}

func newWorld(t testing.TB, change ...func(*authserver.Options)) *world {
	t.Helper()
	w := &world{t: t, table: storetest.Instrument(storetest.Embedded(t)), log: &logtest.Log{},
		clock: clocktest.At(time.Date(2026, 11, 23, 12, 55, 0, 0, time.UTC)), change: change}
	w.upstream = newUpstream(t, w.clock.Now)
	w.restart()
	return w
}

// restart makes the server again on the same table, as another instance or after
// the settings changed.
func (w *world) restart(change ...func(*clients.Options)) {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New("3q2-7wAAECAwQFBgcICQoLDA0ODw8PDw8PDw8PDw8")})
	if err != nil {
		w.t.Fatal(err)
	}
	ring := keyring.New(keyring.Options{Table: w.table, Wrapper: wrapper, Now: w.clock.Now, Log: log})
	c := clients.Options{Table: w.table, Issuer: issuer, TokenEndpoint: issuer + "/token", Now: w.clock.Now, Log: log}
	for _, f := range change {
		f(&c)
	}
	registry, err := clients.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.clients = registry
	w.challenges = &authserver.ClaimsChallenges{Table: w.table, Ring: ring, Now: w.clock.Now, Log: log}
	w.grants = grants.New(grants.Options{Table: w.table, Ring: ring, Issuer: issuer, Resource: issuer + "/mcp",
		Renew:    authserver.Renewer{Upstream: w.upstream, Challenges: w.challenges}.Renew,
		Required: oauth.NewScopes("openid", "profile", "email"), Now: w.clock.Now, Log: log})
	o := authserver.Options{
		Issuer: issuer, Resource: issuer + "/mcp", CallbackPath: "/auth/callback", Timeout: 10 * time.Second, Table: w.table, Ring: ring, Clients: registry, Grants: w.grants, Upstream: w.upstream, Challenges: w.challenges,
		Required: oauth.NewScopes("openid", "profile", "email"), Optional: oauth.NewScopes("tasks"),
		Pages: pages.New(pages.Brand{Title: "Contoso Tools", Host: "mcp.example.com"}), Tenant: "contoso.example", ClientMetadata: true, Now: w.clock.Now, Log: log,
	}
	for _, f := range w.change {
		f(&o)
	}
	w.upstream.connect(o.Issuer+o.CallbackPath, w.clock.Now)
	w.server = authserver.New(o)
	w.mux = http.NewServeMux()
	for _, r := range w.server.Routes() {
		w.mux.Handle(r.Method+" "+r.Path, r.Handler)
	}
}

var errStorage = errors.New("storage: timeout")

// beforeReplace has f run once, when a row has been read and is about to be
// replaced.
func (w *world) beforeReplace(f func()) {
	w.table.Before(storetest.Once(func() error { f(); return nil }, storetest.Replace))
}

// subject is Alice's, who signs in unless a test says otherwise.
func (w *world) subject() grants.Subject {
	return grants.SubjectOf(tenant.Contoso, w.upstream.tenant.ObjectID(tenant.Alice))
}

// rows are how many the table holds in the partitions that begin with prefix.
func (w *world) rows(prefix string) int {
	w.t.Helper()
	return len(storetest.Rows(w.t, w.table, store.Prefix(prefix)))
}

// serve answers r, and checks that the answer is one: a refusal after which the
// handler goes on has a second page behind it, or a page behind a redirect.
func (w *world) serve(r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	observe.Correlate(slog.New(slog.DiscardHandler), observe.CorrelateOptions{}, w.mux).ServeHTTP(rec, r)
	if body := rec.Body.String(); strings.Count(body, "<!doctype") > 1 || rec.Code/100 == 3 && body != "" {
		w.t.Errorf("more than one answer: %d %s\n%s", rec.Code, rec.Header().Get("Location"), body)
	}
	return rec.Result()
}

// post sends a form as an MCP client does: without cookies.
func (w *world) post(path string, form url.Values, header ...string) *http.Response {
	r := formRequest(path, form.Encode())
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.serve(r)
}

func formRequest(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// register returns the client's id and, for a confidential one, its secret.
func (w *world) register(metadata string) (id, secret string) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, issuer+"/register", strings.NewReader(metadata))
	r.Header.Set("Content-Type", "application/json")
	resp := w.serve(r)
	wantStatus(w.t, resp, http.StatusCreated)
	answer := object(w.t, resp)
	id, _ = answer["client_id"].(string)
	secret, _ = answer["client_secret"].(string)
	return id, secret
}

func (w *world) publicClient() string {
	id, _ := w.register(`{"client_name":"Claude Code","redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`)
	return id
}

// pinnedClient is a client whose metadata document the operator has a copy of, with
// callback and another address for its answers.
const (
	pinnedClient = "https://client.example/client.json"
	elsewhere    = "https://elsewhere.example/callback"
)

// pin makes the server again with pinnedClient.
func (w *world) pin(t *testing.T) {
	t.Helper()
	pinned, err := clients.ParsePinned(`[{"client_id":"` + pinnedClient + `","client_name":"App","redirect_uris":["` + callback + `","` + elsewhere + `"],"token_endpoint_auth_method":"none"}]`)
	if err != nil {
		t.Fatal(err)
	}
	w.restart(func(o *clients.Options) { o.Documents.Pinned = pinned })
}

// request is a complete authorization request. changes are name, value pairs;
// an empty value removes the parameter.
func request(clientID string, changes ...string) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {callback}, "state": {"client state"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "scope": {"openid tasks"}, "resource": {issuer + "/mcp"},
	}
	for i := 0; i < len(changes); i += 2 {
		if q.Del(changes[i]); changes[i+1] != "" {
			q.Set(changes[i], changes[i+1])
		}
	}
	return q
}

// browser keeps cookies as browsers do, by the rules of https.
type browser struct {
	w   *world
	jar http.CookieJar
}

func (w *world) browser() *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{w, jar}
}

func (b *browser) do(r *http.Request) *http.Response {
	b.w.t.Helper()
	b.cookies(r)
	resp := b.w.serve(r)
	b.jar.SetCookies(r.URL, resp.Cookies())
	return resp
}

// cookies adds the browser's cookies to r.
func (b *browser) cookies(r *http.Request) {
	for _, c := range b.jar.Cookies(r.URL) {
		r.AddCookie(c)
	}
}

func (b *browser) get(target string) *http.Response {
	b.w.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, target, nil))
}

// open goes to /authorize and returns the sealed form of the consent page, as
// late as a person has read it.
func (b *browser) open(q url.Values) string {
	b.w.t.Helper()
	resp := b.get(issuer + "/authorize?" + q.Encode())
	wantStatus(b.w.t, resp, http.StatusOK)
	b.w.clock.Advance(time.Second)
	return match(b.w.t, text(b.w.t, resp), `name="request" value="([^"]+)"`)
}

// decide submits the consent page's form as Chromium does.
func (b *browser) decide(form, decision string, header ...string) *http.Response {
	b.w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, issuer+"/consent", strings.NewReader(url.Values{"request": {form}, "decision": {decision}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "null")
	for i := 0; i < len(header); i += 2 {
		if r.Header.Del(header[i]); header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	return b.do(r)
}

// choose approves with check boxes, of which those of some scopes are ticked.
func (b *browser) choose(form string, ticked ...string) *http.Response {
	f := url.Values{"request": {form}, "decision": {"approve"}, "choice": {"yes"}}
	for _, scope := range ticked {
		f.Set("allow:"+scope, "yes")
	}
	return b.do(formRequest("/consent", f.Encode()))
}

// approve goes through consent and returns the URL of Entra's sign-in.
func (b *browser) approve(q url.Values) string {
	b.w.t.Helper()
	resp := b.decide(b.open(q), "approve")
	wantStatus(b.w.t, resp, http.StatusOK)
	return onward(b.w.t, resp)
}

// signIn goes the whole way and returns the parameters that reach the client.
func (b *browser) signIn(q url.Values) url.Values {
	b.w.t.Helper()
	return b.arrive(b.w.upstream.signIn(b.w.t, b.approve(q)))
}

// signedInAtEntra is a browser that Entra sends back to the callback.
func signedInAtEntra(t testing.TB) (w *world, b *browser, back string) {
	t.Helper()
	w = newWorld(t)
	b = w.browser()
	return w, b, w.upstream.signIn(t, b.approve(request(w.publicClient())))
}

// arrive follows the callback and returns what reaches the client.
func (b *browser) arrive(callbackURL string) url.Values {
	b.w.t.Helper()
	resp := b.get(callbackURL)
	wantStatus(b.w.t, resp, http.StatusSeeOther)
	return reached(b.w.t, resp.Header.Get("Location"))
}

// tokens redeems the code of a signed-in public client.
func (w *world) tokens(clientID, code string) map[string]any {
	w.t.Helper()
	resp := w.post("/token", redemption(clientID, code))
	wantStatus(w.t, resp, http.StatusOK)
	return object(w.t, resp)
}

func redemption(clientID, code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {clientID}, "code": {code},
		"redirect_uri": {callback}, "code_verifier": {verifier}}
}

func reached(t testing.TB, location string) url.Values {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, callback) {
		t.Fatalf("the browser went to %q, want %s", location, callback)
	}
	return u.Query()
}

// onward is where a page sends the browser by itself; its link leads there too.
func onward(t testing.TB, resp *http.Response) string {
	t.Helper()
	body := text(t, resp)
	to := html.UnescapeString(match(t, body, `http-equiv="refresh" content="\d+;url=([^"]+)"`))
	if !strings.Contains(html.UnescapeString(body), `href="`+to+`"`) {
		t.Errorf("no link to %s", to)
	}
	return to
}

func wantStatus(t testing.TB, resp *http.Response, status int) {
	t.Helper()
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s %s", resp.StatusCode, status, resp.Header.Get("Location"), text(t, resp))
	}
}

// wantError checks a JSON refusal, after which nothing else is said.
func wantError(t testing.TB, resp *http.Response, status int, code oauth.Code) {
	t.Helper()
	body := text(t, resp)
	var refusal struct {
		Error oauth.Code `json:"error"`
	}
	if err := json.Unmarshal([]byte(body), &refusal); err != nil || resp.StatusCode != status || refusal.Error != code {
		t.Errorf("answer %d %s, want %d %s", resp.StatusCode, strings.TrimSpace(body), status, code)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q on a refusal, want no-store", got)
	}
	if got := resp.Header.Get("Pragma"); got != "no-cache" {
		t.Errorf("Pragma %q on a refusal, want no-cache", got)
	}
}

// wantPage checks a refusal for people that takes nobody anywhere.
func wantPage(t testing.TB, resp *http.Response, status int) {
	t.Helper()
	body := text(t, resp)
	if resp.StatusCode != status || resp.Header.Get("Location") != "" || strings.Contains(body, "http-equiv") || strings.Contains(body, "<a ") {
		t.Errorf("answer %d, Location %q; want a page with %d and no way on\n%s", resp.StatusCode, resp.Header.Get("Location"), status, body)
	}
	showsReference(t, resp)
}

// showsReference checks that a page shows what finds it in the log.
func showsReference(t testing.TB, resp *http.Response) {
	t.Helper()
	if id := resp.Header.Get(observe.CorrelationHeader); id == "" || !strings.Contains(text(t, resp), id) {
		t.Errorf("the page does not show its reference %q", id)
	}
}

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body)) // to be read again
	return string(body)
}

func object(t testing.TB, resp *http.Response) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text(t, resp)), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func match(t testing.TB, s, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(s)
	if m == nil {
		t.Fatalf("nothing matches %s in\n%s", pattern, s)
	}
	return m[1]
}
