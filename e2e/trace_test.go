package e2e

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/observe"
)

var update = flag.Bool("update", false, "write docs/trace.txt again")

// tree writes the spans below parent, in the order in which they began, with the
// audit events that are noted on them.
func tree(out *strings.Builder, spans []*tracepb.Span, parent []byte, depth int) {
	for _, s := range spans {
		if string(s.GetParentSpanId()) != string(parent) {
			continue
		}
		fmt.Fprintf(out, "%s%s\n", strings.Repeat("  ", depth), s.GetName())
		for _, e := range s.GetEvents() {
			fmt.Fprintf(out, "%s· %s\n", strings.Repeat("  ", depth+1), e.GetName())
		}
		tree(out, spans, s.GetSpanId(), depth+1)
	}
}

// TestOneSignInAndCallIsOneTrace: docs/trace.txt is what a collector gets of a
// client that traces, from its registration to what a tool asks of Entra. Run it
// with -update to write the file again.
func TestOneSignInAndCallIsOneTrace(t *testing.T) {
	c := newCollector(t)
	tel := c.telemetry(t)
	log := &stack.Output{}
	s := stack.StartLocal(t, nil, func(d *handler.Dependencies) {
		d.Telemetry = tel
		d.Log = observe.NewLogger(observe.LogOptions{Out: log, Errs: log, Text: true, OnEvent: tel.Event})
	})
	logged(t, log, "key_ring_changed")
	if err := s.Tenant.GrantConsent(stack.Bob, stack.ClientID, "https://graph.microsoft.com/User.Read"); err != nil {
		t.Fatal(err)
	}
	// What an instance reads only once has been read.
	newApp(t, s, stack.Alice).signIn("openid").call("greet")

	transport := withHeader{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	a := &app{t: t, Client: oauthclient.New(s.URL, appCallback), browser: s.Browser(stack.Bob).Through(transport)}
	a.HTTP = &http.Client{Transport: transport}
	if got := registered(a).signIn("openid", "offline_access", "User.Read").call("identity"); got.failed {
		t.Fatalf("%+v", got)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	slices.SortFunc(c.spans, func(x, y *tracepb.Span) int { return int(x.GetStartTimeUnixNano()) - int(y.GetStartTimeUnixNano()) })
	var got strings.Builder
	got.WriteString("the client's own span\n")
	tree(&got, c.spans, []byte("\xb7\xad\x6b\x71\x69\x20\x33\x31"), 1)
	const path = "../docs/trace.txt"
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got.String() {
		t.Errorf("%s is another, %v:\n%s", path, err, got.String())
	}
}
