package authserver_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

const demanded = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`

// challenged has a user whose renewal met a claims challenge.
func challenged(t *testing.T, w *world, id string) {
	t.Helper()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	w.upstream.demand(demanded)
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.InvalidGrant)
	w.upstream.demand("")
}

func TestAClaimsChallengeAtRefreshReachesTheNextSignIn(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)

	b := w.browser()
	resp := b.get(w.upstream.signIn(t, b.approve(request(id))))
	wantStatus(t, resp, http.StatusSeeOther)
	again := resp.Header.Get("Location")
	if !strings.HasPrefix(again, "https://login.example/") || queryOf(t, again).Get("claims") != demanded {
		t.Fatalf("the browser went to %s, want Entra with the claims", again)
	}
	seen := w.upstream.requests()
	if last := seen[len(seen)-1]; last.LoginHint != tenant.Alice || last.State == seen[len(seen)-2].State || last.Nonce == seen[len(seen)-2].Nonce {
		t.Errorf("Entra was asked again with %+v", last)
	}
	if got := b.arrive(w.upstream.signIn(t, again)); got.Get("code") == "" || got.Get("state") != "client state" {
		t.Errorf("the client got %v", got)
	}
	if got := b.signIn(request(id)); got.Get("code") == "" {
		t.Errorf("after the challenge was met the client got %v", got)
	}
}

func TestAnAbandonedChallengeIsStillToBeMet(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)
	asked := func() bool {
		b := w.browser()
		return strings.HasPrefix(b.get(w.upstream.signIn(t, b.approve(request(id)))).Header.Get("Location"), "https://login.example/")
	}
	for range 2 {
		if !asked() {
			t.Error("a sign-in got round the challenge")
		}
	}
	w.clock.Advance(24*time.Hour + time.Second)
	if asked() {
		t.Error("the challenge outlived its day")
	}
}

func TestAChallengeIsForOneUserOnly(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)
	w.upstream.user = tenant.Bob
	if got := w.browser().signIn(request(id)); got.Get("code") == "" {
		t.Errorf("another user's client got %v", got)
	}
}

func TestTheLatestChallengeCounts(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	subject := w.subject()
	w.browser().open(request(id)) // makes the keys
	w.table.Taken()
	for _, claims := range []string{"{}", demanded} {
		if err := w.challenges.Keep(t.Context(), subject, claims); err != nil {
			t.Fatal(err)
		}
		if reads, writes := w.table.Taken(); claims == "{}" && (reads != 0 || writes != 1) {
			t.Errorf("the first one takes %d reads and %d writes, want one write", reads, writes)
		}
	}
	b := w.browser()
	to := b.get(w.upstream.signIn(t, b.approve(request(id)))).Header.Get("Location")
	if got := queryOf(t, to).Get("claims"); got != demanded {
		t.Errorf("claims %s", got)
	}
	w.beforeReplace(func() {
		if err := w.challenges.Keep(t.Context(), subject, "{}"); err != nil {
			t.Error(err)
		}
	})
	if err := w.challenges.Keep(t.Context(), subject, demanded); err != nil {
		t.Errorf("one that was overtaken: %v", err)
	}
}

// Earlier versions sealed challenges under the purpose of transactions, and may
// still write to the same table.
func TestAChallengeOfAnEarlierVersionIsMet(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	partition := authserver.ClaimsPrefix + string(w.subject())
	sealed, err := w.challenges.Ring.Seal(t.Context(), keyring.Transaction, []byte(partition), []byte(demanded))
	if err != nil {
		t.Fatal(err)
	}
	row := store.Row{Partition: partition, Key: "claims", Value: []byte(sealed), Expires: w.clock.Now().Add(time.Hour)}
	storetest.MustInsert(t, w.table, row)
	b := w.browser()
	to := b.get(w.upstream.signIn(t, b.approve(request(id)))).Header.Get("Location")
	if got := queryOf(t, to).Get("claims"); got != demanded {
		t.Errorf("claims %s", got)
	}
}

// Nobody knows whether there is one: a sign-in must not get round it.
func TestAChallengeThatCannotBeReachedMakesNoGrant(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)
	before := w.rows("g-")
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(id)))
	w.table.Before(storetest.Fail(errStorage).In("ch-"))
	if got := b.arrive(back); got.Get("error") != string(oauth.TemporarilyUnavailable) || w.rows("g-") != before {
		t.Errorf("the client got %v, %d grants", got, w.rows("g-")-before)
	}
}

func TestAChallengeThatCannotBeKeptEndsNothing(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	w.upstream.demand(demanded)
	w.table.Before(storetest.Fail(errStorage, storetest.Writes...))
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
	w.table.Repair()
	w.upstream.demand("")
	wantStatus(t, w.post("/token", renewal(id, tokens)), http.StatusOK)

	keep := func() error { return w.challenges.Keep(t.Context(), w.subject(), demanded) }
	w.restart() // an instance that has not read the keys yet
	w.table.Before(storetest.Fail(errStorage).In(keyring.Partition))
	if err := keep(); oauth.ErrorCode(err) != oauth.TemporarilyUnavailable || w.rows("ch-") != 0 {
		t.Errorf("without keys: %v, %d challenges", err, w.rows("ch-"))
	}
	w.table.Repair()
	w.restart()
	for _, op := range []storetest.Op{"", storetest.Get, storetest.Replace} {
		w.table.Before(storetest.Fail(errStorage, op).In("ch-"))
		if err := keep(); (err != nil) != (op != "") || op != "" && oauth.ErrorCode(err) != oauth.TemporarilyUnavailable {
			t.Errorf("%s fails: %v", op, err)
		}
	}
}

// The step that was missing is asked for again, and nothing else is lost.
func TestAChallengeThatWasMetIsRemoved(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)
	b := w.browser()
	again := func() string {
		t.Helper()
		to := b.get(w.upstream.signIn(t, b.approve(request(id)))).Header.Get("Location")
		if queryOf(t, to).Get("claims") != demanded {
			t.Fatalf("the browser went to %s, want Entra with the claims", to)
		}
		return to
	}
	first, second := again(), again()
	warnings := strings.Count(w.log.String(), "level=WARN")
	w.table.Before(storetest.Fail(errStorage, storetest.Delete).In("ch-"))
	if got := b.arrive(w.upstream.signIn(t, first)); got.Get("code") == "" || w.rows("ch-") != 1 || strings.Count(w.log.String(), errStorage.Error()) != 1 {
		t.Errorf("the client got %v, %d challenges", got, w.rows("ch-"))
	}
	w.table.Repair()
	third := again()
	for _, to := range []string{second, third} { // the other one has removed it
		if got := b.arrive(w.upstream.signIn(t, to)); got.Get("code") == "" || w.rows("ch-") != 0 {
			t.Errorf("the client got %v, %d challenges", got, w.rows("ch-"))
		}
	}
	if n := strings.Count(w.log.String(), "level=WARN") - warnings; n != 1 {
		t.Errorf("%d warnings, want one about the challenge that is left", n)
	}
}

func TestASignInThatCannotBeRepeatedForItsChallengeTellsTheClient(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)
	b := w.browser()
	back := w.upstream.signIn(t, b.approve(request(id)))
	w.table.Before(storetest.Fail(errStorage, storetest.Insert).In("t-"))
	if got := b.arrive(back); got.Get("error") != string(oauth.TemporarilyUnavailable) {
		t.Errorf("the client got %v", got)
	}
}

// Entra repeats a challenge: one that cannot be read must not end every sign-in of its
// user for a day.
func TestAChallengeThatCannotBeReadIsTakenAsNone(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	challenged(t, w, id)
	page, err := w.table.List(t.Context(), store.Prefix("ch-"), "")
	if err != nil || len(page.Rows) != 1 {
		t.Fatalf("%d challenges, %v", len(page.Rows), err)
	}
	page.Rows[0].Value = []byte("not sealed by us")
	storetest.MustReplace(t, w.table, page.Rows[0])
	warnings := strings.Count(w.log.String(), "level=WARN")
	if got := w.browser().signIn(request(id)); got.Get("code") == "" || strings.Count(w.log.String(), "level=WARN") != warnings+1 {
		t.Errorf("the client got %v; the log:\n%s", got, w.log)
	}
}
