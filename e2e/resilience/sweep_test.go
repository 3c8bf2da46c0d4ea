package resilience

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
	"entramcp/handler/store"
)

// TestInstancesSweepWhatHasExpired waits for the sweeps that processes do by
// themselves. Everything live is a record that the server wrote; everything
// expired is a copy of one. The lease has the instances sweep one at a time, so
// that together they count each row once.
func TestInstancesSweepWhatHasExpired(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 3, Env: map[string]string{"SWEEP_INTERVAL": "5s"}})
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

	// What the sweep calls them, by the beginning of the partition.
	kinds := map[string]string{"t": "transactions", "g": "grants", "c": "clients", "r": "revocations"}
	live, want := map[string]bool{}, map[string]int{}
	table := tableOf(t, s)
	for _, row := range rows(t, s, "") {
		live[row.Partition+"/"+row.Key] = true
		prefix, _, _ := strings.Cut(row.Partition, "-")
		kind, copies := kinds[prefix], 1
		if kind == "" {
			continue
		}
		if kind == "transactions" {
			copies = 120 // more than one batch
		}
		for k := range copies {
			dead := store.Row{Partition: row.Partition, Key: fmt.Sprintf("%s-expired-%d", row.Key, k), Value: row.Value,
				Expires: time.Now().Add(-time.Hour).UTC().Truncate(time.Second)}
			if _, err := table.Insert(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
			want[kind]++
		}
	}
	if len(want) != len(kinds) {
		t.Fatalf("there are records of %v, want all of %v", want, kinds)
	}

	clocktest.Eventually(t, "the expired rows are gone", 30*time.Second, func() bool {
		return !slices.ContainsFunc(rows(t, s, ""), func(row store.Row) bool { return strings.Contains(row.Key, "-expired-") })
	})
	for _, row := range rows(t, s, "") {
		name := row.Partition + "/" + row.Key
		delete(live, name)
	}
	if len(live) != 0 {
		t.Errorf("swept though live: %v", live)
	}
	clocktest.Eventually(t, "the sweeps report what they have removed", 10*time.Second, func() bool { return maps.Equal(swept(s), want) })
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
		Removed map[string]int `json:"removed"`
	} `json:"sweep"`
}

// swept is what all sweeps of all instances have removed, by kind.
func swept(s *stack.Stack) map[string]int {
	all := map[string]int{}
	for _, i := range s.Instances {
		for text := range strings.Lines(i.Log()) {
			var line sweepLine
			if json.Unmarshal([]byte(text), &line) != nil || line.Message != "swept" {
				continue
			}
			for kind, n := range line.Sweep.Removed {
				all[kind] += n
			}
		}
	}
	return all
}
