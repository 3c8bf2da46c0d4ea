package stack

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"entramcp/dev/oauthclient"
)

// Tokens are what the token endpoint answers with: tokens, or an error.
type Tokens struct {
	oauthclient.Tokens
	Status int
	Error  string
}

// Flow is an authorization code flow by hand, with what a test changes in it.
type Flow struct {
	ClientID, RedirectURI string
	// Extra are further parameters of the authorization request.
	Extra url.Values
}

// client is a client that sends no resource of its own accord.
func (l *Local) client(f Flow) *oauthclient.Client {
	return &oauthclient.Client{Endpoints: oauthclient.At(l.URL), RedirectURI: f.RedirectURI, ID: f.ClientID}
}

// Start is the authorization request of the flow.
func (l *Local) Start(f Flow) oauthclient.Request { return l.client(f).Request(f.Extra) }

// SignInWith takes user through the flow; the callback is what the client is
// sent.
func (l *Local) SignInWith(tb testing.TB, user string, f Flow) (callback *url.URL, tokens Tokens) {
	tb.Helper()
	c := l.client(f)
	request := c.Request(f.Extra)
	callback, err := l.Browser(user).Approve(request.URL)
	if err != nil {
		tb.Fatal(err)
	}
	answer, err := c.Redeem(tb.Context(), request, callback.Query().Get("code"))
	if err == nil {
		err = answer.Wanted(http.StatusOK)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return callback, tokensIn(tb, answer)
}

// SignIn is an access token for user.
func (l *Local) SignIn(tb testing.TB, user string) string {
	tb.Helper()
	const redirectURI = "http://127.0.0.1:8975/callback"
	_, tokens := l.SignInWith(tb, user, Flow{ClientID: l.Register(tb, redirectURI), RedirectURI: redirectURI})
	return tokens.Access
}

// Token makes one request to the token endpoint.
func (l *Local) Token(tb testing.TB, form url.Values) Tokens {
	tb.Helper()
	answer, err := l.client(Flow{ClientID: form.Get("client_id")}).Form(tb.Context(), l.URL+"/token", form)
	if err != nil {
		tb.Error(err)
	}
	return tokensIn(tb, answer)
}

func tokensIn(tb testing.TB, answer oauthclient.Answer) Tokens {
	tb.Helper()
	t := Tokens{Status: answer.Status, Error: answer.Member("error")}
	if err := json.Unmarshal(answer.Body, &t.Tokens); err != nil {
		tb.Error(err)
	}
	return t
}

// Register registers a public client with the redirect URI and returns its id.
func (l *Local) Register(tb testing.TB, redirectURI string) string {
	tb.Helper()
	return register(tb, &oauthclient.Client{Endpoints: oauthclient.At(l.URL)}, l.client(Flow{RedirectURI: redirectURI}).Public("test"))
}

// Register registers a client (RFC 7591) and returns its client_id.
func (s *Stack) Register(tb testing.TB, metadata map[string]any) string {
	tb.Helper()
	return register(tb, &oauthclient.Client{Endpoints: oauthclient.At(s.URL), HTTP: s.Client()}, metadata)
}

func register(tb testing.TB, c *oauthclient.Client, metadata map[string]any) string {
	tb.Helper()
	answer, err := c.Register(tb.Context(), metadata)
	if err == nil {
		err = answer.Wanted(http.StatusCreated)
	}
	if err != nil {
		tb.Fatalf("register: %v", err)
	}
	return c.ID
}

// RegisterAs sends metadata to the registration endpoint.
func (l *Local) RegisterAs(tb testing.TB, metadata map[string]any) (status int, answer map[string]any) {
	tb.Helper()
	a, err := l.client(Flow{}).Register(tb.Context(), metadata)
	if err == nil {
		err = json.Unmarshal(a.Body, &answer)
	}
	if err != nil {
		tb.Fatalf("register: %v: %s", err, a.Body)
	}
	return a.Status, answer
}
