// The server as New wires it, with real grants.
package handler_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store/storetest"
	"entramcp/handler/toolkit"
)

const (
	mcpIssuer   = "http://localhost:7071"
	mcpResource = oauth.Resource(mcpIssuer + "/mcp")
	mcpRedirect = "http://localhost/callback"
	mcpVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

// served is the server as New wires it, on a table that counts.
type served struct {
	*handler.Server
	table  *storetest.Instrumented
	ring   *keyring.Ring
	grants *grants.Service
	now    time.Time
}

func serve(t testing.TB, env ...string) *served {
	t.Helper()
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(strings.Repeat("0123456789abcdef", 4))})
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"ENTRA_TENANT_ID": "contoso.onmicrosoft.com", "ENTRA_CLIENT_ID": "11111111-2222-3333-4444-555555555555", "ENTRA_CLIENT_SECRET": "not-a-secret",
		"REQUIRED_SCOPES": "openid,profile", "PUBLIC_URL": mcpIssuer,
	}
	for i := 0; i < len(env); i += 2 {
		settings[env[i]] = env[i+1]
	}
	cfg, err := config.Load(func(name string) string { return settings[name] })
	if err != nil {
		t.Fatal(err)
	}
	s := &served{table: storetest.Instrument(storetest.Embedded(t)), now: time.Now()}
	s.Server, err = handler.New(cfg, handler.Dependencies{
		Table: s.table, Wrapper: wrapper, Now: func() time.Time { return s.now },
		Catalogue: &toolkit.Catalogue{About: toolkit.About{Name: "test"}, Tools: []toolkit.Tool{
			toolkit.Define("send_mail", "Send mail.", func(context.Context, *toolkit.Caller, struct{}) (string, error) { return "sent", nil }, toolkit.RequireScopes("Mail.Send")),
			toolkit.Define("greet", "Greet someone.", func(_ context.Context, _ *toolkit.Caller, in greeting) (string, error) {
				return "Hello, " + in.Name + "!", nil
			}),
			toolkit.Define("large", "Answer with 100 kB.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
				return strings.Repeat("0123456789abcdef", 6400), nil
			}),
			toolkit.Define("identity", "Who is signed in.", func(ctx context.Context, caller *toolkit.Caller, _ struct{}) (map[string]string, error) {
				who, err := caller.Identity(ctx)
				return map[string]string{"name": who.Name, "username": who.Username, "tenant_id": who.TenantID}, err
			}),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.ring, s.grants = handler.Inside(s.Server)
	return s
}

// signIn is Ada's sign-in; the code is not redeemed.
func (d *served) signIn(t testing.TB, scopes ...string) grants.Code {
	t.Helper()
	sum := sha256.Sum256([]byte(mcpVerifier))
	code, err := d.grants.Create(t.Context(), grants.Authorization{
		ClientID: "client-1", RedirectURI: mcpRedirect, CodeChallenge: base64.RawURLEncoding.EncodeToString(sum[:]),
		Scopes:   oauth.NewScopes(append(scopes, "openid", "profile")...),
		Identity: grants.Identity{TenantID: "tenant", ObjectID: "ada", Name: "Ada Lovelace", Username: "ada@contoso.com", Roles: []string{"Reader"}},
		Upstream: grants.Upstream{RefreshToken: grants.EntraRefreshToken{Value: secret.New("entra-rt")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func (d *served) tokens(t testing.TB, scopes ...string) grants.Tokens {
	t.Helper()
	tokens, err := d.grants.Redeem(t.Context(), d.signIn(t, scopes...), grants.Redemption{ClientID: "client-1", RedirectURI: mcpRedirect, Verifier: mcpVerifier})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

const newestHello = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"},"_meta":{` +
	`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}`

// hello is one call of greet as a client of the newest revision sends it.
func (d *served) hello(token string) *httptest.ResponseRecorder {
	return d.ask(token, "2026-07-28", newestHello)
}

// ask sends a message as a client of the revision does; in the newest, it is a
// call of greet.
func (d *served) ask(token, revision, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, string(mcpResource), strings.NewReader(body))
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"Mcp-Protocol-Version": revision, "Mcp-Method": "tools/call", "Mcp-Name": "greet",
	} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

type greeting struct {
	Name string `json:"name"`
}

type withToken struct{ token grants.AccessToken }

func (b withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	return http.DefaultTransport.RoundTrip(r)
}

func TestSDKClientCallsToolsThroughTheGuardInEveryRevision(t *testing.T) {
	d := serve(t)
	server := httptest.NewServer(d)
	defer server.Close()
	token := d.tokens(t).Access
	for _, revision := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"} {
		t.Run(revision, func(t *testing.T) {
			session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
				&mcp.StreamableClientTransport{Endpoint: server.URL + "/mcp", HTTPClient: &http.Client{Transport: withToken{token}, Timeout: 20 * time.Second}},
				&mcp.ClientSessionOptions{ProtocolVersion: revision})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			if got := session.InitializeResult().ProtocolVersion; got != revision {
				t.Errorf("speaks %s", got)
			}
			list, err := session.ListTools(t.Context(), nil)
			if err != nil || len(list.Tools) != 4 {
				t.Fatalf("got %v, %v", list, err)
			}
			result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "greet", Arguments: map[string]any{"name": "Ada"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := result.Content[0].(*mcp.TextContent).Text; got != "Hello, Ada!" {
				t.Error(got)
			}
			who, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "identity"})
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := who.StructuredContent.(map[string]any); got["name"] != "Ada Lovelace" || got["username"] != "ada@contoso.com" || got["tenant_id"] != "tenant" {
				t.Errorf("got %v", who.StructuredContent)
			}
			if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "send_mail"}); err == nil {
				t.Error("a tool ran without its scope")
			}
		})
	}
}

// TestOnlyOurAccessTokensAreTaken presents everything else that a client, a
// thief or a forger may have.
func TestOnlyOurAccessTokensAreTaken(t *testing.T) {
	d := serve(t)
	tokens := d.tokens(t)
	if w := d.hello(tokens.Access.Reveal()); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Hello, Ada!") {
		t.Fatalf("the good token: %d %s", w.Code, w.Body)
	}
	kid, key, err := d.ring.Signing(t.Context(), keyring.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	entraKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	another := serve(t)
	another.now = d.now.Add(-time.Minute) // before our ring was last read
	revoked := d.tokens(t)
	if err := d.grants.Revoke(t.Context(), revoked.Refresh.Reveal(), "client-1"); err != nil {
		t.Fatal(err)
	}

	var claims jwt.MapClaims
	parts := strings.Split(tokens.Access.Reveal(), ".")
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	// sign makes a token that differs from a good one in what change does.
	sign := func(method jwt.SigningMethod, key any, change func(header map[string]any, claims jwt.MapClaims)) string {
		c := jwt.MapClaims{}
		maps.Copy(c, claims)
		token := jwt.NewWithClaims(method, c)
		token.Header["typ"], token.Header["kid"] = "at+jwt", kid
		if change != nil {
			change(token.Header, c)
		}
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	set := func(name string, value any) func(map[string]any, jwt.MapClaims) {
		return func(_ map[string]any, c jwt.MapClaims) { c[name] = value }
	}
	if w := d.hello(sign(jwt.SigningMethodHS256, key, nil)); w.Code != http.StatusOK {
		t.Fatalf("the forger's tools do not work: %d", w.Code)
	}
	for name, token := range map[string]string{
		"refresh token":        tokens.Refresh.Reveal(),
		"authorization code":   d.signIn(t).Reveal(),
		"another deployment's": another.tokens(t).Access.Reveal(),
		"revoked":              revoked.Access.Reveal(),
		"Entra's": sign(jwt.SigningMethodRS256, entraKey, func(h map[string]any, c jwt.MapClaims) {
			h["typ"] = "JWT"
			c["iss"] = "https://login.microsoftonline.com/tenant/v2.0"
			c["aud"] = "api://mcp"
		}),
		"RS256 under our kid":    sign(jwt.SigningMethodRS256, entraKey, nil),
		"alg none":               sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"stripped signature":     parts[0] + "." + parts[1] + ".",
		"another HMAC":           sign(jwt.SigningMethodHS512, key, nil),
		"another key":            sign(jwt.SigningMethodHS256, []byte("another key of thirty-two bytes!"), nil),
		"unknown kid":            sign(jwt.SigningMethodHS256, key, func(h map[string]any, _ jwt.MapClaims) { h["kid"] = "none" }),
		"no kid":                 sign(jwt.SigningMethodHS256, key, func(h map[string]any, _ jwt.MapClaims) { delete(h, "kid") }),
		"typ of an ID token":     sign(jwt.SigningMethodHS256, key, func(h map[string]any, _ jwt.MapClaims) { h["typ"] = "JWT" }),
		"audience of a sibling":  sign(jwt.SigningMethodHS256, key, set("aud", mcpIssuer+"/other")),
		"audience is the issuer": sign(jwt.SigningMethodHS256, key, set("aud", mcpIssuer)),
		"another issuer":         sign(jwt.SigningMethodHS256, key, set("iss", "http://evil.example")),
		"expired":                sign(jwt.SigningMethodHS256, key, set("exp", d.now.Add(-time.Hour).Unix())),
		"without expiry":         sign(jwt.SigningMethodHS256, key, func(_ map[string]any, c jwt.MapClaims) { delete(c, "exp") }),
		"issued in the future":   sign(jwt.SigningMethodHS256, key, set("iat", d.now.Add(time.Hour).Unix())),
		"changed payload":        parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), "client-1", "client-2", 1))) + "." + parts[2],
		"garbage":                "garbage",
		"undefined":              "undefined",
	} {
		t.Run(name, func(t *testing.T) {
			w := d.hello(token)
			if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer error="invalid_token", `) {
				t.Errorf("got %d %s", w.Code, w.Header().Get("WWW-Authenticate"))
			}
			if strings.Contains(w.Body.String(), "Hello") {
				t.Error("and was greeted")
			}
		})
	}
	t.Run("kept beyond its life", func(t *testing.T) {
		d.now = d.now.Add(tokens.ExpiresIn + 5*time.Minute)
		if w := d.hello(tokens.Access.Reveal()); w.Code != http.StatusUnauthorized {
			t.Errorf("got %d", w.Code)
		}
	})
}

func TestCallsDoNoStorageIO(t *testing.T) {
	d := serve(t)
	token := d.tokens(t).Access.Reveal()
	d.hello(token) // reads the list of revoked grants
	before := d.table.Count()
	for range 200 {
		if w := d.hello(token); w.Code != http.StatusOK {
			t.Fatal(w.Code)
		}
	}
	if got := d.table.Count() - before; got != 0 {
		t.Errorf("%d storage operations in 200 calls", got)
	}
}

// asked is what agents send most.
var asked = []struct{ name, revision, body, want string }{
	{"newest", "2026-07-28", newestHello, "Hello, Ada!"},
	{"earlier", "2025-06-18", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`, "Hello, Ada!"},
	{"list", "2025-06-18", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "send_mail"},
	{"initialize", "2025-06-18", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, "serverInfo"},
	{"large", "2025-06-18", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"large"}}`, "0123456789abcdef"},
}

// TestACallTakesFewBytes: what a call leaves behind is what the collector has to
// do. The bounds are about a tenth above what it takes, with the test's own request
// and recorder, which of a large result has two copies more; the race detector adds
// two thirds.
func TestACallTakesFewBytes(t *testing.T) {
	most := map[string]struct {
		kilobytes   uint64
		allocations float64
	}{"newest": {34, 392}, "earlier": {28, 305}, "list": {25, 240}, "initialize": {24, 242}, "large": {740, 284}}
	slack := 1.0
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		slack = 5.0 / 3
	}
	for _, tt := range asked {
		t.Run(tt.name, func(t *testing.T) {
			const calls = 200
			d := serve(t)
			token := d.tokens(t).Access.Reveal()
			run := func() {
				if w := d.ask(token, tt.revision, tt.body); w.Code != http.StatusOK {
					t.Fatal(w.Code)
				}
			}
			run() // what is made once
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			allocations := testing.AllocsPerRun(calls, run)
			runtime.ReadMemStats(&after)
			bytes := (after.TotalAlloc - before.TotalAlloc) / (calls + 1)
			t.Logf("%d bytes, %.0f allocations", bytes, allocations)
			if want := most[tt.name]; float64(bytes) > slack*float64(want.kilobytes<<10) || allocations > slack*want.allocations {
				t.Errorf("%d bytes and %.0f allocations, want at most %d kB and %.0f", bytes, allocations, want.kilobytes, want.allocations)
			}
		})
	}
}

// BenchmarkCall is each of them through the whole server.
func BenchmarkCall(b *testing.B) {
	for _, tt := range asked {
		b.Run(tt.name, func(b *testing.B) {
			d := serve(b)
			token := d.tokens(b).Access.Reveal()
			b.ReportAllocs()
			for b.Loop() {
				if w := d.ask(token, tt.revision, tt.body); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), tt.want) {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}
