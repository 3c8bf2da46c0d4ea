package resilience

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
)

const (
	firstKey  = "0123456789abcdef-the-first-master-key"
	secondKey = "fedcba9876543210-the-second-master-key"
)

// works reports that nobody was signed out: the tokens are good at i, and the
// next ones come from there.
func works(t *testing.T, c *client, i *stack.Instance, got tokens) tokens {
	t.Helper()
	there := c.at(i)
	if a := there.call(got.access); a.status != http.StatusOK {
		t.Errorf("/mcp at %s answers %d %s", i.URL, a.status, a.body)
	}
	return there.refresh(got.refresh).tokens(t)
}

// TestRotatingKeysLogsNobodyOut: an operator rotates while four instances
// serve. The next epoch is there for all; what the first one signed stays good.
func TestRotatingKeysLogsNobodyOut(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: instances})
	c, got := signedIn(t, s)
	before := got
	if n := len(rows(t, s, "keys")); n != 1 {
		t.Fatalf("four instances that started together made %d epochs", n)
	}
	for range 2 { // the second finds a rotation under way
		if out, err := s.Command(t, nil, "keys", "rotate").CombinedOutput(); err != nil {
			t.Fatalf("keys rotate: %v\n%s", err, out)
		}
		if n := len(rows(t, s, "keys")); n != 2 {
			t.Fatalf("there are %d epochs, want 2", n)
		}
	}
	late := s.AddInstance(nil)
	for _, i := range s.Instances {
		got = works(t, c, i, got)
		if a := c.at(i).call(before.access); a.status != http.StatusOK {
			t.Errorf("the oldest access token at %s: %d %s", i.URL, a.status, a.body)
		}
	}
	if n := len(rows(t, s, "keys")); n != 2 || !late.Alive() {
		t.Errorf("there are %d epochs", n)
	}
}

// TestMasterKeyIsChangedByARollingRestart: one instance after the other gets
// the new key and the old one to unwrap with, while those with the old one can
// still start; the operator says that all have it; then the old one is taken
// away.
func TestMasterKeyIsChangedByARollingRestart(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: instances, Env: map[string]string{"MASTER_KEY": firstKey}})
	c, got := signedIn(t, s)
	before := got

	roll := func(env map[string]string) {
		for k, old := range s.Instances {
			old.Kill()
			s.Instances[k] = s.Aside(t, env)
			s.Instances[k].WaitReady()
			for _, i := range s.Instances { // old and new side by side
				got = works(t, c, i, got)
			}
		}
	}
	asBefore := func() {
		i := s.Aside(t, nil)
		i.WaitReady()
		got = works(t, c, i, got)
		i.Kill()
	}
	roll(map[string]string{"MASTER_KEY": secondKey, "MASTER_KEY_PREVIOUS": firstKey})
	asBefore()
	if n, err := ringOf(t, s, secondKey, firstKey).Rewrap(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d epochs were wrapped by the new key: %v", n, err)
	}
	roll(map[string]string{"MASTER_KEY": secondKey})
	for _, i := range s.Instances {
		if a := c.at(i).call(before.access); a.status != http.StatusOK {
			t.Errorf("the oldest access token at %s: %d %s", i.URL, a.status, a.body)
		}
	}
	if n := len(rows(t, s, "keys")); n != 1 {
		t.Errorf("changing the key that wraps made %d epochs", n)
	}
}

// TestWrongMasterKeyStartsNothing: neither a new ring, which would sign
// everybody out, nor anything signed. It says what is wrong, and the others
// serve on.
func TestWrongMasterKeyStartsNothing(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 1, Env: map[string]string{"MASTER_KEY": firstKey}})
	c, got := signedIn(t, s)
	before := rows(t, s, "keys")

	wrong := s.Aside(t, map[string]string{"MASTER_KEY": secondKey})
	there := c.at(wrong)
	clocktest.Eventually(t, "/readyz answers", patience, func() bool { return listening(wrong) })
	if a := there.get("/readyz"); a.status != http.StatusServiceUnavailable || a.text("status") != "not ready" {
		t.Errorf("/readyz answers %d %s", a.status, a.body)
	}
	for what, a := range map[string]answer{"/mcp": there.call(got.access), "/token": there.refresh(got.refresh), "/revoke": there.revoke(got.refresh)} {
		if !a.unavailable(patience) {
			t.Errorf("%s answers %d %s", what, a.status, a.body)
		}
	}
	if a := there.get("/"); a.status != http.StatusOK {
		t.Errorf("/ answers %d, and the host would restart the process", a.status)
	}
	if log := wrong.Log(); !strings.Contains(log, "or MASTER_KEY_PREVIOUS if MASTER_KEY was changed") || !strings.Contains(log, `"level":"ERROR"`) {
		t.Error("the log does not say what to set")
	}
	if cmd := s.Command(t, map[string]string{"MASTER_KEY": secondKey}, "keys", "rotate"); cmd.Run() == nil {
		t.Error("keys rotate succeeded with the wrong key")
	}
	after := rows(t, s, "keys")
	if len(after) != len(before) || string(after[0].Value) != string(before[0].Value) {
		a, _ := json.Marshal(after)
		t.Errorf("the ring has changed: %s", a)
	}
	works(t, c, s.Instances[0], got)
}

// ringOf is the ring of s as an operator's command sees it.
func ringOf(t *testing.T, s *stack.Stack, current, previous string) *keyring.Ring {
	t.Helper()
	w, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(current)}, keyring.MasterKey{Value: secret.New(previous)})
	if err != nil {
		t.Fatal(err)
	}
	return keyring.New(keyring.Options{Table: tableOf(t, s), Wrapper: w})
}

// listening reports whether the process answers at all.
func listening(i *stack.Instance) bool {
	res, err := http.Get(i.URL + "/healthz")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
