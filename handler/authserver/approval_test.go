package authserver_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// withKnownClient is a world that remembers approvals, and a client of the
// operator's.
func withKnownClient(t *testing.T) (w *world, id string) {
	t.Helper()
	w = newWorld(t, func(o *authserver.Options) { o.RememberApprovals, o.Prompt = true, "select_account" })
	made, _, err := w.clients.Create(t.Context(), clients.OperatorClient{Name: "Copilot", RedirectURIs: []string{callback, callback + "2"}})
	if err != nil {
		t.Fatal(err)
	}
	return w, made.ID
}

// short reports whether the consent page for q is the one with one button.
func (b *browser) short(q url.Values) bool {
	b.w.t.Helper()
	resp := b.get(issuer + "/authorize?" + q.Encode())
	wantStatus(b.w.t, resp, http.StatusOK)
	b.w.clock.Advance(time.Second)
	return strings.Contains(text(b.w.t, resp), "You have approved this app before, as <strong><bdi>"+tenant.Alice+"</bdi></strong>")
}

func TestTheSameApprovalIsAskedWithOneButton(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	if b.short(request(id)) {
		t.Fatal("the first page is short")
	}
	b.signIn(request(id))
	if !b.short(request(id)) || !b.short(request(id, "scope", "openid")) {
		t.Error("the same, or less, is asked in full")
	}
	before := len(w.upstream.requests())
	if got := b.signIn(request(id)); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
	if r := w.upstream.requests()[before]; r.LoginHint != tenant.Alice || r.Prompt != "" {
		t.Errorf("Entra was asked with %+v", r)
	}
	for name, full := range map[string]bool{
		"another scope":    b.short(request(id, "scope", "openid tasks offline_access")),
		"another address":  b.short(request(id, "redirect_uri", callback+"2")),
		"another browser":  w.browser().short(request(id)),
		"a client unknown": b.short(request(w.publicClient())),
	} {
		if full {
			t.Errorf("%s is asked with one button", name)
		}
	}
}

// What listens on a loopback address may be another program the next time, and
// what a stranger registered may be anybody's.
func TestOnlyKnownWebClientsAreRemembered(t *testing.T) {
	w, _ := withKnownClient(t)
	public := w.publicClient()
	local, _ := w.register(`{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`)
	b := w.browser()
	b.signIn(request(public))
	b.get(w.upstream.signIn(t, b.approve(request(local, "redirect_uri", "http://127.0.0.1:5000/cb"))))
	w.pin(t)
	b.get(w.upstream.signIn(t, b.approve(request(pinnedClient, "redirect_uri", elsewhere))))
	if n := w.rows("ap-"); n != 0 {
		t.Errorf("%d approvals are remembered", n)
	}
	if b.signIn(request(pinnedClient)); !b.short(request(pinnedClient)) {
		t.Error("a client with a document, answered at its own host, is asked in full")
	}
	known, id := withKnownClient(t)
	b = known.browser()
	b.signIn(request(id))
	known.change = append(known.change, func(o *authserver.Options) { o.RememberApprovals = false })
	if known.restart(); b.short(request(id)) {
		t.Error("an approval is remembered though it was switched off since")
	}
	off := newWorld(t)
	made, _, err := off.clients.Create(t.Context(), clients.OperatorClient{Name: "Copilot", RedirectURIs: []string{callback}})
	if err != nil {
		t.Fatal(err)
	}
	off.browser().signIn(request(made.ID))
	if n := off.rows("ap-"); n != 0 {
		t.Errorf("%d approvals are remembered though it is off", n)
	}
}

func TestAnApprovalIsRememberedForAYearAndUntilItIsForgotten(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	b.signIn(request(id))
	subject := w.subject()
	for range 5 { // the browser is used within its 90 days
		w.clock.Advance(70 * 24 * time.Hour)
		if !b.short(request(id)) {
			t.Fatalf("asked in full after %s", w.clock.Now())
		}
		b.signIn(request(id))
	}
	w.clock.Advance(20 * 24 * time.Hour)
	if b.short(request(id)) {
		t.Error("an approval is remembered for more than a year")
	}
	if old, err := w.server.RememberedApprovals(t.Context(), subject); err != nil || len(old) != 0 {
		t.Errorf("listed after a year: %+v, %v", old, err)
	}
	b.signIn(request(id))
	approvals, err := w.server.RememberedApprovals(t.Context(), subject)
	if err != nil || len(approvals) != 1 || approvals[0].ClientID != id || approvals[0].ClientName != "Copilot" || approvals[0].RedirectURI != callback || !approvals[0].Scopes.Has("tasks") ||
		approvals[0].Tenant != grants.TenantHash(tenant.Contoso) || approvals[0].Version != 1 {
		t.Fatalf("%+v, %v", approvals, err)
	}
	if !b.short(request(id)) {
		t.Error("approved again, it is asked in full")
	}
	for range 2 {
		if err := w.server.ForgetApproval(t.Context(), subject, approvals[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	if b.short(request(id)) {
		t.Error("a forgotten approval is remembered")
	}
}

// Who follows a link in somebody else's browser must not connect that person's
// app to an account of their own, nor the other way round.
func TestSomebodyElseIsAskedInFull(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	b.signIn(request(id))
	before := w.rows("g-")
	w.upstream.user = tenant.Bob
	back := w.upstream.signIn(t, b.approve(request(id)))
	for range 2 { // delivered twice
		resp := b.get(back)
		wantStatus(t, resp, http.StatusOK)
		if body := text(t, resp); !strings.Contains(body, "You signed in with another account") || strings.Contains(body, "approved this app before, as") || strings.Contains(body, "code=") {
			t.Error(body)
		}
		if w.rows("g-") != before {
			t.Error("a grant was made")
		}
		w.clock.Advance(time.Second)
		form := match(t, text(t, resp), `name="request" value="([^"]+)"`)
		seen := len(w.upstream.requests())
		to := onward(t, b.decide(form, "approve"))
		if r := w.upstream.requests()[seen]; r.LoginHint != "" || r.Prompt != "select_account" {
			t.Errorf("Entra was asked with %+v", r)
		}
		if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
			t.Errorf("after approving in full the client got %v", got)
		}
		before = w.rows("g-")
	}
	if names, _ := w.events(); strings.Join(names[3:7], " ") != "consent_shown consent_approved sign_in_failed consent_shown" || !strings.Contains(w.log.String(), `reason="another account"`) {
		t.Errorf("events %v", names)
	}
}

func TestAClientThatIsGoneByNowIsNotAskedForInFull(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	b.signIn(request(id))
	w.upstream.user = tenant.Bob
	back := w.upstream.signIn(t, b.approve(request(id)))
	if _, err := w.table.Drop(t.Context(), storetest.Rows(t, w.table, store.Partition(clients.OperatorPartition))); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Minute) // past the registry's cache
	wantPage(t, b.get(back), http.StatusBadRequest)
}

func TestAnotherAccountCanBeChosen(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	b.signIn(request(id))
	resp := b.decide(b.open(request(id)), "full")
	wantStatus(t, resp, http.StatusOK)
	body := text(t, resp)
	if strings.Contains(body, "approved this app before") || !strings.Contains(body, "Use the tools of this server as you") {
		t.Error(body)
	}
	w.clock.Advance(time.Second)
	w.upstream.user = tenant.Bob
	to := onward(t, b.decide(match(t, body, `name="request" value="([^"]+)"`), "approve"))
	if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
}

// Back from Entra's page, the person decides again on the same page, and for
// another account this time.
func TestTheLastDecisionSaysWhoHasToSignIn(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	b.signIn(request(id))
	form := b.open(request(id))
	first := onward(t, b.decide(form, "approve"))
	full := match(t, text(t, b.decide(form, "full")), `name="request" value="([^"]+)"`)
	w.clock.Advance(time.Second)
	for range 2 { // however often it is sent
		second := onward(t, b.decide(full, "approve"))
		if queryOf(t, second).Get("state") != queryOf(t, first).Get("state") || queryOf(t, second).Get("login_hint") != "" || queryOf(t, second).Get("prompt") != "select_account" {
			t.Errorf("the form leads to %s, then to %s", first, second)
		}
		first = second
	}
	w.upstream.user = tenant.Bob
	if got := b.arrive(w.upstream.signIn(t, first)); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
	if n := w.rows("ap-"); n != 2 {
		t.Errorf("%d approvals are remembered, want one of each account", n)
	}
}

// Remembering is a convenience: what fails there fails nothing else, and nobody
// waits for it.
func TestAnApprovalThatCannotBeKeptOrReadAsksInFull(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	w.table.Before(storetest.Fail(errStorage, storetest.Writes...).In("ap-"))
	if got := b.signIn(request(id)); got.Get("code") == "" {
		t.Errorf("the client got %v", got)
	}
	if b.short(request(id)) {
		t.Error("an approval that was not kept is remembered")
	}
	w.table.Repair()
	b.signIn(request(id))
	if !b.short(request(id)) {
		t.Error("asked in full")
	}
	u, _ := url.Parse(issuer)
	b.jar.SetCookies(u, []*http.Cookie{{Name: "__Host-mcp-approver", Value: "forged", Path: "/", Secure: true}})
	w.table.Taken()
	if b.short(request(id)) {
		t.Error("a forged cookie is taken")
	}
	if reads, _ := w.table.Taken(); reads != 0 {
		t.Errorf("a forged cookie costs %d reads", reads)
	}
	if n := strings.Count(w.log.String(), "level=WARN"); n != 1 || !strings.Contains(w.log.String(), errStorage.Error()) {
		t.Errorf("%d warnings, want one about the approval that was not kept:\n%s", n, w.log)
	}
}

func TestNobodyWaitsForAnApprovalToBeKept(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	r := httptest.NewRequest(http.MethodGet, w.upstream.signIn(t, b.approve(request(id))), nil)
	b.cookies(r)
	rec := httptest.NewRecorder()
	var answered, flushed bool
	w.table.Before(storetest.Once(func() error { answered, flushed = rec.Code == http.StatusSeeOther, rec.Flushed; return nil }, storetest.Insert).In("ap-"))
	if w.mux.ServeHTTP(rec, r); !answered || !flushed || w.rows("ap-") != 1 {
		t.Errorf("answered %v, flushed %v, %d approvals", answered, flushed, w.rows("ap-"))
	}
}

// An outage is neither an empty list nor a success.
func TestApprovalsThatCannotBeReachedAreNotTakenForNone(t *testing.T) {
	w, id := withKnownClient(t)
	w.browser().signIn(request(id))
	approvals, err := w.server.RememberedApprovals(t.Context(), w.subject())
	if err != nil || len(approvals) != 1 {
		t.Fatalf("%+v, %v", approvals, err)
	}
	w.table.Before(storetest.Fail(errStorage))
	_, listed := w.server.RememberedApprovals(t.Context(), w.subject())
	for what, err := range map[string]error{
		"list":   listed,
		"forget": w.server.ForgetApproval(t.Context(), w.subject(), approvals[0].ID),
		"erase":  authserver.EraseUser(t.Context(), w.table, w.subject()),
	} {
		if !errors.Is(err, errStorage) || what != "erase" && oauth.ErrorCode(err) != oauth.TemporarilyUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.table.Before(storetest.Fail(errStorage, storetest.Writes...))
	if err := authserver.EraseUser(t.Context(), w.table, w.subject()); !errors.Is(err, errStorage) {
		t.Errorf("erase: %v", err)
	}
	w.table.Repair()
	if n := w.rows("ap-"); n != 1 {
		t.Errorf("%d approvals", n)
	}
}

// An instance of a later version may have written what this one cannot judge.
func TestAnApprovalOfALaterVersionAsksInFull(t *testing.T) {
	w, id := withKnownClient(t)
	b := w.browser()
	b.signIn(request(id))
	for from, to := range map[string]string{`"v":1`: `"v":2`, `{"client_id"`: `["client_id"`} {
		row := storetest.Rows(t, w.table, store.Prefix("ap-"))[0]
		row.Value = bytes.Replace(row.Value, []byte(from), []byte(to), 1)
		storetest.MustReplace(t, w.table, row)
		if b.short(request(id)) {
			t.Errorf("%s is taken", to)
		}
		if approvals, err := w.server.RememberedApprovals(t.Context(), w.subject()); err != nil || len(approvals) != 0 {
			t.Errorf("listed: %+v, %v", approvals, err)
		}
		b.signIn(request(id)) // and is replaced
	}
	if !b.short(request(id)) {
		t.Error("approved again, it is asked in full")
	}
}

func TestErasingAUserLeavesNothingOfTheirSignIns(t *testing.T) {
	w, id := withKnownClient(t)
	for _, user := range []string{tenant.Alice, tenant.Bob} {
		w.upstream.user = user
		w.browser().signIn(request(id))
		w.browser().signIn(request(id, "redirect_uri", callback+"2"))
		if err := w.challenges.Keep(t.Context(), grants.SubjectOf(tenant.Contoso, w.upstream.tenant.ObjectID(user)), demanded); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // what is gone is no error
		if err := authserver.EraseUser(t.Context(), w.table, w.subject()); err != nil {
			t.Fatal(err)
		}
		if approvals, challenges := w.rows("ap-"), w.rows("ch-"); approvals != 2 || challenges != 1 {
			t.Errorf("%d approvals and %d challenges are left, want those of the other user", approvals, challenges)
		}
	}
}
