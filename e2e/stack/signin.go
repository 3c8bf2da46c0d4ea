package stack

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Register registers a public client with the redirect URI and returns its id.
func (l *Local) Register(tb testing.TB, redirectURI string) string {
	tb.Helper()
	body, _ := json.Marshal(map[string]any{
		"client_name": "test", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"},
	})
	res, err := http.Post(l.URL+"/register", "application/json", strings.NewReader(string(body)))
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var client struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&client); err != nil || res.StatusCode != http.StatusCreated {
		tb.Fatalf("register: status %d, %v", res.StatusCode, err)
	}
	return client.ID
}

// SignIn is an access token for user.
func (l *Local) SignIn(tb testing.TB, user string) string {
	tb.Helper()
	const redirectURI = "http://127.0.0.1:8975/callback"
	id, verifier := l.Register(tb, redirectURI), rand.Text()+rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	callback, err := NewBrowser(user).Approve(l.URL + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {id}, "redirect_uri": {redirectURI}, "state": {"s"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.PostForm(l.URL+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {callback.Query().Get("code")}, "client_id": {id},
		"redirect_uri": {redirectURI}, "code_verifier": {verifier},
	})
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&tokens); err != nil || tokens.Access == "" {
		tb.Fatalf("token: status %d, %v", res.StatusCode, err)
	}
	return tokens.Access
}
