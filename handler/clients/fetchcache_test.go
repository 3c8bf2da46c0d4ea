package clients

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/ratelimit"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// serveDocument serves a good metadata document and returns its URL.
func serveDocument(s *site, headers ...string) string {
	id := s.URL + "/client.json"
	s.serveJSON(documentFor(id, "App"), headers...)
	return id
}

func documentFor(id, name string) string {
	return fmt.Sprintf(`{"client_id":%q,"client_name":%q,"redirect_uris":["http://localhost/callback"]}`, id, name)
}

// documentRegistry is a registry on loopback with its own clock.
func documentRegistry(t *testing.T, s *site, o Options) (*Registry, *clocktest.Clock) {
	t.Helper()
	clock := clocktest.New()
	local := s.localOptions()
	local.Table, local.Now, local.Log = o.Table, clock.Now, o.Log
	return newRegistry(t, local), clock
}

func TestDocumentIsFetchedOnceAndShared(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		s := newSite(t)
		id := serveDocument(s, "Cache-Control", "max-age=600")
		a, _ := documentRegistry(t, s, Options{Table: table})
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() {
				if _, err := a.Lookup(context.Background(), id); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := countRows(t, table, DocumentPrefix); n != 0 {
			t.Errorf("%d rows before anybody has approved the client", n)
		}
		approved := lookup(t, a, id)
		a.StoreCopies(t.Context(), approved)
		a.StoreCopies(t.Context(), approved)
		b, _ := documentRegistry(t, s, Options{Table: table})
		c, err := b.Lookup(t.Context(), id)
		if err != nil || c.Name != "App" || !c.Allows("http://localhost:3118/callback") {
			t.Fatalf("%+v, %v", c, err)
		}
		if n := s.hits.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestFreshnessIsBounded(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                             defaultFresh,
		"max-age=600":                  10 * time.Minute,
		"public, max-age=600":          10 * time.Minute,
		"MAX-AGE=\"600\"":              10 * time.Minute,
		"max-age=600, s-maxage=900":    15 * time.Minute,
		"max-age=0":                    minFresh,
		"no-store, max-age=6000":       minFresh,
		"no-cache":                     minFresh,
		"max-age=31536000":             maxFresh,
		"max-age=99999999999999999999": defaultFresh,
		"max-age=-5":                   defaultFresh,
	} {
		if got := freshness(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
	aged := http.Header{"Cache-Control": {"max-age=3600"}, "Age": {"1800"}}
	if got := freshness(aged); got != 30*time.Minute {
		t.Errorf("with Age: %v", got)
	}
}

func TestOldDocumentIsRevalidated(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		s := newSite(t)
		id := s.URL + "/client.json"
		var unchanged atomic.Int32
		s.serve(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("ETag", `"v1"`)
			if r.Header.Get("If-None-Match") == `"v1"` {
				unchanged.Add(1)
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = w.Write([]byte(documentFor(id, "First")))
		})
		r, clock := documentRegistry(t, s, Options{Table: table})
		for range 3 {
			c, err := r.Lookup(t.Context(), id)
			if err != nil || c.Name != "First" {
				t.Fatal(c.Name, err)
			}
			r.StoreCopies(t.Context(), c)
			clock.Advance(9 * time.Minute)
			lookup(t, r, id)
			clock.Advance(2 * time.Minute)
		}
		if sent, again := s.hits.Load(), unchanged.Load(); sent != 3 || again != 2 {
			t.Errorf("%d fetches, %d of them answered with 304, want 3 and 2", sent, again)
		}
		s.serveJSON(documentFor(id, "Second"))
		if c, err := r.Lookup(t.Context(), id); err != nil || c.Name != "Second" {
			t.Error(c.Name, err)
		}
		if n := countRows(t, table, "d-"); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

// TestDocumentsThatCannotBeFetchedAreNamed: those of clients in use, from the first
// failure until a fetch that succeeds, or until a day after the last that fails. A
// stranger's document is not among them, whether they approve it or not: nobody has
// signed in at that point, and operators are told to open what is named.
func TestDocumentsThatCannotBeFetchedAreNamed(t *testing.T) {
	s := newSite(t)
	id, table := serveDocument(s), openTable(t)
	r, clock := documentRegistry(t, s, Options{Table: table})
	lookup := func() Client {
		c, _ := r.Lookup(t.Context(), id)
		return c
	}
	probe := func(wantAsked, wantFailing int) {
		t.Helper()
		if asked, failing, err := r.ProbeDocuments(t.Context(), 10); err != nil || asked != wantAsked || len(failing) != wantFailing {
			t.Errorf("of %d documents that were asked for %v fail, %v", asked, failing, err)
		}
	}
	stranger := lookup()
	s.serveStatus(http.StatusForbidden)
	clock.Advance(defaultFresh + time.Minute)
	lookup()
	probe(0, 0)
	if failing := r.NotFetchable(); len(failing) != 0 {
		t.Errorf("of nobody's client: %v", failing)
	}
	r.StoreCopies(t.Context(), stranger)
	clock.Advance(time.Hour)
	approved := lookup()
	probe(0, 0)
	if failing := r.NotFetchable(); len(failing) != 0 {
		t.Errorf("of a client that nobody has signed in with: %v", failing)
	}
	r.Touch(t.Context(), approved)
	if asked, _, err := r.ProbeDocuments(t.Context(), 0); err != nil || asked != 0 {
		t.Errorf("%d were asked for, %v", asked, err)
	}
	clock.Advance(time.Hour)
	lookup()
	first := clock.Now()
	clock.Advance(time.Hour)
	lookup()
	probe(1, 1)
	if failing := r.NotFetchable(); len(failing) != 1 || !failing[id].Equal(first) {
		t.Errorf("failing %v, want %s since %s", failing, id, first)
	}
	clock.Advance(failingFor)
	if failing := r.NotFetchable(); len(failing) != 0 {
		t.Errorf("a day after anybody asked: %v", failing)
	}
	lookup()
	if failing := r.NotFetchable(); len(failing) != 1 {
		t.Errorf("asked for again: %v", failing)
	}
	serveDocument(s)
	clock.Advance(time.Hour)
	lookup()
	probe(1, 0)
	if failing := r.NotFetchable(); len(failing) != 0 {
		t.Errorf("after a good fetch: %v", failing)
	}
}

// claude.ai's documents answer 403 to some data centres.
func TestOldDocumentStandsInForAFailedFetch(t *testing.T) {
	for name, fail := range map[string]func(*site){
		"status 403":  func(s *site) { s.serveStatus(http.StatusForbidden) },
		"status 500":  func(s *site) { s.serveStatus(http.StatusInternalServerError) },
		"HTML":        func(s *site) { s.serveJSON("<html>", "Content-Type", "text/html") },
		"unreachable": func(s *site) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			id := serveDocument(s)
			table := openTable(t)
			r, clock := documentRegistry(t, s, Options{Table: table})
			c := lookup(t, r, id)
			r.StoreCopies(t.Context(), c)
			fail(s)
			clock.Advance(defaultFresh + 6*24*time.Hour)
			other, otherClock := documentRegistry(t, s, Options{Table: table})
			otherClock.Advance(clock.Now().Sub(otherClock.Now()))
			for _, instance := range []*Registry{r, other} {
				if c, err := instance.Lookup(t.Context(), id); err != nil || c.Source != SourceFetched {
					t.Errorf("after six days: %v, %v", c.Source, err)
				}
			}
			clock.Advance(25 * time.Hour)
			if _, err := r.Lookup(t.Context(), id); err == nil {
				t.Error("still used after more than seven days")
			}
		})
	}
}

func TestWithdrawnDocumentIsNotUsed(t *testing.T) {
	for name, withdraw := range map[string]func(s *site, id string){
		"gone":      func(s *site, _ string) { s.serveStatus(http.StatusGone) },
		"not found": func(s *site, _ string) { s.serveStatus(http.StatusNotFound) },
		"now bad":   func(s *site, id string) { s.serveJSON(documentFor(id+"x", "App")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			id := serveDocument(s)
			r, clock := documentRegistry(t, s, Options{})
			lookup(t, r, id)
			withdraw(s, id)
			clock.Advance(defaultFresh)
			_, err := r.Lookup(t.Context(), id)
			wantCode(t, err, oauth.InvalidClient)
		})
	}
}

func TestFailedFetchIsExplainedAndNotCached(t *testing.T) {
	for name, tt := range map[string]struct {
		serve func(s *site)
		code  oauth.Code
		text  string
	}{
		"status 403":     {func(s *site) { s.serveStatus(403) }, oauth.InvalidClient, "HTTP status 403"},
		"status 404":     {func(s *site) { s.serveStatus(404) }, oauth.InvalidClient, "HTTP status 404"},
		"status 201":     {func(s *site) { s.serveStatus(201) }, oauth.InvalidClient, "HTTP status 201"},
		"status 304":     {func(s *site) { s.serveStatus(304) }, oauth.InvalidClient, "HTTP status 304"},
		"status 503":     {func(s *site) { s.serveStatus(503) }, oauth.TemporarilyUnavailable, "HTTP status 503"},
		"status 429":     {func(s *site) { s.serveStatus(429) }, oauth.TemporarilyUnavailable, "HTTP status 429"},
		"HTML":           {func(s *site) { s.serveJSON("<html>", "Content-Type", "text/html; charset=utf-8") }, oauth.InvalidClient, "application/json"},
		"no type":        {func(s *site) { s.serveJSON("{}", "Content-Type", "") }, oauth.InvalidClient, "application/json"},
		"too long":       {func(s *site) { s.serveJSON(`{"x":"` + strings.Repeat("x", maxDocument) + `"}`) }, oauth.InvalidClient, "16384"},
		"not a document": {func(s *site) { s.serveJSON("[]") }, oauth.InvalidClient, "JSON object"},
		"unreachable":    {func(s *site) { s.Close() }, oauth.TemporarilyUnavailable, "could not be fetched"},
		"cut off": {func(s *site) {
			s.serve(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte("{"))
			})
		}, oauth.TemporarilyUnavailable, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			table := openTable(t)
			r, _ := documentRegistry(t, s, Options{Table: table})
			id := s.URL + "/client.json"
			tt.serve(s)
			for range 3 {
				_, err := r.Lookup(t.Context(), id)
				if refusal := wantCode(t, err, tt.code); !strings.Contains(refusal.Description, tt.text) {
					t.Errorf("description %q does not say %q", refusal.Description, tt.text)
				}
			}
			if n := countRows(t, table, "d-"); n != 0 {
				t.Errorf("a failure left %d rows", n)
			}
			if name == "unreachable" {
				return
			}
			serveDocument(s)
			if _, err := r.Lookup(t.Context(), id); err != nil {
				t.Errorf("the failure is remembered: %v", err)
			}
		})
	}
}

func TestFetchFollowsNoRedirect(t *testing.T) {
	target, s := newSite(t), newSite(t)
	target.serveJSON(`{}`)
	for _, status := range []int{301, 302, 303, 307, 308} {
		r, _ := documentRegistry(t, s, Options{})
		s.serve(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL+"/client.json", status) })
		_, err := r.Lookup(t.Context(), s.URL+"/client.json")
		wantCode(t, err, oauth.InvalidClient)
	}
	if n := target.conns.Load(); n != 0 {
		t.Errorf("the target of the redirect got %d connections", n)
	}
}

func TestFetchUsesNoProxy(t *testing.T) {
	proxy, s := newSite(t), newSite(t)
	proxy.serveStatus(http.StatusTeapot)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	if newFetcher(nil, nil, false).client.Transport.(*http.Transport).Proxy != nil {
		t.Error("the environment may name a proxy")
	}
	r, _ := documentRegistry(t, s, Options{})
	if _, err := r.Lookup(t.Context(), serveDocument(s)); err != nil {
		t.Error(err)
	}
	if proxy.conns.Load() != 0 {
		t.Error("the proxy was asked")
	}
}

func TestSlowFetchIsGivenUp(t *testing.T) {
	s := newSite(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	r, _ := documentRegistry(t, s, Options{})
	if r.documents.fetcher.timeout != fetchTimeout {
		t.Errorf("timeout %v", r.documents.fetcher.timeout)
	}
	r.documents.fetcher.timeout = 100 * time.Millisecond
	_, err := r.Lookup(t.Context(), s.URL+"/client.json")
	wantCode(t, err, oauth.TemporarilyUnavailable)
}

// Pinning an address by writing it into the URL would break SNI; the name must
// reach the host.
func TestFetchSendsTheNameOfTheHost(t *testing.T) {
	s := newSite(t)
	resolver := nameServer(t, func(string, int) []string { return []string{"127.0.0.1"} })
	host := "app.example.com:" + s.port()
	hosts := hostsOf(t, host)
	var name, sni string
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		name, sni = r.Host, r.TLS.ServerName
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write([]byte(documentFor("https://"+host+"/client.json", "App")))
	})
	o := s.localOptions()
	o.Documents.Hosts, o.Documents.resolver = hosts, resolver
	if _, err := newRegistry(t, o).Lookup(t.Context(), "https://"+host+"/client.json"); err != nil {
		t.Fatal(err)
	}
	if name != host || sni != "app.example.com" {
		t.Errorf("Host %s, SNI %s", name, sni)
	}
}

func TestFetchVerifiesTheCertificate(t *testing.T) {
	s := newSite(t)
	o := s.localOptions()
	o.Documents.roots = nil
	_, err := newRegistry(t, o).Lookup(t.Context(), serveDocument(s))
	wantCode(t, err, oauth.TemporarilyUnavailable)
	if !strings.Contains(fmt.Sprint(err), "certificate") {
		t.Errorf("the log does not say why: %v", err)
	}
}

func TestLoopbackIsNotFetchedByAPublicServer(t *testing.T) {
	s := newSite(t)
	o := s.localOptions()
	o.Issuer = testIssuer
	_, err := newRegistry(t, o).Lookup(t.Context(), serveDocument(s))
	wantCode(t, err, oauth.InvalidClient)
	if s.conns.Load() != 0 {
		t.Error("a connection was made")
	}
}

// as returns the context of a request that comes from address.
func as(address string) (ctx context.Context) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = address + ":1"
	observe.Correlate(slog.New(slog.DiscardHandler), observe.CorrelateOptions{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx = r.Context()
	})).ServeHTTP(httptest.NewRecorder(), r)
	return ctx
}

func TestOneAddressCannotHaveAHostHammered(t *testing.T) {
	s := newSite(t)
	s.serveStatus(http.StatusNotFound)
	r, clock := documentRegistry(t, s, Options{})
	limited := 0
	for i := range 15 {
		_, err := r.Lookup(as("192.0.2.1"), fmt.Sprintf("%s/%d.json", s.URL, i))
		if oauth.ErrorCode(err) == oauth.SlowDown {
			limited++
		}
	}
	if n := s.hits.Load(); n != int32(hostAddressFetches.Burst) || limited != 15-hostAddressFetches.Burst {
		t.Errorf("%d fetches, %d refused", n, limited)
	}
	// The documents of others at that host are fetched meanwhile.
	id := serveDocument(s)
	if _, err := r.Lookup(as("198.51.100.1"), id); err != nil {
		t.Error(err)
	}
	s.serveStatus(http.StatusNotFound)
	clock.Advance(5 * time.Second)
	_, err := r.Lookup(as("192.0.2.1"), s.URL+"/again.json")
	wantCode(t, err, oauth.InvalidClient)
}

// 4,000 made-up hosts took all fetches of the instance.
func TestMadeUpDocumentsLeaveFetchesForHonestClients(t *testing.T) {
	clock := clocktest.New()
	l := newFetchLimits(ratelimit.Limit{}, clock.Now)
	for i := range 4000 {
		l.take("192.0.2.1", fmt.Sprintf("https://host%d.example/x", i))
	}
	if wait := l.take("198.51.100.1", "https://app.example/x"); wait > 0 {
		t.Errorf("one address keeps another waiting %v", wait)
	}
	fetched := 0
	for i := range 4000 {
		if l.take(fmt.Sprintf("10.0.%d.%d", i%250, i/250+1), fmt.Sprintf("https://host%d.example/x", i)) == 0 {
			fetched++
		}
		clock.Advance(10 * time.Millisecond)
	}
	if most := instanceFetches.Burst + 400; fetched > most {
		t.Errorf("%d fetches in 40 s, want at most %d", fetched, most)
	}
	if wait := l.take("203.0.113.1", "https://app.example/y"); wait > 0 {
		t.Errorf("many addresses keep one that has taken nothing waiting %v", wait)
	}
}

// Who waits for the same document as an attacker is not refused with them.
func TestAFollowerIsNotRefusedByTheLimitOfTheFirst(t *testing.T) {
	s := newSite(t)
	id := serveDocument(s)
	r, _ := documentRegistry(t, s, Options{})
	attacker := as("192.0.2.1")
	for range addressFetches.Burst {
		r.documents.limits.all.Take(observe.ClientKey(attacker))
	}
	release := make(chan struct{})
	blocking := storetest.Instrument(r.documents.table)
	blocking.Before(func(storetest.Call) error { <-release; return nil })
	r.documents.table = blocking
	var group sync.WaitGroup
	errs := make([]error, 2)
	for i, ctx := range []context.Context{attacker, as("198.51.100.1")} {
		waits := clocktest.NewWaiting(ctx)
		group.Go(func() { _, errs[i] = r.Lookup(waits, id) })
		<-waits.Begun
	}
	close(release)
	group.Wait()
	wantCode(t, errs[0], oauth.SlowDown)
	if errs[1] != nil {
		t.Errorf("the honest caller: %v", errs[1])
	}
}

// Whoever gives up takes nothing from those who go on waiting.
func TestACallerWhoGivesUpDoesNotEndTheFetchOfOthers(t *testing.T) {
	s := newSite(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	s.serve(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(documentFor(s.URL+"/client.json", "App")))
	})
	r, _ := documentRegistry(t, s, Options{})
	first, giveUp := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		_, err := r.Lookup(first, s.URL+"/client.json")
		wantCode(t, err, oauth.TemporarilyUnavailable)
	})
	<-arrived
	waits := clocktest.NewWaiting(t.Context())
	group.Go(func() {
		if c, err := r.Lookup(waits, s.URL+"/client.json"); err != nil || c.Name != "App" {
			t.Errorf("%q, %v", c.Name, err)
		}
	})
	<-waits.Begun
	giveUp()
	close(release)
	group.Wait()
	if n := s.hits.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// The newest copy stands in, though the table could not be written and has an
// older one. A race that is lost is not said to have failed.
func TestTheNewestCopyStandsIn(t *testing.T) {
	s := newSite(t)
	id := s.URL + "/client.json"
	table := storetest.Instrument(openTable(t))
	var log strings.Builder
	r, clock := documentRegistry(t, s, Options{Table: table, Log: slog.New(slog.NewTextHandler(&log, nil))})
	lookup := func(want string) (c Client) {
		t.Helper()
		c, err := r.Lookup(t.Context(), id)
		if err != nil || c.Name != want {
			t.Errorf("%q, %v, want %q", c.Name, err, want)
		}
		return c
	}
	s.serveJSON(documentFor(id, "First"))
	r.Touch(t.Context(), lookup("First"))
	for i, failure := range []error{errStorage, store.ErrConflict} {
		log.Reset()
		table.Before(storetest.Fail(failure, storetest.Replace))
		name := fmt.Sprint("Newer ", i)
		s.serveJSON(documentFor(id, name))
		clock.Advance(2 * defaultFresh)
		lookup(name)
		if strings.Contains(log.String(), "not shared") != (i == 0) {
			t.Errorf("%v: the log says %s", failure, log.String())
		}
		s.serveStatus(http.StatusForbidden)
		clock.Advance(2 * defaultFresh)
		lookup(name)
	}
	if failing := r.NotFetchable(); len(failing) != 1 {
		t.Errorf("failing: %v", failing)
	}
}

// What some editors write before JSON is read, and has no place in the table.
func TestADocumentWithAByteOrderMarkIsUsedWhereItIsFetched(t *testing.T) {
	s := newSite(t)
	s.serveJSON("\ufeff" + documentFor(s.URL+"/client.json", "App"))
	table := openTable(t)
	r, _ := documentRegistry(t, s, Options{Table: table})
	c := lookup(t, r, s.URL+"/client.json")
	r.StoreCopies(t.Context(), c)
	if n := countRows(t, table, ""); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestDocumentIsFetchedThoughStorageFails(t *testing.T) {
	s := newSite(t)
	id := serveDocument(s)
	table := openTable(t)
	r, _ := documentRegistry(t, s, Options{Table: table})
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, _, err := r.ProbeDocuments(t.Context(), 10); err == nil {
		t.Error("the probe says nothing")
	}
}

func TestTightenedPolicyBindsCachedDocuments(t *testing.T) {
	s := newSite(t)
	id := serveDocument(s)
	table := openTable(t)
	r, _ := documentRegistry(t, s, Options{Table: table})
	lookup(t, r, id)
	o := s.localOptions()
	o.Table, o.Now = table, clocktest.New().Now
	var err error
	o.Policy = policyOf(t, "only", "https://only.example/cb")
	_, err = newRegistry(t, o).Lookup(t.Context(), id)
	wantCode(t, err, oauth.InvalidClient)
}

// A shared copy that cannot be used any more, because a stricter policy refuses
// it or a later version wrote it, is replaced for all instances.
func TestSharedCopyThatIsRefusedIsReplaced(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		s := newSite(t)
		id := s.URL + "/client.json"
		s.serveJSON(strings.Replace(documentFor(id, "Old"), "http://localhost/callback", "https://old.example/cb", 1))
		r, _ := documentRegistry(t, s, Options{Table: table})
		c := lookup(t, r, id)
		r.StoreCopies(t.Context(), c)
		s.serveJSON(documentFor(id, "New"))
		strict := s.localOptions()
		strict.Table, strict.Now = table, clocktest.New().Now
		strict.Policy = policyOf(t, "only", "http://localhost/callback")
		if c, err := newRegistry(t, strict).Lookup(t.Context(), id); err != nil || c.Name != "New" {
			t.Fatal(c.Name, err)
		}
		before := s.hits.Load()
		if c, err := newRegistry(t, strict).Lookup(t.Context(), id); err != nil || c.Name != "New" {
			t.Error(c.Name, err)
		}
		if n := s.hits.Load() - before; n != 0 {
			t.Error("the new copy is not shared")
		}
		partition, key := r.documents.key(id)
		for _, unreadable := range []string{"", "x", "{}\n{}", `{"url":"` + id + `","fresh":"2099-01-01T00:00:00Z"}` + "\n<html>", `{"url":"` + id + `","fresh":"2099-01-01T00:00:00Z","fetched":1}` + "\n" + documentFor(id, "Forged"), `{"url":"https://other.example/","fresh":"2099-01-01T00:00:00Z"}` + "\n" + documentFor(id, "Forged"), "[]\n" + documentFor(id, "Forged")} {
			row := storetest.MustGet(t, table, partition, key)
			row.Value = []byte(unreadable)
			if _, err := table.Replace(t.Context(), row); err != nil {
				t.Fatal(err)
			}
			if c, err := newRegistry(t, strict).Lookup(t.Context(), id); err != nil || c.Name != "New" {
				t.Errorf("%q: %q, %v", unreadable, c.Name, err)
			}
			if row, err := table.Get(t.Context(), partition, key); err != nil || string(row.Value) == unreadable {
				t.Errorf("%q is not replaced: %v", unreadable, err)
			}
		}
		if n := countRows(t, table, DocumentPrefix); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

// Copies written before rows had a version are read.
func TestCopiesOfEarlierVersionsAreRead(t *testing.T) {
	s := newSite(t)
	id := s.URL + "/client.json"
	s.serveStatus(http.StatusForbidden)
	table := openTable(t)
	r, clock := documentRegistry(t, s, Options{Table: table})
	partition, key := r.documents.key(id)
	value := fmt.Sprintf(`{"url":%q,"etag":"\"v1\"","fetched":"2026-11-23T11:00:00Z","fresh":"2026-11-23T13:00:00Z"}`+"\n%s", id, documentFor(id, "Earlier"))
	if _, err := table.Insert(t.Context(), store.Row{Partition: partition, Key: key, Value: []byte(value), Expires: expiry(clock.Now(), time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if c, err := r.Lookup(t.Context(), id); err != nil || c.Name != "Earlier" {
		t.Error(c.Name, err)
	}
}

// Made-up documents are kept in memory only, and there is room for a few.
func TestDocumentsOfStrangersFillNothing(t *testing.T) {
	s := newSite(t)
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(documentFor(s.URL+r.URL.Path, "App")))
	})
	table := openTable(t)
	r, clock := documentRegistry(t, s, Options{Table: table})
	for i := range copiesKept + 20 {
		clock.Advance(5 * time.Second)
		lookup(t, r, fmt.Sprintf("%s/%d.json", s.URL, i))
	}
	if n := countRows(t, table, ""); n != 0 {
		t.Errorf("%d rows", n)
	}
	if n := r.documents.copies.Len(); n > copiesKept {
		t.Errorf("%d copies in memory", n)
	}
}
