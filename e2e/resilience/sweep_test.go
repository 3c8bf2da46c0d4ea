package resilience

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/store"
)

// firstSweep is when every instance has begun its first sweep: within a tenth
// of the interval, and a fifth of that for jitter.
const firstSweep = 108 * time.Second

// TestOneInstanceSweepsWhatHasExpired waits for the sweep that processes do by
// themselves. Everything live is a record that the server wrote; everything
// expired is a copy of one.
func TestOneInstanceSweepsWhatHasExpired(t *testing.T) {
	started := time.Now()
	s := stack.Start(t, stack.Options{Instances: 3})
	c, got := signedIn(t, s)
	_, ended := signedIn(t, s)
	if a := c.revoke(ended.refresh); a.status == http.StatusOK {
		t.Fatal("a client revoked another's token")
	}
	if a := c.revoke(c.redeem(c.signIn()).tokens(t).refresh); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	u := &underway{client: c}
	pending, callback := u.atTheDoor(t)

	live := map[string]bool{}
	expired := map[string]int{}
	table := tableOf(t, s)
	for _, row := range rows(t, s, "") {
		live[row.Partition+"/"+row.Key] = true
		kind, copies := strings.Split(row.Partition, "-")[0], 1
		if kind == "keys" || kind == "leases" {
			continue // these never expire while they are the only ones
		}
		if kind == "t" {
			copies = 120 // more than one batch
		}
		for k := range copies {
			dead := store.Row{Partition: row.Partition, Key: fmt.Sprintf("%s-expired-%d", row.Key, k), Value: row.Value,
				Expires: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)}
			if _, err := table.Insert(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
			expired[kind]++
		}
	}
	for _, kind := range []string{"t", "g", "c", "revoked"} {
		if expired[kind] == 0 {
			t.Fatalf("there is no record of kind %s", kind)
		}
	}

	t.Parallel() // only now, so that the other tests run while this one waits
	time.Sleep(time.Until(started.Add(firstSweep)))
	eventually(t, "a sweep", 20*time.Second, func() bool { return len(swept(s)) > 0 })
	for _, row := range rows(t, s, "") {
		name := row.Partition + "/" + row.Key
		if strings.Contains(name, "-expired-") {
			t.Errorf("%s is still there", name)
		}
		delete(live, name)
	}
	if len(live) != 0 {
		t.Errorf("swept though live: %v", live)
	}
	lines := swept(s)
	want := map[string]int{"transactions": expired["t"], "grants": expired["g"], "clients": expired["c"], "revoked": expired["revoked"]}
	if len(lines) != 1 || fmt.Sprint(lines[0].Sweep.Removed) != fmt.Sprint(want) {
		t.Errorf("the sweeps report %+v, want one of %v", lines, want)
	}
	if a := c.refresh(got.refresh); a.status != http.StatusOK {
		t.Errorf("refresh after the sweep: %d %s", a.status, a.body)
	}
	if p, to, _ := open(t, pending, callback); to.Get("code") == "" {
		t.Errorf("the callback after the sweep: %d %v", p.Status, to)
	}
}

// sweepLine is what an operator sees of a sweep.
type sweepLine struct {
	Message string `json:"msg"`
	Sweep   struct {
		Total   int            `json:"total"`
		Removed map[string]int `json:"removed"`
	} `json:"sweep"`
}

func swept(s *stack.Stack) []sweepLine {
	var found []sweepLine
	for _, i := range s.Instances {
		for text := range strings.Lines(i.Log()) {
			var line sweepLine
			if json.Unmarshal([]byte(text), &line) == nil && line.Message == "swept" {
				found = append(found, line)
			}
		}
	}
	return found
}
