package handler_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/dev/tenant"
	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
)

// recording is a table that an earlier version of the server wrote, and what
// its clients and browsers were holding at that moment. It was made by that
// version's own code: handler.New with the settings below, driven through its
// public endpoints under a clock that went from one key epoch to the next, with
// the simulated tenant as Entra. A recording is never edited; a later version
// that changes what it writes adds one of its own.
type recording struct {
	Commit   string            `json:"commit"`
	Recorded time.Time         `json:"recorded"`
	Settings map[string]string `json:"settings"`
	// Tenant is the simulated tenant's state: its keys and consents.
	Tenant   json.RawMessage `json:"tenant"`
	Verifier string          `json:"verifier"`
	Clients  map[string]struct {
		ID       string `json:"id"`
		Secret   string `json:"secret"`
		Key      []byte `json:"key"` // SEC 1
		Redirect string `json:"redirect_uri"`
	} `json:"clients"`
	Held map[string]struct {
		Client  string `json:"client"`
		Code    string `json:"code"`
		Refresh string `json:"refresh_token"`
		Earlier string `json:"earlier_refresh_token"`
		Access  string `json:"access_token"`
	} `json:"held"`
	// Pending are approved authorizations that have not come back from Entra.
	Pending map[string]struct {
		Client       string            `json:"client"`
		AuthorizeURL string            `json:"authorize_url"`
		Cookies      map[string]string `json:"cookies"`
	} `json:"pending"`
	UsedAssertion string `json:"used_assertion"`
	Rows          []struct {
		Partition string          `json:"partition"`
		Key       string          `json:"key"`
		Expires   time.Time       `json:"expires"`
		JSON      json.RawMessage `json:"json"`
		Text      string          `json:"text"`
	} `json:"rows"`
}

// upgraded is this version of the server on a recorded table.
type upgraded struct {
	recording
	*handler.Server
	t      *testing.T
	now    time.Time
	tenant *tenant.Tenant
}

func upgrade(t *testing.T, path string) *upgraded {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u := &upgraded{t: t}
	if err := json.Unmarshal(text, &u.recording); err != nil {
		t.Fatal(err)
	}
	u.now = u.Recorded
	clock := func() time.Time { return u.now }
	dir := t.TempDir()
	state := filepath.Join(dir, "tenant.json")
	if err := os.WriteFile(state, u.Tenant, 0o600); err != nil {
		t.Fatal(err)
	}
	if u.tenant, err = tenant.New(tenant.Options{BaseURL: u.Settings["ENTRA_AUTHORITY"], State: state, Now: clock}); err != nil {
		t.Fatal(err)
	}
	if err := u.tenant.Register(tenant.DefaultApp(u.Settings["ENTRA_CLIENT_SECRET"], u.Settings["PUBLIC_URL"]+"/auth/callback")); err != nil {
		t.Fatal(err)
	}
	table, err := embedded.Open(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close() })
	u.restore(table)
	cfg, err := config.Load(func(name string) string { return u.Settings[name] })
	if err != nil {
		t.Fatal(err)
	}
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(u.Settings["MASTER_KEY"])})
	if err != nil {
		t.Fatal(err)
	}
	u.Server, err = handler.New(cfg, handler.Dependencies{Table: table, Wrapper: wrapper, Now: clock, HTTPClient: u.tenant.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *upgraded) restore(table store.Table) {
	u.t.Helper()
	for _, r := range u.Rows {
		row := store.Row{Partition: r.Partition, Key: r.Key, Expires: r.Expires, Value: []byte(r.Text)}
		if r.JSON != nil {
			var value bytes.Buffer
			if err := json.Compact(&value, r.JSON); err != nil {
				u.t.Fatal(err)
			}
			row.Value = value.Bytes()
		}
		if _, err := table.Insert(u.t.Context(), row); err != nil {
			u.t.Fatal(err)
		}
	}
}

func (u *upgraded) serve(r *http.Request) (*http.Response, string) {
	u.t.Helper()
	w := httptest.NewRecorder()
	u.ServeHTTP(w, r)
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return resp, string(body)
}

// post sends a form as the named client authenticates.
func (u *upgraded) post(path, client string, form url.Values) (int, string) {
	u.t.Helper()
	c := u.Clients[client]
	form.Set("client_id", c.ID)
	if c.Key != nil && !form.Has("client_assertion") {
		form.Set("client_assertion", u.assertion(client))
	}
	if form.Has("client_assertion") {
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	r := httptest.NewRequest(http.MethodPost, u.Settings["PUBLIC_URL"]+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.Secret != "" {
		r.SetBasicAuth(c.ID, c.Secret)
	}
	resp, body := u.serve(r)
	return resp.StatusCode, body
}

func (u *upgraded) assertion(client string) string {
	u.t.Helper()
	c := u.Clients[client]
	key, err := x509.ParseECPrivateKey(c.Key)
	if err != nil {
		u.t.Fatal(err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": c.ID, "sub": c.ID, "aud": u.Settings["PUBLIC_URL"],
		"jti": rand.Text(), "iat": u.now.Unix(), "exp": u.now.Add(time.Minute).Unix()})
	token.Header["kid"] = "k1"
	text, err := token.SignedString(key)
	if err != nil {
		u.t.Fatal(err)
	}
	return text
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

func (u *upgraded) codeForm(client, code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {u.Verifier}, "redirect_uri": {u.Clients[client].Redirect}}
}

// tokens expects an answer with tokens, with which a call is answered, and
// refreshes once more.
func (u *upgraded) tokens(client string, form url.Values) {
	u.t.Helper()
	for range 2 {
		status, body := u.post("/token", client, form)
		var answer struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if err := json.Unmarshal([]byte(body), &answer); status != http.StatusOK || err != nil || answer.Refresh == "" {
			u.t.Fatalf("tokens: %d %s", status, body)
		}
		if status := u.call(answer.Access); status != http.StatusOK {
			u.t.Errorf("a call with the new token: %d", status)
		}
		form = refreshForm(answer.Refresh)
		u.now = u.now.Add(10 * time.Second)
	}
}

// refused expects invalid_grant.
func (u *upgraded) refused(client string, form url.Values) {
	u.t.Helper()
	if status, body := u.post("/token", client, form); status != http.StatusBadRequest || !strings.Contains(body, "invalid_grant") {
		u.t.Errorf("token: %d %s, want invalid_grant", status, body)
	}
}

// call is one MCP request.
func (u *upgraded) call(token string) int {
	u.t.Helper()
	r := httptest.NewRequest(http.MethodPost, u.Settings["PUBLIC_URL"]+config.MCPPath, strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	resp, _ := u.serve(r)
	return resp.StatusCode
}

// comeBack signs in at Entra where the pending authorization led, and follows
// the callback.
func (u *upgraded) comeBack(pending, user string) (*http.Response, string) {
	u.t.Helper()
	p := u.Pending[pending]
	back, err := tenant.SignIn(context.Background(), u.tenant.Client(), p.AuthorizeURL, user)
	if err != nil {
		u.t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, back, nil)
	for name, value := range p.Cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return u.serve(r)
}

// Nothing that anyone held when the server was upgraded is lost, and nothing
// that had ended comes back.
func TestUpgradeLosesNoSignIn(t *testing.T) {
	recordings, err := filepath.Glob("testdata/upgrade/*.json")
	if err != nil || len(recordings) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, path := range recordings {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) { upgradeKeeps(t, path) })
	}
}

func upgradeKeeps(t *testing.T, path string) {
	for name, part := range map[string]func(u *upgraded){
		"refresh tokens of every epoch and generation": func(u *upgraded) {
			for _, name := range []string{"unused since the first epoch", "refreshed in the second epoch", "of a client with a key", "of a client by document", "whose answer was lost"} {
				u.tokens(u.Held[name].Client, refreshForm(u.Held[name].Refresh))
			}
		},
		"a refresh whose answer was lost": func(u *upgraded) {
			u.tokens(u.Held["whose answer was lost"].Client, refreshForm(u.Held["whose answer was lost"].Earlier))
		},
		"a code": func(u *upgraded) {
			h := u.Held["not redeemed"]
			u.tokens(h.Client, u.codeForm(h.Client, h.Code))
		},
		"access tokens": func(u *upgraded) {
			for _, name := range []string{"of a client with a key", "whose answer was lost"} {
				if status := u.call(u.Held[name].Access); status != http.StatusOK {
					u.t.Errorf("%s: %d", name, status)
				}
			}
		},
		"registrations and documents": func(u *upgraded) {
			for name, c := range u.Clients {
				q := url.Values{"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {c.Redirect}, "code_challenge_method": {"S256"},
					"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "resource": {u.Settings["PUBLIC_URL"] + config.MCPPath}}
				resp, body := u.serve(httptest.NewRequest(http.MethodGet, u.Settings["PUBLIC_URL"]+"/authorize?"+q.Encode(), nil))
				if resp.StatusCode != http.StatusOK {
					u.t.Errorf("authorize, client %s: %d %s", name, resp.StatusCode, body)
				}
			}
		},
		"a sign-in that was at Entra": func(u *upgraded) {
			resp, body := u.comeBack("plain", tenant.Alice)
			client := u.Pending["plain"].Client
			to, err := url.Parse(resp.Header.Get("Location"))
			if err != nil || !strings.HasPrefix(to.String(), u.Clients[client].Redirect) || to.Query().Get("code") == "" || to.Query().Get("state") != "client-state" {
				u.t.Fatalf("callback: %d %q %s", resp.StatusCode, to, body)
			}
			u.tokens(client, u.codeForm(client, to.Query().Get("code")))
		},
		"a claims challenge": func(u *upgraded) {
			resp, body := u.comeBack("with a claims challenge", tenant.Bob)
			if !strings.Contains(resp.Header.Get("Location")+body, "claims=%7B%22access_token") {
				u.t.Errorf("callback: %d %s %s, want Entra with the challenge", resp.StatusCode, resp.Header.Get("Location"), body)
			}
		},
		"what was revoked": func(u *upgraded) {
			for _, name := range []string{"revoked", "revoked by half"} {
				h := u.Held[name]
				if status := u.call(h.Access); status != http.StatusUnauthorized {
					u.t.Errorf("a call with the token of a grant %s: %d", name, status)
				}
				u.refused(h.Client, refreshForm(h.Refresh))
			}
		},
		"theft that shows later": func(u *upgraded) {
			h := u.Held["whose earlier token is shown again"]
			u.refused(h.Client, refreshForm(h.Earlier))
			u.refused(h.Client, refreshForm(h.Refresh))
		},
		"assertions that were used": func(u *upgraded) {
			h := u.Held["of a client with a key"]
			form := refreshForm(h.Refresh)
			form.Set("client_assertion", u.UsedAssertion)
			if status, body := u.post("/token", h.Client, form); status != http.StatusUnauthorized {
				u.t.Errorf("a used assertion: %d %s", status, body)
			}
			u.tokens(h.Client, refreshForm(h.Refresh))
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := upgrade(t, path)
			u.t = t
			part(u)
		})
	}
}
