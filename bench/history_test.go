package bench

import (
	"crypto/rand"
	encbinary "encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/observe"
	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
	"entramcp/handler/store/storetest"
	"entramcp/handler/sweep"
)

var mostGrants = flag.Int("grants", 1_000_000, "the most grants of BenchmarkHistory in the embedded store; 1 % of that in Azurite")

// history is what a table has behind it.
type history struct{ grants, registrations, revocations int }

func historyOf(n int) history { return history{grants: n, registrations: n / 10, revocations: n / 50} }

// paths are the requests of one sign-in, one call and one refresh.
var paths = []string{"/register", "/authorize", "/consent", "/auth/callback", "/token code", "/token refresh", "/mcp"}

// BenchmarkHistory measures what each request, a start, a reading of the
// revocations and a sweep cost beside ever more registrations, grants and
// revocations, as ratios to a table that has none.
func BenchmarkHistory(b *testing.B) {
	report := func(name string, sizes []int, measure func(*testing.B, history) costs) {
		var all []costs
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) { all = append(all, measure(b, historyOf(n))) })
		}
		if len(all) > 0 {
			fmt.Println(historyTable(name, all))
		}
	}
	report("embedded", []int{0, *mostGrants / 100, *mostGrants / 10, *mostGrants}, func(b *testing.B, h history) costs { return measureEmbedded(b, h, 12) })
	report("Azurite", []int{0, *mostGrants / 1000, *mostGrants / 100}, func(b *testing.B, h history) costs { return measureAzurite(b, h, 12) })
}

// TestRequestsCostNoMoreWithAHistory is the same with a small history, and
// counts operations, which no load of the computer changes.
func TestRequestsCostNoMoreWithAHistory(t *testing.T) {
	without, with := measureEmbedded(t, history{}, 2), measureEmbedded(t, historyOf(10_000), 2)
	for _, path := range paths {
		if without.operations[path] != with.operations[path] {
			t.Errorf("%s: %v storage operations in an empty table, %v with a history", path, without.operations[path], with.operations[path])
		}
	}
	if with.sweptRows != 0 || with.sweepPages > 1 {
		t.Errorf("a sweep that finds nothing read %d rows in %d pages", with.sweptRows, with.sweepPages)
	}
	if limit := 2 * historyOf(10_000).revocations; with.startRows > limit {
		t.Errorf("a start read %d rows, at most %d for that many revocations", with.startRows, limit)
	}
}

// costs are what was measured beside one history.
type costs struct {
	history
	operations map[string]float64       // on the table, by path
	took       map[string]time.Duration // the median, by path
	index      time.Duration            // of a file without one
	ready      time.Duration            // from New to /readyz
	startRows  int                      // read until then
	pollRows   int                      // read in one poll
	sweepNone  time.Duration
	sweepPages int
	sweptRows  int
	sweep1000  time.Duration // 1,000 rows that have expired
	mebibytes  float64       // of the file
}

// watched counts what is asked of a table: operations of requests, which have a
// correlation ID, and rows that were listed.
type watched struct {
	*storetest.Instrumented
	mu         sync.Mutex
	operations int
	rows       int
	pages      int
}

func watch(table store.Table) *watched {
	w := &watched{Instrumented: storetest.Instrument(table)}
	w.Before(func(c storetest.Call) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if observe.CorrelationID(c.Context) != "" {
			w.operations++
		}
		return nil
	})
	w.After(func(c storetest.Call) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if c.Op == storetest.List || c.Op == storetest.ListExpired {
			w.rows += len(c.Page.Rows)
			w.pages++
		}
		return nil
	})
	return w
}

// taken returns what was counted, and begins again.
func (w *watched) taken() (operations, rows, pages int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	operations, rows, pages = w.operations, w.rows, w.pages
	w.operations, w.rows, w.pages = 0, 0, 0
	return operations, rows, pages
}

// startOn runs a server on the table. The sweep is left to the measurement.
func startOn(tb testing.TB, table store.Table) *stack.Local {
	tb.Helper()
	return stack.StartLocal(tb, map[string]string{"SWEEP_INTERVAL": "24h"}, func(d *handler.Dependencies) { d.Table = table })
}

func measureEmbedded(tb testing.TB, h history, signIns int) costs {
	tb.Helper()
	dir := tb.TempDir()
	open := func(tb testing.TB) *embedded.Table {
		table, err := embedded.Open(dir)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = table.Close() })
		return table
	}
	var models []store.Row
	scoped(tb, func(tb testing.TB) { models = modelRows(tb, startOn(tb, open(tb))) })
	if err := writeFile(filepath.Join(dir, embedded.FileName), h.rows(models)); err != nil {
		tb.Fatal(err)
	}
	table := open(tb)
	began := time.Now()
	sweepOnce(tb, table) // makes the index
	index := time.Since(began)
	c := measureCosts(tb, table, h, signIns)
	c.index = index
	if info, err := os.Stat(filepath.Join(dir, embedded.FileName)); err == nil {
		c.mebibytes = float64(info.Size()) / (1 << 20)
	}
	return c
}

func measureAzurite(tb testing.TB, h history, signIns int) costs {
	tb.Helper()
	table := storetest.AzureTable(tb)
	var models []store.Row
	scoped(tb, func(tb testing.TB) { models = modelRows(tb, startOn(tb, table)) })
	rows := make(chan store.Row)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for row := range rows {
				if _, err := table.Insert(tb.Context(), row); err != nil && !errors.Is(err, store.ErrExists) {
					tb.Error(err)
				}
			}
		})
	}
	for row := range h.rows(models) {
		rows <- row
	}
	close(rows)
	writers.Wait()
	return measureCosts(tb, table, h, signIns)
}

// scoped ends what part has started.
func scoped(tb testing.TB, part func(testing.TB)) {
	tb.Helper()
	switch t := tb.(type) {
	case *testing.T:
		t.Run("models", func(t *testing.T) { part(t) })
	case *testing.B:
		t.Run("models", func(b *testing.B) { part(b) })
	}
}

// modelRows are a registration, a grant and a revocation as the server writes
// them.
func modelRows(tb testing.TB, l *stack.Local) []store.Row {
	tb.Helper()
	b := &caller{tb: tb, Local: l}
	b.signIn()
	b.revoke()
	b.signIn()
	var models []store.Row
	for _, prefix := range []string{clients.RegistrationPrefix, grants.RevocationPrefix} {
		models = append(models, l.Rows(tb, prefix)[0])
	}
	for _, row := range l.Rows(tb, grants.GrantPrefix) {
		if strings.Contains(string(row.Value), `"sealed"`) {
			return append(models, row)
		}
	}
	tb.Fatal("no grant")
	return nil
}

// rows are copies of the models, each of another client, user or grant, in the
// order of the table: a file that is written in it has no gaps.
func (h history) rows(models []store.Row) iter.Seq[store.Row] {
	return func(yield func(store.Row) bool) {
		if h.grants == 0 {
			return
		}
		registration, revocation, grant := models[0], models[1], models[2]
		now := time.Now()
		for i := range h.registrations {
			row := registration
			id := "s-" + spread16(i, h.registrations) + randomText(8)
			row.Partition, row.Key, row.Expires = clients.RegistrationPrefix+id[2:4], id, now.Add(time.Duration(1+i%90)*24*time.Hour).Truncate(time.Second)
			if !yield(row) {
				return
			}
		}
		for i := range h.grants {
			row := grant
			row.Partition, row.Key = grants.GrantPrefix+spread16(i, h.grants)+randomText(48), randomText(16)
			row.Expires = now.Add(time.Duration(1+i%90) * 24 * time.Hour).Truncate(time.Second)
			if !yield(row) {
				return
			}
		}
		// A day's worth, of grants that have been marked or are gone.
		for i := range h.revocations {
			at := now.Add(-time.Duration(h.revocations-i) * 24 * time.Hour / time.Duration(h.revocations))
			id := randomText(16)
			var value map[string]any
			if json.Unmarshal(revocation.Value, &value) != nil {
				return
			}
			value["gid"], value["at"] = id, at
			row := revocation
			row.Value, _ = json.Marshal(value)
			row.Partition = grants.RevocationPrefix + at.UTC().Format("2006010215")
			row.Key = strconv.FormatInt(at.UnixMilli(), 10) + "-" + id
			row.Expires = at.Add(25 * time.Hour).Truncate(time.Second)
			if !yield(row) {
				return
			}
		}
	}
}

// spread16 are 16 hexadecimal digits, ascending with i and spread as hashes are.
func spread16(i, n int) string { return fmt.Sprintf("%016x", uint64(i)*(math.MaxUint64/uint64(n))) }

func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)[:n]
}

// writeFile adds rows to the file of a store, as a version without an index by
// expiry did: one by one through the store they would take an hour.
func writeFile(path string, rows iter.Seq[store.Row]) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	next, stop := iter.Pull(rows)
	defer stop()
	for more := true; more && err == nil; {
		err = db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte("rows"))
			bucket.FillPercent = 0.9
			for range 20_000 {
				row, ok := next()
				if more = ok; !ok {
					return nil
				}
				version, err := bucket.NextSequence()
				if err != nil {
					return err
				}
				expires := int64(math.MinInt64)
				if !row.Expires.IsZero() {
					expires = row.Expires.Unix()
				}
				value := encbinary.BigEndian.AppendUint64([]byte{1}, version)
				value = append(encbinary.BigEndian.AppendUint64(value, uint64(expires)), row.Value...)
				if err := bucket.Put([]byte(row.Partition+"\x00"+row.Key), value); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(err, db.Sync(), db.Close())
}

func sweepOnce(tb testing.TB, table store.Table) sweep.Report {
	tb.Helper()
	report, err := sweep.New(sweep.Options{
		Table: table, Interval: time.Nanosecond, Now: time.Now,
		Kinds: []sweep.Kind{{Name: "grants", Prefix: grants.GrantPrefix}},
	}).Once(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func measureCosts(tb testing.TB, table store.Table, h history, signIns int) costs {
	tb.Helper()
	w := watch(table)
	c := costs{history: h, operations: map[string]float64{}, took: map[string]time.Duration{}}
	began := time.Now()
	l := startOn(tb, w)
	for {
		res, err := http.Get(l.URL + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > time.Minute {
			tb.Fatal("not ready within a minute")
		}
		time.Sleep(time.Millisecond)
	}
	c.ready = time.Since(began)
	by := &caller{tb: tb, Local: l, table: w, operations: map[string][]int{}, took: map[string][]time.Duration{}}
	for range signIns {
		by.signIn()
	}
	_, c.startRows, _ = w.taken()
	for path, all := range by.took {
		slices.Sort(all)
		c.took[path] = all[len(all)/2]
		slices.Sort(by.operations[path])
		c.operations[path] = float64(by.operations[path][len(all)/2])
	}
	if signIns > 2 {
		time.Sleep(6 * time.Second) // the first reading after those of the start
		_, _, _ = w.taken()
		by.call()
		time.Sleep(5 * time.Second)
		_, c.pollRows, _ = w.taken()
	}

	time.Sleep(time.Millisecond)
	_, _, _ = w.taken()
	began = time.Now()
	sweepOnce(tb, w)
	c.sweepNone = time.Since(began)
	_, c.sweptRows, c.sweepPages = w.taken()
	const expired = 1000
	for i := range expired {
		row := store.Row{Partition: grants.GrantPrefix + fmt.Sprint(i), Key: "k", Expires: time.Now().Add(-time.Hour).Truncate(time.Second)}
		if _, err := table.Insert(tb.Context(), row); err != nil {
			tb.Fatal(err)
		}
		if signIns <= 2 {
			break
		}
	}
	began = time.Now()
	sweepOnce(tb, w)
	c.sweep1000 = time.Since(began)
	return c
}

// caller signs in and notes what each request cost.
type caller struct {
	*stack.Local
	tb         testing.TB
	table      *watched
	operations map[string][]int
	took       map[string][]time.Duration
	oauth      *oauthclient.Client
	grant      string // that is shown to the token endpoint next
	tokens     oauthclient.Tokens
}

// RoundTrip notes requests to the server, and no others.
func (c *caller) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.table == nil || !strings.HasPrefix(r.URL.String(), c.URL) {
		return http.DefaultTransport.RoundTrip(r)
	}
	path := r.URL.Path
	if path == "/token" {
		path += " " + c.grant
	}
	c.table.mu.Lock()
	c.table.operations = 0
	c.table.mu.Unlock()
	began := time.Now()
	res, err := http.DefaultTransport.RoundTrip(r)
	c.took[path] = append(c.took[path], time.Since(began))
	c.table.mu.Lock()
	c.operations[path] = append(c.operations[path], c.table.operations)
	c.table.mu.Unlock()
	return res, err
}

// signIn is one sign-in of a client that has just registered, one refresh and
// one call.
func (c *caller) signIn() {
	c.tb.Helper()
	c.oauth = oauthclient.New(c.URL, "http://127.0.0.1:8975/callback")
	c.oauth.HTTP = &http.Client{Transport: c}
	c.grant = "code"
	tokens, err := c.oauth.SignIn(c.tb.Context(), c.oauth.Public("client "+rand.Text()[:6]), nil, stack.NewBrowser(stack.Alice).Through(c).Approve)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.grant = "refresh"
	answer, err := c.oauth.Renew(c.tb.Context(), tokens.Refresh)
	if err == nil {
		c.tokens, err = answer.Tokens()
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	c.call()
}

func (c *caller) call() {
	c.tb.Helper()
	c.ok(c.oauth.Post(c.tb.Context(), c.oauth.Resource, "application/json", []byte(call),
		http.Header{"Authorization": {"Bearer " + c.tokens.Access}, "Accept": {"application/json, text/event-stream"}}))
}

func (c *caller) revoke() {
	c.tb.Helper()
	c.ok(c.oauth.Revoke(c.tb.Context(), c.tokens.Refresh))
}

func (c *caller) ok(answer oauthclient.Answer, err error) {
	c.tb.Helper()
	if err == nil {
		err = answer.Wanted(http.StatusOK)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
}

// historyTable is the costs in Markdown: ratios to the first, which has no history.
func historyTable(name string, all []costs) string {
	var out strings.Builder
	line := func(what string, value func(costs) string) {
		fmt.Fprintf(&out, "| %s |", what)
		for _, c := range all {
			fmt.Fprintf(&out, " %s |", value(c))
		}
		out.WriteByte('\n')
	}
	ratio := func(of func(costs) time.Duration) func(costs) string {
		return func(c costs) string { return fmt.Sprintf("%.1f", float64(of(c))/float64(of(all[0]))) }
	}
	line(name+": grants, registrations, revocations", func(c costs) string { return fmt.Sprintf("%d, %d, %d", c.grants, c.registrations, c.revocations) })
	out.WriteString("|---|" + strings.Repeat("---|", len(all)) + "\n")
	for _, path := range paths {
		line(path+", operations", func(c costs) string { return fmt.Sprint(c.operations[path]) })
		line(path+", time", ratio(func(c costs) time.Duration { return c.took[path] }))
	}
	line("start until ready, time", ratio(func(c costs) time.Duration { return c.ready }))
	line("rows read at the start", func(c costs) string { return fmt.Sprint(c.startRows) })
	line("rows read in 5 s of polling", func(c costs) string { return fmt.Sprint(c.pollRows) })
	line("sweep that finds nothing, time", ratio(func(c costs) time.Duration { return c.sweepNone }))
	line("sweep that finds nothing, ms", func(c costs) string { return fmt.Sprintf("%.1f", float64(c.sweepNone)/1e6) })
	line("sweep of 1,000 rows, time", ratio(func(c costs) time.Duration { return c.sweep1000 }))
	line("sweep of 1,000 rows, ms", func(c costs) string { return fmt.Sprintf("%.0f", float64(c.sweep1000)/1e6) })
	line("first sweep of a file without index, s", func(c costs) string { return fmt.Sprintf("%.1f", c.index.Seconds()) })
	line("file, MiB", func(c costs) string { return fmt.Sprintf("%.0f", c.mebibytes) })
	return out.String()
}
