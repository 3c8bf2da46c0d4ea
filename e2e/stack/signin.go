package stack

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"testing"
)

// Tokens are what the token endpoint answers with: tokens, or an error.
type Tokens struct {
	Status  int
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
	Error   string `json:"error"`
}

// Flow is an authorization code flow by hand, with what a test changes in it.
type Flow struct {
	ClientID, RedirectURI string
	// Extra are further parameters of the authorization request.
	Extra url.Values
}

// Start is the authorization URL of the flow, and the PKCE verifier to keep.
func (l *Local) Start(f Flow) (authorizationURL, verifier string) {
	verifier = rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {f.ClientID}, "redirect_uri": {f.RedirectURI}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	maps.Copy(q, f.Extra)
	return l.URL + "/authorize?" + q.Encode(), verifier
}

// SignInWith takes user through the flow; the callback is what the client is
// sent.
func (l *Local) SignInWith(tb testing.TB, user string, f Flow) (callback *url.URL, tokens Tokens) {
	tb.Helper()
	address, verifier := l.Start(f)
	callback, err := NewBrowser(user).Approve(address)
	if err != nil {
		tb.Fatal(err)
	}
	tokens = l.Token(tb, url.Values{
		"grant_type": {"authorization_code"}, "code": {callback.Query().Get("code")}, "client_id": {f.ClientID},
		"redirect_uri": {f.RedirectURI}, "code_verifier": {verifier},
	})
	if tokens.Status != http.StatusOK {
		tb.Fatalf("token: %+v", tokens)
	}
	return callback, tokens
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
	res, err := http.PostForm(l.URL+"/token", form)
	if err != nil {
		tb.Error(err)
		return Tokens{}
	}
	defer res.Body.Close()
	t := Tokens{Status: res.StatusCode}
	if err := json.NewDecoder(res.Body).Decode(&t); err != nil {
		tb.Error(err)
	}
	return t
}

// Register registers a public client with the redirect URI and returns its id.
func (l *Local) Register(tb testing.TB, redirectURI string) string {
	tb.Helper()
	status, answer := l.RegisterAs(tb, map[string]any{
		"client_name": "test", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"},
	})
	id, _ := answer["client_id"].(string)
	if status != http.StatusCreated || id == "" {
		tb.Fatalf("register: status %d, %v", status, answer)
	}
	return id
}

// RegisterAs sends metadata to the registration endpoint.
func (l *Local) RegisterAs(tb testing.TB, metadata map[string]any) (status int, answer map[string]any) {
	tb.Helper()
	body, err := json.Marshal(metadata)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.Post(l.URL+"/register", "application/json", bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		tb.Fatalf("register: %v: %s", err, text)
	}
	return res.StatusCode, answer
}
