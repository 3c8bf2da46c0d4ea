package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/toolkit"
)

// user is a person with a client. call connects and calls a tool, and signs
// the person in as often as the client asks for it. It fails if the client
// gives up.
type user interface {
	call(tool string) (text string, err error)
	// signedIn is how often the person has had to sign in.
	signedIn() int
}

// registration is how a client introduces itself.
type registration string

const (
	dynamic  registration = "DCR"  // RFC 7591
	document registration = "CIMD" // a client ID metadata document
)

// documentURL is where the clients of these tests say that their metadata is;
// the operator has pinned it.
const documentURL = "https://client.example/mcp.json"

var pinned = `[{"client_id": "` + documentURL + `", "client_name": "Example client",
	"redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback", "http://127.0.0.1:6276/oauth/callback"],
	"grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none"}]`

// lifetime is that of access tokens here: more than the time before their end at
// which any client renews them.
const lifetime = 11 * time.Second

// faults are what a client does differently from what the specification asks,
// each as a part of its error text; empty where it does nothing wrong.
type faults struct {
	// stepUp: on 403 insufficient_scope the client does not send its user to
	// grant the missing scope.
	stepUp string
	// register: on invalid_client the client does not register again, until
	// it is started again.
	register string
}

// live takes a client through all that happens to it in months: it connects,
// its access token expires, a tool needs one more scope, its grant is revoked,
// and its registration is forgotten. early is how long before the end of an access
// token, by the client's own clock, it renews it; 0 for those that wait for a 401.
func live(t *testing.T, how registration, known faults, early time.Duration, start func(*testing.T, *stack.Local) user) {
	s := stack.StartLocal(t, map[string]string{"PINNED_CLIENTS": pinned, "ACCESS_TOKEN_LIFETIME": lifetime.String()}, offerMail)
	u := start(t, s)
	calls := func(tool, want string) {
		t.Helper()
		if got, err := u.call(tool); err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("%s: %q, %v", tool, got, err)
		}
	}
	signIns := func(want int) {
		t.Helper()
		if got := u.signedIn(); got != want {
			t.Fatalf("the person has signed in %d times, want %d", got, want)
		}
	}
	expectRows := func(want int) {
		t.Helper()
		if got := len(s.Rows(t, "c-")); got != want {
			t.Fatalf("%d clients are registered, want %d", got, want)
		}
	}

	// Connect and call.
	calls("greet", "Hello, ")
	signIns(1)
	registered := map[registration]int{dynamic: 1, document: 0}[how]
	expectRows(registered)
	first := granted(t, s)
	if isURL := strings.HasPrefix(first.clientID, "https://"); isURL != (how == document) {
		t.Fatalf("the client is %s", first.clientID)
	}

	// The access token expires, by the server's clock and the client's.
	expire := func() {
		s.Clock.Advance(lifetime)
		if early > 0 {
			time.Sleep(lifetime - early + 100*time.Millisecond)
		}
	}
	expire()
	calls("greet", "Hello, ")
	signIns(1)
	if granted(t, s).refresh == first.refresh {
		t.Fatal("the client has not used its refresh token")
	}

	// A tool needs a scope that was not granted.
	want := 2
	if known.stepUp == "" {
		calls("send_mail", "sent")
		if scopes := granted(t, s).scopes; !slices.Contains(scopes, "Mail.Send") || !slices.Contains(scopes, "openid") {
			t.Fatalf("granted %v", scopes)
		}
	} else {
		want = 1
		if got, err := u.call("send_mail"); err == nil || !strings.Contains(err.Error(), known.stepUp) {
			t.Fatalf("send_mail: %q, %v, want the known fault %q", got, err, known.stepUp)
		}
		calls("greet", "Hello, ")
	}
	signIns(want)

	// The grant is revoked, by somebody else.
	revoke(t, s)
	calls("greet", "Hello, ")
	want++
	signIns(want)
	expectRows(registered)

	// The registration is forgotten, and with it the client. One that has a
	// metadata document cannot be.
	if how == document {
		return
	}
	before := len(s.Seen("/register"))
	s.Forget(t, "c-")
	s.Clock.Advance(time.Minute)
	expire()
	if known.register != "" {
		if got, err := u.call("greet"); err == nil || !strings.Contains(err.Error(), known.register) {
			t.Fatalf("greet: %q, %v, want the known fault %q", got, err, known.register)
		}
		u, want = start(t, s), 0
	}
	calls("greet", "Hello, ")
	signIns(want + 1)
	expectRows(1)
	if got := len(s.Seen("/register")); got != before+1 {
		t.Fatalf("the client has registered %d times more", got-before)
	}
}

// offerMail adds a tool that needs a scope which nobody asks for at first.
func offerMail(d *handler.Dependencies) {
	d.Catalogue.Tools = append(d.Catalogue.Tools, toolkit.Define("send_mail", "Send mail.",
		func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "sent", nil }, toolkit.RequireScopes("Mail.Send")))
}

// grantedTokens are the last that the server gave out.
type grantedTokens struct {
	clientID, refresh string
	scopes            []string
}

func granted(t *testing.T, s *stack.Local) grantedTokens {
	t.Helper()
	all := s.Seen("/token")
	for _, e := range slices.Backward(all) {
		if e.Status != http.StatusOK {
			continue
		}
		var body struct {
			Refresh string `json:"refresh_token"`
			Scope   string `json:"scope"`
		}
		if err := json.Unmarshal(e.Body, &body); err != nil {
			t.Fatal(err)
		}
		return grantedTokens{e.ClientID, body.Refresh, strings.Fields(body.Scope)}
	}
	t.Fatalf("no tokens were given out in %d requests", len(all))
	return grantedTokens{}
}

// revoke ends the grant with its newest refresh token and waits, by the
// server's clock, until that is known everywhere.
func revoke(t *testing.T, s *stack.Local) {
	t.Helper()
	last := granted(t, s)
	res, err := http.PostForm(s.URL+"/revoke", url.Values{"token": {last.refresh}, "client_id": {last.clientID}})
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %v %v", res, err)
	}
	_ = res.Body.Close()
	s.Clock.Advance(16 * time.Second)
}
