package resource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/auth"

	"entramcp/handler/grants"
	"entramcp/handler/mcphttp"
	"entramcp/handler/oauth"
)

const (
	issuer      = "https://mcp.example.com"
	endpoint    = issuer + "/mcp"
	metadataURL = issuer + "/.well-known/oauth-protected-resource/mcp"
	baseline    = `scope="email openid profile", resource_metadata="` + metadataURL + `"`
)

var invalid = `Bearer error="invalid_token", error_description="The access token is not valid here, has expired or was revoked.", ` + baseline

// good is what the only good token grants.
var good = &grants.Access{
	Subject: "5ab1ec7", GrantID: "grant-1", ClientID: "client-1", TenantID: "tenant-1",
	Scopes: oauth.NewScopes("openid", "profile", "email", "offline_access", "Mail.Read"),
}

func options() Options {
	return Options{
		Verify: func(_ context.Context, raw string) (*grants.Access, error) {
			switch raw {
			case "good":
				return good, nil
			case "outage":
				return nil, oauth.Unavailable("The revocation list is stale.", 7*time.Second, errors.New("table down"))
			case "bug":
				return nil, errors.New("table down")
			}
			return nil, oauth.New(oauth.InvalidToken, "signature mismatch on epoch 7")
		},
		Issuer:   issuer,
		Resource: endpoint,
		Baseline: oauth.NewScopes("openid", "profile", "email", "offline_access"),
		ScopesFor: func(method, tool string) oauth.Scopes {
			if method == "tools/call" && tool == "send" {
				return oauth.NewScopes("Mail.Read", "Mail.Send")
			}
			if method == "tools/call" && tool == "wipe" {
				return oauth.NewScopes("Admin.All")
			}
			if method == "prompts/get" && tool == "secret" || method == "resources/read" && tool == "notes://mine" {
				return oauth.NewScopes("Notes.Read")
			}
			return nil
		},
		Admit: func(http.ResponseWriter, *http.Request) bool { return true },
		Log:   slog.New(slog.DiscardHandler),
	}
}

// reached answers 200 with the body it got.
var reached = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })

func request(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func do(o Options, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	New(o).Protect(reached).ServeHTTP(w, r)
	return w
}

func challenges(w *httptest.ResponseRecorder) string {
	return strings.Join(w.Header().Values("WWW-Authenticate"), " | ")
}

var methods = []string{"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"}

func TestEveryMethodIsChallengedBeforeAnythingElse(t *testing.T) {
	for _, method := range methods {
		t.Run(method, func(t *testing.T) {
			w := do(options(), request(method, endpoint, "not JSON at all", "Content-Type", "text/plain"))
			if w.Code != http.StatusUnauthorized || challenges(w) != "Bearer "+baseline {
				t.Errorf("got %d %s", w.Code, challenges(w))
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	for name, test := range map[string]struct {
		target    string
		header    []string
		status    int
		challenge string
	}{
		"none":                      {endpoint, nil, 401, "Bearer " + baseline},
		"another scheme":            {endpoint, []string{"Authorization", "Basic Zm9vOmJhcg=="}, 401, "Bearer " + baseline},
		"scheme without a token":    {endpoint, []string{"Authorization", "Bearer"}, 401, "Bearer " + baseline},
		"scheme and spaces":         {endpoint, []string{"Authorization", "Bearer   "}, 401, "Bearer " + baseline},
		"lower-case scheme":         {endpoint, []string{"Authorization", "bearer good"}, 200, ""},
		"upper-case scheme":         {endpoint, []string{"Authorization", "BEARER good"}, 200, ""},
		"good":                      {endpoint, []string{"Authorization", "Bearer good"}, 200, ""},
		"doubled space":             {endpoint, []string{"Authorization", "Bearer  good "}, 200, ""},
		"forged":                    {endpoint, []string{"Authorization", "Bearer forged"}, 401, invalid},
		"two headers":               {endpoint, []string{"Authorization", "Bearer good", "Authorization", "Bearer good"}, 400, "invalid_request"},
		"two headers, one is Basic": {endpoint, []string{"Authorization", "Basic eA==", "Authorization", "Bearer good"}, 400, "invalid_request"},
		"two tokens":                {endpoint, []string{"Authorization", "Bearer good good"}, 400, "invalid_request"},
		"joined headers":            {endpoint, []string{"Authorization", "Bearer good,Bearer good"}, 400, "invalid_request"},
		"endless token":             {endpoint, []string{"Authorization", "Bearer " + strings.Repeat("a", 60<<10)}, 401, invalid},
		"token in the query":        {endpoint + "?access_token=good", nil, 401, "Bearer " + baseline},
		"query and header":          {endpoint + "?access_token=forged", []string{"Authorization", "Bearer good"}, 200, ""},
		"query and a forged header": {endpoint + "?access_token=good", []string{"Authorization", "Bearer forged"}, 401, invalid},
		"another query":             {endpoint + "?code=1", []string{"Authorization", "Bearer good"}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := do(options(), request("POST", test.target, "", test.header...))
			if w.Code != test.status {
				t.Fatalf("status %d, want %d", w.Code, test.status)
			}
			want := test.challenge
			if w.Code == 400 {
				want = `Bearer error="invalid_request", `
				if !strings.HasPrefix(challenges(w), want) || !strings.HasSuffix(challenges(w), baseline) {
					t.Errorf("challenge %s", challenges(w))
				}
			} else if challenges(w) != want {
				t.Errorf("challenge %s, want %s", challenges(w), want)
			}
		})
	}
}

func TestTokenInAFormBodyIsNotLookedFor(t *testing.T) {
	w := do(options(), request("POST", endpoint, "access_token=good", "Content-Type", "application/x-www-form-urlencoded"))
	if w.Code != http.StatusUnauthorized || challenges(w) != "Bearer "+baseline {
		t.Errorf("got %d %s", w.Code, challenges(w))
	}
}

func TestRefusalsTellNothingOfTheVerifier(t *testing.T) {
	w := do(options(), request("POST", endpoint, "", "Authorization", "Bearer forged"))
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"error": "invalid_token", "error_description": "The access token is not valid here, has expired or was revoked."}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Error(w.Header())
	}
}

func TestUnknownOutcomeIs503WithoutAChallenge(t *testing.T) {
	for token, retry := range map[string]string{"outage": "7", "bug": "1"} {
		w := do(options(), request("POST", endpoint, "", "Authorization", "Bearer "+token))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != retry || challenges(w) != "" {
			t.Errorf("%s: got %d, Retry-After %s, %s", token, w.Code, w.Header().Get("Retry-After"), challenges(w))
		}
		if strings.Contains(w.Body.String(), "table down") {
			t.Error("the cause is in the answer")
		}
	}
}

func rpc(method, tool string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{"name":%q,"arguments":{}}}`, method, tool)
}

func TestLackingScopeIs403InEveryRevision(t *testing.T) {
	const modern, legacy, first = "2026-07-28", "2025-11-25", "2025-03-26"
	for name, test := range map[string]struct {
		revision, method, tool, body string
		want                         string // scope of the challenge; "" is let through
	}{
		"modern":                            {modern, "tools/call", "send", rpc("tools/call", "send"), "Mail.Read Mail.Send email openid profile"},
		"modern, harmless":                  {modern, "tools/call", "hello", rpc("tools/call", "hello"), ""},
		"modern, by its headers":            {modern, "tools/call", "send", rpc("tools/call", "hello"), "Mail.Read Mail.Send email openid profile"},
		"legacy":                            {legacy, "", "", rpc("tools/call", "send"), "Mail.Read Mail.Send email openid profile"},
		"legacy, as large as it may be":     {legacy, "", "", rpc("tools/call", "send") + strings.Repeat(" ", mcphttp.MaxBody-len(rpc("tools/call", "send"))), "Mail.Read Mail.Send email openid profile"},
		"legacy, harmless":                  {legacy, "", "", rpc("tools/call", "hello"), ""},
		"legacy, other method":              {legacy, "", "", rpc("prompts/get", "send"), ""},
		"prompt":                            {legacy, "", "", rpc("prompts/get", "secret"), "Mail.Read Notes.Read email openid profile"},
		"resource":                          {legacy, "", "", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"notes://mine"}}`, "Mail.Read Notes.Read email openid profile"},
		"another resource":                  {legacy, "", "", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"notes://open"}}`, ""},
		"no revision":                       {"", "", "", rpc("tools/call", "send"), "Mail.Read Mail.Send email openid profile"},
		"legacy with headers that lie":      {legacy, "tools/call", "hello", rpc("tools/call", "send"), "Mail.Read Mail.Send email openid profile"},
		"escaped name":                      {legacy, "", "", `{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"name":"\u0073end"}}`, "Mail.Read Mail.Send email openid profile"},
		"batch, last element":               {first, "", "", "[" + rpc("ping", "") + "," + rpc("tools/call", "wipe") + "]", "Admin.All Mail.Read email openid profile"},
		"batch, several: one challenge":     {first, "", "", "\n [" + rpc("tools/call", "send") + "," + rpc("tools/call", "wipe") + "]", "Admin.All Mail.Read Mail.Send email openid profile"},
		"notification":                      {legacy, "", "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, ""},
		"response":                          {legacy, "", "", `{"jsonrpc":"2.0","id":1,"result":{}}`, ""},
		"members in capitals":               {legacy, "", "", `{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","params":{"Name":"send"}}`, ""},
		"second value, which nobody reads":  {legacy, "", "", rpc("ping", "") + rpc("tools/call", "send"), ""},
		"call before a second value":        {legacy, "", "", rpc("tools/call", "send") + " x", "Mail.Read Mail.Send email openid profile"},
		"duplicate name, the last one wins": {legacy, "", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello","name":"send"}}`, "Mail.Read Mail.Send email openid profile"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("POST", endpoint, test.body, "Authorization", "Bearer good", "Content-Type", "application/json")
			for header, value := range map[string]string{"MCP-Protocol-Version": test.revision, "Mcp-Method": test.method, "Mcp-Name": test.tool} {
				if value != "" {
					r.Header.Set(header, value)
				}
			}
			w := do(options(), r)
			if test.want == "" {
				if w.Code != http.StatusOK || w.Body.String() != test.body {
					t.Fatalf("got %d with body %q", w.Code, w.Body)
				}
				return
			}
			got := challenges(w)
			if w.Code != http.StatusForbidden || !strings.HasPrefix(got, `Bearer error="insufficient_scope", error_description="This operation needs the scope`) ||
				!strings.HasSuffix(got, `", scope="`+test.want+`", resource_metadata="`+metadataURL+`"`) {
				t.Errorf("got %d %s, want the scopes %s", w.Code, got, test.want)
			}
		})
	}
}

func TestWhatTheGuardCannotReadIsNotLetThrough(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":             "{{{",
		"cut off":             `{"jsonrpc":"2.0","method":"tools/call"`,
		"byte order mark":     "\ufeff" + rpc("tools/call", "send"),
		"a number":            "7",
		"batch of numbers":    "[7]",
		"batch cut off":       "[" + rpc("ping", ""),
		"batch, no comma":     "[" + rpc("ping", "") + rpc("tools/call", "send") + "]",
		"method is no string": `{"jsonrpc":"2.0","id":1,"method":7}`,
		"resource, no object": `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":["notes://mine"]}`,
		"URI is no string":    `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":["notes://mine"]}}`,
		"params is no object": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}`,
		"null after a tool":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send","name":null}}`,
		"null after a method": `{"jsonrpc":"2.0","id":1,"method":"tools/call","method":null,"params":{"name":"send"}}`,
		"tool is no string":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["send"]}}`,
	} {
		w := do(options(), request("POST", endpoint, body, "Authorization", "Bearer good"))
		want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"The body is not a JSON-RPC message."}}` + "\n"
		if w.Code != http.StatusBadRequest || w.Body.String() != want {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

func TestBatchIsNoWayAroundLimitsOfRequests(t *testing.T) {
	batch := func(calls int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(rpc("tools/call", "hello")+",", calls), ",") + "]"
	}
	if w := do(options(), request("POST", endpoint, batch(maxBatch), "Authorization", "Bearer good")); w.Code != http.StatusOK {
		t.Errorf("%d calls: got %d %s", maxBatch, w.Code, w.Body)
	}
	w := do(options(), request("POST", endpoint, batch(maxBatch+1), "Authorization", "Bearer good"))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "-32600") {
		t.Errorf("%d calls: got %d %s", maxBatch+1, w.Code, w.Body)
	}
}

func TestTokenWithoutTheBaselineIs403(t *testing.T) {
	o := options()
	o.Baseline = oauth.NewScopes("openid", "mcp.access")
	w := do(o, request("GET", endpoint, "", "Authorization", "Bearer good"))
	if w.Code != http.StatusForbidden || !strings.Contains(challenges(w), `scope="Mail.Read email mcp.access openid profile"`) {
		t.Errorf("got %d %s", w.Code, challenges(w))
	}
}

// TestTheAnswerNamesTheScopeThatIsMissing: the body is all that many clients
// show.
func TestTheAnswerNamesTheScopeThatIsMissing(t *testing.T) {
	for body, want := range map[string]string{
		rpc("tools/call", "send"): "This operation needs the scope Mail.Send, which was not granted. Connect to the server again and approve what it asks for.",
		"[" + rpc("tools/call", "send") + "," + rpc("tools/call", "wipe") + "]": "This operation needs the scopes Admin.All Mail.Send, which were not granted. Connect to the server again and approve what it asks for.",
	} {
		w := do(options(), request("POST", endpoint, body, "Authorization", "Bearer good"))
		var answer map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer["error"] != "insufficient_scope" || answer["error_description"] != want {
			t.Errorf("got %s, want %s", w.Body, want)
		}
		if !strings.Contains(challenges(w), want) {
			t.Errorf("the challenge says otherwise: %s", challenges(w))
		}
	}
}

func TestARefusedToolIsOneAuditEvent(t *testing.T) {
	var out bytes.Buffer
	o := options()
	o.Log = slog.New(slog.NewJSONHandler(&out, nil))
	do(o, request("POST", endpoint, "["+rpc("tools/call", "hello")+","+rpc("tools/call", "send")+","+rpc("tools/call", "wipe")+"]", "Authorization", "Bearer good"))
	if n := strings.Count(out.String(), `"category":"audit"`); n != 1 {
		t.Fatalf("%d events in %s", n, &out)
	}
	for _, want := range []string{`"event":"tool_refused"`, `"client_id":"client-1"`, `"grant_id":"grant-1"`, `"subject":"5ab1ec7"`, `"tenant":"tenant-1"`, `"scopes":["Admin.All","Mail.Send"]`, `"tool":"send"`, `"reason":"insufficient_scope"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, &out)
		}
	}
}

// TestNoScopeIsAskedForWhereNoneIsNeeded: scope="" is not of RFC 6749 §3.3.
func TestNoScopeIsAskedForWhereNoneIsNeeded(t *testing.T) {
	o := options()
	o.Baseline = nil
	if got, want := challenges(do(o, request("POST", endpoint, ""))), `Bearer resource_metadata="`+metadataURL+`"`; got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
}

// TestNoErrorWhereNoTokenWasSent: RFC 6750 §3.1, in the body as in the header.
func TestNoErrorWhereNoTokenWasSent(t *testing.T) {
	w := do(options(), request("POST", endpoint, ""))
	var answer map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer["error"] != "" || answer["error_description"] != "No access token was sent. Sign in first." {
		t.Errorf("got %s, %v", w.Body, err)
	}
}

// TestAnotherNameOfTheServerIsCorrected: a client that was given it refuses our
// metadata (RFC 9728 §3.3), and its user has to know why.
func TestAnotherNameOfTheServerIsCorrected(t *testing.T) {
	for host, corrected := range map[string]bool{
		"mcp.example.com": false, "MCP.example.com:443": false,
		"mcp.example.com:8443": true, "127.0.0.1:7071": true, "localhost": true, "func.azurewebsites.net": true,
	} {
		o := options()
		o.AllowedHosts = []string{"func.azurewebsites.net"}
		r := request("POST", "/mcp", "")
		r.Host = host
		w := do(o, r)
		if got := strings.Contains(w.Body.String(), "The address of this server is "+endpoint); w.Code != http.StatusUnauthorized || got != corrected {
			t.Errorf("%s: %d %s", host, w.Code, w.Body)
		}
	}
}

func TestTokensAreNeverLogged(t *testing.T) {
	var out bytes.Buffer
	o := options()
	o.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, header := range []string{"Bearer s3cr3t", "Bearer s3cr3t s3cr3t", "Basic s3cr3t"} {
		do(o, request("POST", endpoint+"?access_token=s3cr3t", "", "Authorization", header))
		do(o, request("POST", endpoint, "", "Authorization", header))
	}
	if out.Len() == 0 || strings.Contains(out.String(), "s3cr3t") {
		t.Errorf("logged %s", &out)
	}
}

// TestABodyThatBreaksOffIsNotTakenForAWholeOne: the handler behind sees the
// same error, wherever it breaks off.
func TestABodyThatBreaksOffIsNotTakenForAWholeOne(t *testing.T) {
	broken := errors.New("connection reset")
	whole := rpc("tools/call", "hello")
	for _, sent := range []string{"", whole[:len(whole)/2], whole} {
		r := request("POST", endpoint, "", "Authorization", "Bearer good")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(sent), iotest.ErrReader(broken)))
		var read []byte
		var err error
		New(options()).Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			read, err = io.ReadAll(r.Body)
		})).ServeHTTP(httptest.NewRecorder(), r)
		if !errors.Is(err, broken) || string(read) != sent {
			t.Errorf("of %q the handler read %q, %v", sent, read, err)
		}
	}
}

// TestBodyOfAnySizeReachesTheHandler, which can read one that was judged again.
func TestBodyOfAnySizeReachesTheHandler(t *testing.T) {
	for _, size := range []int{0, 2, mcphttp.MaxBody, mcphttp.MaxBody + 1, mcphttp.MaxBody + 4096} {
		body := "{}"[:min(size, 2)] + strings.Repeat(" ", max(size-2, 0))
		twice := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reached(w, r)
			if again, whole := mcphttp.ReadBody(r).Whole(); whole {
				_, _ = w.Write(again)
			}
		})
		handler, want := twice, body+body
		if size > mcphttp.MaxBody {
			handler, want = reached, body
		}
		w := httptest.NewRecorder()
		New(options()).Protect(handler).ServeHTTP(w, request("POST", endpoint, body, "Authorization", "Bearer good"))
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("%d bytes: got %d, %d bytes", size, w.Code, w.Body.Len())
		}
	}
}

// TestABodyWithoutAMessageIsNotRead: that of GET and DELETE has no meaning.
func TestABodyWithoutAMessageIsNotRead(t *testing.T) {
	for _, method := range []string{"GET", "DELETE"} {
		if w := do(options(), request(method, endpoint, "{{{", "Authorization", "Bearer good")); w.Code != http.StatusOK || w.Body.String() != "{{{" {
			t.Errorf("%s: got %d %s", method, w.Code, w.Body)
		}
	}
}

// TestABodyThatIsTooLargeIsNotJudgedByItsBeginning: it is the SDK that refuses
// it, with its own status, and nobody takes the beginning for all of it.
func TestABodyThatIsTooLargeIsNotJudgedByItsBeginning(t *testing.T) {
	body := `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", mcphttp.MaxBody) + `"}`
	var judged bool
	var read []byte
	w := httptest.NewRecorder()
	New(options()).Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, judged = mcphttp.ReadBody(r).Whole()
		read, _ = io.ReadAll(r.Body)
	})).ServeHTTP(w, request("POST", endpoint, body, "Authorization", "Bearer good"))
	if w.Code != http.StatusOK || judged || string(read) != body {
		t.Errorf("%d, taken for whole %v, %d of %d bytes", w.Code, judged, len(read), len(body))
	}
}

func TestNewRefusesAResourceThatIsNoAbsoluteURL(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a guard of a path alone")
		}
	}()
	o := options()
	o.Resource = "/mcp"
	New(o)
}

func TestHandlersSeeTheAccessAndNoCredentials(t *testing.T) {
	var header http.Header
	var info *auth.TokenInfo
	w := httptest.NewRecorder()
	r := request("POST", endpoint, "", "Authorization", "Bearer good", "Cookie", "a=b", "Accept", "application/json",
		"X-MS-CLIENT-PRINCIPAL", "forged", "X-MS-CLIENT-PRINCIPAL-NAME", "admin", "X-MS-TOKEN-AAD-ACCESS-TOKEN", "forged")
	New(options()).Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header, info = r.Header, auth.TokenInfoFromContext(r.Context())
	})).ServeHTTP(w, r)
	if diff := cmp.Diff(http.Header{"Accept": {"application/json"}}, header); diff != "" {
		t.Error(diff)
	}
	if r.Header.Get("Authorization") == "" {
		t.Error("the caller's own request was changed")
	}
	if info == nil || !slices.Equal(info.Scopes, good.Scopes) || info.UserID != "5ab1ec7" || info.Extra[grants.AccessKey] != any(good) {
		t.Errorf("got %+v", info)
	}
	if w.Header().Get("X-Accel-Buffering") != "no" || w.Header().Get("Cache-Control") != "no-store" {
		t.Error(w.Header())
	}
}

func TestExpiryIsJudgedByTheVerifierAlone(t *testing.T) {
	o := options()
	o.Verify = func(context.Context, string) (*grants.Access, error) {
		late := *good
		late.Expires = time.Unix(0, 0)
		return &late, nil
	}
	if w := do(o, request("POST", endpoint, "", "Authorization", "Bearer x")); w.Code != http.StatusOK {
		t.Error(w.Code)
	}
}
