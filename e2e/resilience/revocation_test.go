package resilience

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"entramcp/e2e/stack"
)

// TestRevocationReachesEveryInstance is RFC 7009 over four processes, found by
// way of the metadata.
func TestRevocationReachesEveryInstance(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: instances})
	c, mine := signedIn(t, s)
	other, _ := signedIn(t, s)
	if a := c.get("/.well-known/oauth-authorization-server"); a.text("revocation_endpoint") != s.URL+"/revoke" || a.text("introspection_endpoint") != s.URL+"/introspect" {
		t.Errorf("the metadata announce %s", a.body)
	}

	for _, token := range []string{mine.access, mine.refresh} {
		if a := other.revoke(token); !a.is(http.StatusBadRequest, "invalid_grant") {
			t.Errorf("another client's revocation: %d %s", a.status, a.body)
		}
	}
	if a := other.refresh(mine.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
		t.Errorf("another client's refresh: %d %s", a.status, a.body)
	}
	mine = c.refresh(mine.refresh).tokens(t) // what another client tries ends nothing
	for _, i := range s.Instances {
		if a := c.at(i).call(mine.access); a.status != http.StatusOK {
			t.Fatalf("before the revocation: %d %s", a.status, a.body)
		}
	}

	if a := c.at(s.Instances[1]).revoke(mine.access); a.status != http.StatusOK {
		t.Fatalf("revocation: %d %s", a.status, a.body)
	}
	for _, i := range s.Instances {
		if a := c.at(i).refresh(mine.refresh); !a.is(http.StatusBadRequest, "invalid_grant") {
			t.Errorf("refresh after the revocation: %d %s", a.status, a.body)
		}
	}
	refusedEverywhere(t, s, c, mine.access)
	if a := c.revoke(mine.access); a.status != http.StatusOK {
		t.Errorf("revoking again: %d %s", a.status, a.body)
	}
}

// TestIntrospectionTellsConfidentialClientsOnly is RFC 7662: a client learns
// about its own tokens, and only if it can authenticate.
func TestIntrospectionTellsConfidentialClientsOnly(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, stack.Options{Instances: 2})
	c := newClient(t, s).registered("client_secret_post")
	if c.Secret == "" {
		t.Fatal("no client secret")
	}
	mine := c.redeem(c.signIn()).tokens(t)
	public, theirs := signedIn(t, s)

	active := func(a answer) bool {
		var state struct {
			Active bool `json:"active"`
		}
		if err := json.Unmarshal([]byte(a.body), &state); err != nil || a.status != http.StatusOK {
			t.Fatalf("introspection: %d %s", a.status, a.body)
		}
		return state.Active
	}
	for _, i := range s.Instances {
		if !active(c.at(i).introspect(mine.access)) || !active(c.at(i).introspect(mine.refresh)) {
			t.Error("a live token of the client is inactive")
		}
		for _, token := range []string{theirs.access, theirs.refresh, "nonsense"} {
			if a := c.at(i).introspect(token); active(a) || strings.TrimSpace(a.body) != `{"active":false}` {
				t.Errorf("what is not the client's: %s", a.body)
			}
		}
		if a := public.at(i).introspect(theirs.access); !a.is(http.StatusUnauthorized, "invalid_client") {
			t.Errorf("a public client: %d %s", a.status, a.body)
		}
	}
	if a := c.at(s.Instances[0]).revoke(mine.refresh); a.status != http.StatusOK {
		t.Fatal(a.body)
	}
	// Unlike /mcp, introspection asks the grant itself.
	if active(c.at(s.Instances[1]).introspect(mine.access)) {
		t.Error("a revoked access token is active elsewhere")
	}
}
