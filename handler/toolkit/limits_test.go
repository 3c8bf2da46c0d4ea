package toolkit

import (
	"context"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/grants"
)

// TestATenantHasALimitOfItsOwn for all of its users and applications together. Calls of
// another tenant do not count for it, and neither do calls that another limit refuses.
func TestATenantHasALimitOfItsOwn(t *testing.T) {
	c := clocktest.At(time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC))
	l := newLimits(CallLimit{Calls: 3, Window: time.Minute}, CallLimit{Calls: 2, Window: time.Minute}, CallLimit{}, c.Now)
	call := func(tenant, user, wanted string) {
		t.Helper()
		err := l.take(context.Background(), &Call{Kind: "tool", Name: "greet", Caller: &Caller{
			Subject: grants.SubjectOf(tenant, user), TenantID: tenant, definition: &definition{},
		}})
		if (err != nil) != (wanted != "") || (err != nil && !strings.Contains(err.Error(), wanted)) {
			t.Errorf("%s of %s: %v, want %q", user, tenant, err, wanted)
		}
	}
	call("one", "alice", "")
	call("one", "alice", "")
	call("one", "alice", "You may use this server 2 times")
	c.Advance(10 * time.Second)
	call("one", "bob", "")
	call("one", "bob", "Your organization may use this server 3 times in 1m0s. The next call can be made at 2026-11-26T10:01:00Z, in 50s.")
	call("one", "a robot", "Your organization")
	call("two", "grace", "")
	typed := &Call{Kind: completion, Name: "greet", Caller: &Caller{Subject: grants.SubjectOf("one", "alice"), TenantID: "one", definition: &definition{}}}
	for range 5 { // a call for each letter that is typed
		if err := l.take(context.Background(), typed); err != nil {
			t.Error(err)
		}
	}
	c.Advance(50 * time.Second)
	call("one", "bob", "")
	call("one", "a robot", "")
}
