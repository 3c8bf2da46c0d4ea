package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/store/storetest"
)

// storageLatency is what each operation of the table takes longer in
// BenchmarkStorageLatency: more than Azure's, so that it stands out.
const storageLatency = 10 * time.Millisecond

// taken is what requests to one endpoint took.
type taken struct {
	operations []float64
	took       []time.Duration
}

// watcher sends requests to a server, and notes how long each took and how many
// operations of its table there were meanwhile.
type watcher struct {
	url   string
	table *storetest.Instrumented
	// seen is by path, and by grant type where there is one.
	seen map[string]*taken
}

func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.String(), w.url) {
		return shared.RoundTrip(r)
	}
	what := r.URL.Path
	if what == "/token" {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(text))
		if err != nil {
			return nil, err
		}
		what += ", " + form.Get("grant_type")
	}
	before, from := w.table.Count(), time.Now()
	res, err := shared.RoundTrip(r)
	t := w.seen[what]
	if t == nil {
		t = &taken{}
		w.seen[what] = t
	}
	t.took = append(t.took, time.Since(from))
	t.operations = append(t.operations, float64(w.table.Count()-before))
	return res, err
}

// BenchmarkStorageLatency has each storage operation take ten milliseconds longer
// and compares what requests then take longer with what their operations, one
// after the other, would. It sends one request at a time.
func BenchmarkStorageLatency(b *testing.B) {
	const signIns, refreshes = 20, 5
	var table *storetest.Instrumented
	l := stack.StartLocal(b, map[string]string{"REFRESH_GRACE": "1s", "LOG_LEVEL": "warn"}, func(d *handler.Dependencies) {
		table = storetest.Instrument(d.Table)
		d.Table = table
	})
	run := func(signIns int) map[string]*taken {
		w := &watcher{url: l.URL, table: table, seen: map[string]*taken{}}
		for range signIns {
			c := oauthclient.New(l.URL, back)
			c.HTTP = &http.Client{Transport: w}
			tokens, err := c.SignIn(b.Context(), c.Public("bench"), nil, stack.NewBrowser(stack.Alice).Through(w).Approve)
			for range refreshes {
				l.Clock.Advance(2 * time.Second) // past the time in which a refresh is answered alike
				var answer oauthclient.Answer
				if err == nil {
					answer, err = c.Renew(b.Context(), tokens.Refresh)
				}
				if err == nil {
					tokens, err = answer.Tokens()
				}
				if err == nil {
					answer, err = c.Post(b.Context(), l.MCP(), "application/json", []byte(call), http.Header{
						"Authorization": {"Bearer " + tokens.Access}, "Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {"2025-06-18"}})
				}
				if err == nil {
					err = answer.Wanted(http.StatusOK)
				}
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		for _, t := range w.seen {
			slices.Sort(t.took)
		}
		return w.seen
	}
	run(1) // keys, clients and what is revoked are read
	without := run(signIns)
	table.Before(storetest.On(func() error {
		timer, err := newSleeper()
		if err != nil {
			return err
		}
		defer timer.close()
		return timer.until(time.Now().Add(storageLatency))
	}))
	with := run(signIns)
	text := latencyTable(without, with)
	fmt.Printf("\n%s\n", text)
	write(b, "latency", text)
	b.ReportMetric(0, "ns/op")
}

func latencyTable(without, with map[string]*taken) string {
	var t strings.Builder
	t.WriteString("| | operations | expected | p50 | ratio | p99 | ratio |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, line := range [][2]string{
		{"/register", "`/register`"}, {"/authorize", "`/authorize`"}, {"/consent", "`/consent`"}, {"/auth/callback", "`/auth/callback`"},
		{"/token, authorization_code", "`/token`, code"}, {"/token, refresh_token", "`/token`, refresh"}, {"/mcp", "`/mcp`"},
	} {
		bare, slow := without[line[0]], with[line[0]]
		operations := median(slow.operations)
		expected := operations * ms(storageLatency)
		fmt.Fprintf(&t, "| %s | %.0f | %.0f ms ", line[1], operations, expected)
		for _, p := range []float64{.5, .99} {
			more := ms(at(slow.took, p)) - ms(at(bare.took, p))
			ratio := "-"
			if operations > 0 {
				ratio = fmt.Sprintf("%.2f", more/expected)
			}
			fmt.Fprintf(&t, "| %.1f ms | %s ", more, ratio)
		}
		t.WriteString("|\n")
	}
	return t.String()
}
