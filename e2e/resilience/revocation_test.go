package resilience

import (
	"net/http"
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
