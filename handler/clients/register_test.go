package clients

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// What clients that people use send to /register, and what must come of it.
var realRegistrations = []struct {
	name, body string
	redirects  []string
	method     string
	native     bool
}{
	{"Cursor", `{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback","https://www.cursor.com/agents/mcp/oauth/callback","http://localhost:8787/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		[]string{"cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"}, AuthNone, false},
	{"VisualStudioCode", `{"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com","grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"scope":"openid profile","token_endpoint_auth_method":"none","application_type":"native"}`,
		[]string{"https://insiders.vscode.dev/redirect", "https://vscode.dev/redirect", "http://127.0.0.1/", "http://127.0.0.1:33418/"}, AuthNone, true},
	{"McpRemote", `{"redirect_uris":["http://localhost:17493/oauth/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_name":"MCP CLI Proxy","client_uri":"https://github.com/modelcontextprotocol/mcp-cli","software_id":"2e6dc280-f3c3-4e01-99a7-8181dbd1d23d","software_version":"0.15.1","application_type":"native"}`,
		[]string{"http://localhost:17493/oauth/callback"}, AuthNone, true},
	{"InspectorWeb", `{"redirect_uris":["http://localhost:6274/oauth/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_name":"MCP Inspector","client_uri":"https://github.com/modelcontextprotocol/inspector","application_type":"native","scope":""}`,
		[]string{"http://localhost:6274/oauth/callback"}, AuthNone, true},
	{"InspectorCLI", `{"redirect_uris":["http://127.0.0.1:6276/oauth/callback"],"token_endpoint_auth_method":"none","client_name":"MCP Inspector"}`,
		[]string{"http://127.0.0.1:6276/oauth/callback"}, AuthNone, true},
	{"ClaudeAI", `{"client_name":"Claude","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_post","scope":"openid","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}`,
		[]string{"https://claude.ai/api/mcp/auth_callback"}, AuthSecretPost, false},
	{"ClaudeCode", `{"client_name":"Claude Code (my-server)","redirect_uris":["http://localhost:3118/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"openid profile email"}`,
		[]string{"http://localhost:3118/callback"}, AuthNone, true},
	{"Codex", `{"client_name":"Codex","redirect_uris":["http://127.0.0.1:51234/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","response_types":["code"]}`,
		[]string{"http://127.0.0.1:51234/callback"}, AuthNone, true},
	{"ChatGPT", `{"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector_platform_oauth_redirect"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`,
		[]string{"https://chatgpt.com/connector_platform_oauth_redirect"}, AuthNone, false},
	{"Gemini", `{"client_name":"Gemini CLI MCP Client","redirect_uris":["http://localhost:7777/oauth/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","scope":"openid profile email offline_access"}`,
		[]string{"http://localhost:7777/oauth/callback"}, AuthNone, true},
	{"N8n", `{"client_name":"n8n","redirect_uris":["https://oauth.n8n.cloud/oauth2/callback"],"token_endpoint_auth_method":"client_secret_basic"}`,
		[]string{"https://oauth.n8n.cloud/oauth2/callback"}, AuthSecretBasic, false},
	{"PythonSDK", `{"redirect_uris":["http://localhost:3030/callback"],"token_endpoint_auth_method":null,"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"scope":null,"client_name":"Simple Auth Client","client_uri":null,"contacts":null,"jwks":null,"application_type":"native"}`,
		[]string{"http://localhost:3030/callback"}, AuthNone, true},
}

func TestRealClientsRegister(t *testing.T) {
	for _, tt := range realRegistrations {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry(t, Options{})
			reg := register(t, r, tt.body)
			if !slices.Equal(reg.RedirectURIs, tt.redirects) {
				t.Errorf("redirect URIs %q, want %q", reg.RedirectURIs, tt.redirects)
			}
			if reg.AuthMethod != tt.method || reg.Secret.IsZero() != (tt.method == AuthNone) || (reg.SecretExpiresAt == 0) != reg.Secret.IsZero() {
				t.Errorf("method %s with a secret: %v, want %s", reg.AuthMethod, !reg.Secret.IsZero(), tt.method)
			}
			if (reg.ApplicationType == "native") != tt.native {
				t.Errorf("application type %s", reg.ApplicationType)
			}
			if !slices.Equal(reg.GrantTypes, GrantTypes()) || !slices.Equal(reg.ResponseTypes, []string{"code"}) {
				t.Errorf("grants %q, responses %q", reg.GrantTypes, reg.ResponseTypes)
			}
			c := lookup(t, r, reg.ClientID)
			for _, uri := range tt.redirects {
				if !c.Allows(uri) {
					t.Errorf("%s is not allowed", uri)
				}
			}
		})
	}
}

func TestRegistrationAnswersWithWhatWasRegistered(t *testing.T) {
	r := newRegistry(t, Options{Now: clocktest.New().Now})
	reg := register(t, r, `{"redirect_uris":["http://localhost/cb","ftp://x/y"],"client_name":" A\u202e b ","grant_types":["authorization_code","client_credentials"],"response_types":["code","token"],"scope":["b","a"],"contacts":["x"],"logo_uri":"https://x/y.png","unknown":{}}`)
	got := asJSON(t, reg)
	want := `{"client_id":"` + reg.ClientID + `","client_id_issued_at":1795435200,"client_name":"A b","redirect_uris":["http://localhost/cb"],"token_endpoint_auth_method":"none","grant_types":["authorization_code"],"response_types":["code"],"application_type":"native","scope":"a b"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRegistrationWithASecretAnswersWithItOnce(t *testing.T) {
	table := openTable(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	body := `{"redirect_uris":["https://app.example/cb"],"client_name":"App"}`
	a, b := register(t, r, body), register(t, r, body)
	if a.ClientID == b.ClientID || a.Secret.Equal(b.Secret.Value) {
		t.Error("two confidential registrations share an id or a secret")
	}
	if a.AuthMethod != AuthSecretBasic || len(a.Secret.Reveal()) != 43 {
		t.Errorf("method %s, secret of %d characters", a.AuthMethod, len(a.Secret.Reveal()))
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(asJSON(t, a)), &answer); err != nil {
		t.Fatal(err)
	}
	if answer["client_secret"] != a.Secret.Reveal() {
		t.Errorf("answer %v", answer)
	}
	// An unused registration expires, and its secret with it.
	if expires := clock.Now().Add(unusedLife).Unix(); answer["client_secret_expires_at"] != float64(expires) {
		t.Errorf("client_secret_expires_at is %v, want %d", answer["client_secret_expires_at"], expires)
	}
	row := storetest.MustGet(t, table, partition(a.ClientID), a.ClientID)
	if strings.Contains(string(row.Value), a.Secret.Reveal()) {
		t.Error("the secret is stored in clear")
	}
}

func TestUndeclaredAuthenticationFitsTheClient(t *testing.T) {
	r := newRegistry(t, Options{})
	for body, want := range map[string]string{
		`{"redirect_uris":["http://localhost/cb"]}`:                                  AuthNone,
		`{"redirect_uris":["workbuddy://x/cb","http://127.0.0.1/cb"]}`:               AuthNone,
		`{"redirect_uris":["https://a.example/cb"],"application_type":"native"}`:     AuthNone,
		`{"redirect_uris":["https://a.example/cb"]}`:                                 AuthSecretBasic,
		`{"redirect_uris":["https://a.example/cb","http://localhost/cb"]}`:           AuthSecretBasic,
		`{"redirect_uris":["http://localhost/cb"],"application_type":"web"}`:         AuthSecretBasic,
		`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":""}`: AuthSecretBasic,
	} {
		if got := register(t, r, body).AuthMethod; got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

func TestSamePublicMetadataIsOneClientAndOneRow(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		body := realRegistrations[0].body
		instances := []*Registry{newRegistry(t, Options{Table: table}), newRegistry(t, Options{Table: table})}
		ids := make([]string, 16)
		var group sync.WaitGroup
		for i := range ids {
			group.Go(func() {
				reg, err := instances[i%2].Register(context.Background(), "application/json", strings.NewReader(body))
				if err != nil {
					t.Error(err)
				}
				ids[i] = reg.ClientID
			})
		}
		group.Wait()
		if slices.Sort(ids); len(slices.Compact(ids)) != 1 {
			t.Errorf("ids %q", ids)
		}
		if n := countRows(t, table, "c-"); n != 1 {
			t.Errorf("%d rows", n)
		}
		other := register(t, instances[0], strings.Replace(body, `"Cursor"`, `"Cursor 2"`, 1))
		if other.ClientID == ids[0] {
			t.Error("other metadata has the same id")
		}
	})
}

func TestClientIDNeverLooksLikeAURL(t *testing.T) {
	r := newRegistry(t, Options{})
	for _, tt := range realRegistrations {
		if id := register(t, r, tt.body).ClientID; !idPattern.MatchString(id) || strings.Contains(id, ":") {
			t.Errorf("%s: id %s", tt.name, id)
		}
	}
}

func TestRegistrationRefusals(t *testing.T) {
	r := newRegistry(t, Options{})
	for name, tt := range map[string]struct {
		body string
		code oauth.Code
		text string
	}{
		"empty":                   {``, oauth.InvalidClientMetadata, "JSON"},
		"null":                    {`null`, oauth.InvalidClientMetadata, "JSON"},
		"array":                   {`[]`, oauth.InvalidClientMetadata, "JSON"},
		"trailing":                {`{"redirect_uris":["https://a.example/"]} x`, oauth.InvalidClientMetadata, "JSON"},
		"too long":                {`{"redirect_uris":["https://a.example/"],"x":"` + strings.Repeat("x", maxDocument) + `"}`, oauth.InvalidClientMetadata, "16384"},
		"no redirect URIs":        {`{}`, oauth.InvalidRedirectURI, "redirect_uris"},
		"redirect URI is a text":  {`{"redirect_uris":"https://a.example/"}`, oauth.InvalidRedirectURI, "redirect_uris"},
		"too many redirect URIs":  {`{"redirect_uris":["https://a.example/"` + strings.Repeat(`,"https://a.example/"`, maxRedirectURIs) + `]}`, oauth.InvalidRedirectURI, "50"},
		"names the first bad one": {`{"redirect_uris":["javascript:alert(1)","file:///etc"]}`, oauth.InvalidRedirectURI, "'javascript:alert(1)'"},
		"says why":                {`{"redirect_uris":["http://app.example/cb"]}`, oauth.InvalidRedirectURI, "use https"},
		"much to store":           {`{"redirect_uris":["https://a.example/1` + strings.Repeat("x", 2000) + `","https://a.example/2` + strings.Repeat("x", 2000) + `","https://a.example/3` + strings.Repeat("x", 2000) + `","https://a.example/4` + strings.Repeat("x", 2000) + `","https://a.example/5` + strings.Repeat("x", 2000) + `"]}`, oauth.InvalidClientMetadata, "8192"},
		"implicit only":           {`{"redirect_uris":["https://a.example/"],"grant_types":["implicit"]}`, oauth.InvalidClientMetadata, "authorization_code"},
		"token only":              {`{"redirect_uris":["https://a.example/"],"response_types":["token"]}`, oauth.InvalidClientMetadata, "code"},
		"client_secret_jwt":       {`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"client_secret_jwt"}`, oauth.InvalidClientMetadata, "private_key_jwt"},
		"private_key_jwt no keys": {`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt"}`, oauth.InvalidClientMetadata, "jwks"},
		"jwks_uri on http":        {`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"http://a.example/k"}`, oauth.InvalidClientMetadata, "https"},
		"symmetric jwks":          {`{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}}`, oauth.InvalidClientMetadata, "symmetric"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Register(context.Background(), "application/json", strings.NewReader(tt.body))
			if refusal := wantCode(t, err, tt.code); !strings.Contains(refusal.Description, tt.text) {
				t.Errorf("description %q does not say %q", refusal.Description, tt.text)
			}
		})
	}
}

// No web page can send application/json to another origin unasked.
func TestARegistrationOfAnotherContentTypeIsRefused(t *testing.T) {
	r := newRegistry(t, Options{})
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", "application/json;;"} {
		_, err := r.Register(t.Context(), contentType, strings.NewReader(realRegistrations[0].body))
		wantCode(t, err, oauth.InvalidRequest)
	}
	if _, err := r.Register(t.Context(), "Application/JSON; charset=utf-8", strings.NewReader(realRegistrations[0].body)); err != nil {
		t.Error(err)
	}
}

// What was read of it may be a whole object, with other redirect URIs to come.
func TestARegistrationThatBreaksOffIsRefused(t *testing.T) {
	r := newRegistry(t, Options{})
	whole := realRegistrations[0].body
	for want, body := range map[string]io.Reader{
		"completely": io.MultiReader(strings.NewReader(whole), iotest.ErrReader(errors.New("10.0.0.1: reset"))),
		"16384":      http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(whole+" ")), int64(len(whole))),
	} {
		_, err := r.Register(t.Context(), "application/json", body)
		if refusal := wantCode(t, err, oauth.InvalidClientMetadata); !strings.Contains(refusal.Description, want) || strings.Contains(refusal.Description, "10.0.0.1") {
			t.Errorf("description %q does not say %q", refusal.Description, want)
		}
	}
}

func TestDecorativeMetadataThatDoesNotFitIsLeftOut(t *testing.T) {
	r := newRegistry(t, Options{})
	half := strings.Repeat("x", maxScope/2)
	for members, want := range map[string]metadata{
		`"scope":["a","b"],"software_id":"x 1","client_uri":"https://a.example/","client_name":"A"`: {Scope: "a b", SoftwareID: "x 1", URI: "https://a.example/", Name: "A"},
		`"scope":["` + half + `","y` + half + `"]`:                                                  {},
		`"software_id":"\u202e","software_version":"\u0000"`:                                        {},
		`"software_version":"` + strings.Repeat("x", maxText) + `"`:                                 {SoftwareVersion: strings.Repeat("x", maxText)},
		`"software_id":"` + strings.Repeat("x", maxText+1) + `"`:                                    {},
		`"client_uri":"javascript:x"`:                                                               {},
		`"client_uri":"https://u@a.example/"`:                                                       {},
		`"client_uri":"https://a example/"`:                                                         {},
		`"client_uri":"https:///x"`:                                                                 {},
		`"client_uri":"http://a.example/"`:                                                          {URI: "http://a.example/"},
	} {
		got := register(t, r, `{"redirect_uris":["http://localhost/cb"],`+members+`}`).metadata
		if got.Scope != want.Scope || got.SoftwareID != want.SoftwareID || got.SoftwareVersion != want.SoftwareVersion || got.URI != want.URI || got.Name != want.Name {
			t.Errorf("%.100s: %+v", members, got)
		}
	}
}

// Whoever Refuse turns away leaves nothing behind, with a secret or without.
func TestARefusedRegistrationWritesNothing(t *testing.T) {
	table := openTable(t)
	var asked []string
	r := newRegistry(t, Options{Table: table, Refuse: func(_ context.Context, id string, redirectURIs []string) error {
		asked = append(asked, id+" "+strings.Join(redirectURIs, " "))
		return oauth.New(oauth.AccessDenied, "Blocked.")
	}})
	for _, method := range []string{AuthNone, AuthSecretPost} {
		_, err := r.Register(t.Context(), "application/json", strings.NewReader(`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"`+method+`"}`))
		wantCode(t, err, oauth.AccessDenied)
	}
	if len(asked) != 2 || !strings.HasPrefix(asked[0], publicPrefix) || !strings.HasSuffix(asked[0], " https://a.example/cb") || asked[1] != " https://a.example/cb" {
		t.Errorf("asked %q", asked)
	}
	if n := countRows(t, table, ""); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Others who win each round make the answer uncertain, which is no success.
func TestARegistrationThatLosesEveryRaceIsUnavailable(t *testing.T) {
	table := storetest.Instrument(openTable(t))
	r := newRegistry(t, Options{Table: table})
	table.Before(storetest.Fail(store.ErrExists, storetest.Insert))
	_, err := r.Register(t.Context(), "application/json", strings.NewReader(realRegistrations[0].body))
	wantCode(t, err, oauth.TemporarilyUnavailable)
	if n := table.Count(storetest.Insert); n != 3 {
		t.Errorf("tried %d times", n)
	}
}

// A record that cannot be read is no client that has to register again.
func TestAnUnreadableRecordIsNotAnUnknownClient(t *testing.T) {
	table := openTable(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	made, _ := create(t, r, OperatorClient{Name: "App", RedirectURIs: []string{foundry}})
	for _, id := range []string{register(t, r, realRegistrations[0].body).ClientID, made.ID} {
		row := storetest.MustGet(t, table, partition(id), id)
		row.Value = []byte("{")
		if _, err := table.Replace(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		clock.Advance(cacheFor)
		_, err := r.Lookup(t.Context(), id)
		wantCode(t, err, oauth.TemporarilyUnavailable)
	}
	if _, err := r.List(t.Context()); err == nil {
		t.Error("the list leaves it out")
	}
}

func TestClaudeFindsPublicClientsAdvertised(t *testing.T) {
	if !slices.Contains(AuthMethods(), AuthNone) || !newRegistry(t, Options{}).AcceptsDocuments() {
		t.Error("metadata documents or public clients are not advertised")
	}
}

// The TypeScript SDK registers again as soon as it is told invalid_client.
func TestTightenedPolicyBindsOldRegistrations(t *testing.T) {
	table := openTable(t)
	id := register(t, newRegistry(t, Options{Table: table}), realRegistrations[0].body).ClientID
	policy := policyOf(t, "only", "http://localhost:8787/callback")
	c, err := newRegistry(t, Options{Table: table, Policy: policy}).Lookup(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Allows("http://localhost:1/callback") || c.Allows("cursor://anysphere.cursor-mcp/oauth/callback") {
		t.Errorf("redirect URIs %q", c.RedirectURIs)
	}
	policy = policyOf(t, "only", "https://only.example/cb")
	_, err = newRegistry(t, Options{Table: table, Policy: policy}).Lookup(context.Background(), id)
	wantCode(t, err, oauth.InvalidClient)
}

func TestStorageFaultIsNotAnUnknownClient(t *testing.T) {
	table := openTable(t)
	r := newRegistry(t, Options{Table: table})
	id := register(t, newRegistry(t, Options{Table: table}), realRegistrations[0].body).ClientID
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := r.Lookup(context.Background(), id)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	_, err = r.Register(context.Background(), "application/json", strings.NewReader(realRegistrations[1].body))
	wantCode(t, err, oauth.TemporarilyUnavailable)
}

// An answer of 201 without a row is a client that can never come back.
func TestRegistrationThatIsNotWrittenFails(t *testing.T) {
	table := storetest.Instrument(openTable(t))
	clock := clocktest.New()
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	public := register(t, r, realRegistrations[0].body).ClientID
	table.Before(storetest.Fail(errStorage, storetest.Insert, storetest.Replace))
	for name, body := range map[string]string{
		"with a secret": `{"redirect_uris":["https://a.example/cb"]}`,
		"public":        `{"redirect_uris":["http://localhost/cb"]}`,
		"keys":          `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + newSigners(t).jwks + `}`,
	} {
		reg, err := r.Register(t.Context(), "application/json", strings.NewReader(body))
		wantCode(t, err, oauth.TemporarilyUnavailable)
		if reg.ClientID != "" || !reg.Secret.IsZero() {
			t.Errorf("%s: an answer was made", name)
		}
	}
	// One that exists needs no write until it has to be renewed.
	if got := register(t, r, realRegistrations[0].body).ClientID; got != public {
		t.Error(got)
	}
	clock.Advance(29 * 24 * time.Hour)
	_, err := r.Register(t.Context(), "application/json", strings.NewReader(realRegistrations[0].body))
	wantCode(t, err, oauth.TemporarilyUnavailable)
	if n := countRows(t, table, RegistrationPrefix); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// Microsoft 365 uses no registration without a secret and says so nowhere;
// everybody else gets what they ask for.
func TestMicrosoft365GetsASecret(t *testing.T) {
	const teams = `"https://teams.microsoft.com/api/platform/v1.0/oAuthRedirect"`
	for body, want := range map[string]string{
		`{"redirect_uris":[` + teams + `]}`:                                                                                                     AuthSecretPost,
		`{"redirect_uris":[` + teams + `],"application_type":"native"}`:                                                                         AuthSecretPost,
		`{"redirect_uris":[` + teams + `],"application_type":"native","token_endpoint_auth_method":"none"}`:                                     AuthSecretPost,
		`{"redirect_uris":[` + teams + `],"token_endpoint_auth_method":"client_secret_basic"}`:                                                  AuthSecretBasic,
		`{"redirect_uris":["http://localhost/cb"],"application_type":"native","token_endpoint_auth_method":"client_secret_post"}`:               AuthSecretPost,
		`{"redirect_uris":["https://teams.microsoft.com.evil.example/x"],"token_endpoint_auth_method":"none"}`:                                  AuthNone,
		`{"redirect_uris":[` + teams + `,"http://localhost/cb"],"token_endpoint_auth_method":"none"}`:                                           AuthNone,
		`{"redirect_uris":["https://global.consent.azure-apim.net/redirect/my-20tool-5f1c"],"token_endpoint_auth_method":"client_secret_post"}`: AuthSecretPost,
		`{"redirect_uris":["https://global.consent.azure-apim.net/redirect/my-20tool-5f1c"]}`:                                                   AuthSecretBasic,
		`{"redirect_uris":["https://vscode.dev/redirect","http://127.0.0.1/"],"token_endpoint_auth_method":"none","application_type":"native"}`: AuthNone,
	} {
		r := newRegistry(t, Options{})
		reg := register(t, r, body)
		if reg.AuthMethod != want || reg.Secret.IsZero() != (want == AuthNone) {
			t.Errorf("%s: %s with a secret: %v, want %s", body, reg.AuthMethod, !reg.Secret.IsZero(), want)
		}
		if !reg.Secret.IsZero() {
			if _, err := r.Authenticate(t.Context(), nil, with(reg.ClientID, reg.Secret)); err != nil {
				t.Errorf("%s: %v", body, err)
			}
		}
	}
}

// VS Code registers a loopback URI without a port beside its page on the web.
func TestVSCodeComesOnAnyPortBesideItsPage(t *testing.T) {
	r := newRegistry(t, Options{})
	c := lookup(t, r, register(t, r, `{"client_name":"Visual Studio Code","redirect_uris":["https://vscode.dev/redirect","http://127.0.0.1/"],"token_endpoint_auth_method":"none"}`).ClientID)
	for _, uri := range []string{"https://vscode.dev/redirect", "http://127.0.0.1:49321/", "http://localhost:49321/"} {
		if !c.Allows(uri) {
			t.Errorf("%s is not allowed", uri)
		}
	}
	if c.Allows("https://vscode.dev:49321/redirect") {
		t.Error("the port of a web site is free")
	}
}

// What was registered by earlier versions, or under a wider policy, has to pass
// every check of today when it is used.
func TestEveryCheckOfRegistrationHoldsAtEveryUse(t *testing.T) {
	table := openTable(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	insert := func(id, metadata string) {
		t.Helper()
		_, err := table.Insert(t.Context(), store.Row{Partition: partition(id), Key: id, Expires: expiry(clock.Now(), time.Hour),
			Value: []byte(`{"metadata":` + metadata + `,"issued_at":1795435200}`)})
		if err != nil {
			t.Fatal(err)
		}
	}
	id := func(c string) string { return publicPrefix + strings.Repeat(c, 43) }
	const rest = `"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"application_type":"native"`
	insert(id("a"), `{"client_name":"✔ Verified: Claude ────","redirect_uris":["cursor://anysphere.cursor-deeplink/mcp/install?x=y","https://a.example/cb?iss=https%3A%2F%2Fevil.example","https://a.example/cb"],`+rest+`}`)
	c := lookup(t, r, id("a"))
	if c.Name != "Verified: Claude" || !slices.Equal(c.RedirectURIs, []string{"https://a.example/cb"}) {
		t.Errorf("name %q, redirect URIs %q", c.Name, c.RedirectURIs)
	}
	insert(id("b"), `{"redirect_uris":["javascript:alert(1)","vscode:mcp/install"],`+rest+`}`)
	_, err := r.Lookup(t.Context(), id("b"))
	wantCode(t, err, oauth.InvalidClient)
}

// Ids of every form that was given out are known, and secrets of that time are
// good.
func TestRecordsOfEarlierVersionsAreRead(t *testing.T) {
	table := openTable(t)
	clock := clocktest.New()
	r := newRegistry(t, Options{Table: table, Now: clock.Now})
	secret := newSecret()
	const old = secretPrefix + "AbCdEfGhIjKlMnOpQrStUvWx"
	value := `{"metadata":{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"token_endpoint_auth_method":"client_secret_post","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"application_type":"web"},"issued_at":1795435200,"secret":` + asJSON(t, hashSecret(secret)) + `}`
	if _, err := table.Insert(t.Context(), store.Row{Partition: "c-Ab", Key: old, Expires: expiry(clock.Now(), 90*24*time.Hour), Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
	c, err := r.Authenticate(t.Context(), nil, with(old, secret))
	if err != nil || c.Name != "Claude" {
		t.Fatal(err)
	}
	r.Touch(t.Context(), c)
	clock.Advance(399 * 24 * time.Hour)
	if _, err := r.Authenticate(t.Context(), nil, with(old, secret)); err != nil {
		t.Error(err)
	}
	// Those written now say their version.
	reg := register(t, r, `{"redirect_uris":["https://a.example/cb"]}`)
	if row := storetest.MustGet(t, table, partition(reg.ClientID), reg.ClientID); !strings.Contains(string(row.Value), `"v":1,`) {
		t.Errorf("%s", row.Value)
	}
}

// The client_id of a public client is a hash of its metadata: it must not change
// from one version of the server to the next, or no client finds itself again.
func TestPublicClientIDsStayWhatTheyAre(t *testing.T) {
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	for body, want := range map[string]string{
		realRegistrations[0].body: "p-oMQd0_U4y0bqXrIvmmmtURJznkUKJU4M6rOd2ZH7CNA",
		realRegistrations[2].body: "p-Za1WQUy9E8PTj5lJ57HrteMvl60BXCj1L9GkwqqEbLE",
	} {
		if got := register(t, r, body).ClientID; got != want {
			t.Errorf("%s, want %s, for %s", got, want, body)
		}
	}
}
