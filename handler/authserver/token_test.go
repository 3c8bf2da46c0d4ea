package authserver_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/clients"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

func TestCodeBecomesTokens(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	code := w.browser().signIn(request(id)).Get("code")
	w.table.Taken()
	resp := w.post("/token", redemption(id, code))
	wantStatus(t, resp, http.StatusOK)
	got := object(t, resp)
	if got["token_type"] != "Bearer" || got["expires_in"] != 1800.0 || got["scope"] != "email openid profile tasks" || got["refresh_token"] == "" {
		t.Errorf("the client got %v", got)
	}
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Pragma") != "no-cache" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", resp.Header)
	}
	access, err := w.grants.Verify(t.Context(), got["access_token"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if access.ClientID != id || !access.Scopes.Has("tasks") || !slices.Equal(access.Roles, []string{"Mcp.Reader"}) {
		t.Errorf("the token says %+v", access)
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	w := newWorld(t)
	id, other := w.publicClient(), ""
	other, _ = w.register(`{"client_name":"Other","redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"none"}`)
	for name, tt := range map[string]struct {
		change func(url.Values)
		status int
		code   oauth.Code
	}{
		"no grant_type":        {func(f url.Values) { f.Del("grant_type") }, 400, oauth.InvalidRequest},
		"password grant":       {func(f url.Values) { f.Set("grant_type", "password") }, 400, oauth.UnsupportedGrantType},
		"client credentials":   {func(f url.Values) { f.Set("grant_type", "client_credentials") }, 400, oauth.UnsupportedGrantType},
		"no code":              {func(f url.Values) { f.Del("code") }, 400, oauth.InvalidRequest},
		"two codes":            {func(f url.Values) { f.Add("code", "x") }, 400, oauth.InvalidRequest},
		"forged code":          {func(f url.Values) { f.Set("code", "AAAA") }, 400, oauth.InvalidGrant},
		"no verifier":          {func(f url.Values) { f.Del("code_verifier") }, 400, oauth.InvalidRequest},
		"wrong verifier":       {func(f url.Values) { f.Set("code_verifier", strings.Repeat("w", 43)) }, 400, oauth.InvalidGrant},
		"challenge, not proof": {func(f url.Values) { f.Set("code_verifier", challenge) }, 400, oauth.InvalidGrant},
		"other redirect_uri":   {func(f url.Values) { f.Set("redirect_uri", callback+"/") }, 400, oauth.InvalidGrant},
		"another client":       {func(f url.Values) { f.Set("client_id", other) }, 400, oauth.InvalidGrant},
		"unknown client":       {func(f url.Values) { f.Set("client_id", "p-"+strings.Repeat("A", 43)) }, 401, oauth.InvalidClient},
		"no client":            {func(f url.Values) { f.Del("client_id") }, 401, oauth.InvalidClient},
		"other resource":       {func(f url.Values) { f.Set("resource", "https://other.example/") }, 400, oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			f := redemption(id, w.browser().signIn(request(id)).Get("code"))
			tt.change(f)
			resp := w.post("/token", f)
			wantError(t, resp, tt.status, tt.code)
			if got := resp.Header.Get("WWW-Authenticate"); got != "" {
				t.Errorf("WWW-Authenticate %q for a client that did not use it", got)
			}
		})
	}
}

func TestTokenEndpointReadsOnlyTheFormBody(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	f := redemption(id, w.browser().signIn(request(id)).Get("code"))
	wantError(t, w.post("/token?"+f.Encode(), nil), http.StatusUnauthorized, oauth.InvalidClient)
	for _, media := range []string{"", "application/json", "text/plain", "multipart/form-data; boundary=x"} {
		wantError(t, w.post("/token", f, "Content-Type", media), http.StatusBadRequest, oauth.InvalidRequest)
	}
	f.Set("padding", strings.Repeat("p", 70<<10))
	large := w.post("/token", f)
	wantError(t, large, http.StatusBadRequest, oauth.InvalidRequest)
	if got := object(t, large)["error_description"]; got != "The request body is larger than 64 KiB." {
		t.Errorf("error_description %q", got)
	}
	f.Del("padding")
	broken := formRequest("/token", "")
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader(f.Encode()), iotest.ErrReader(errors.New("connection reset"))))
	wantError(t, w.serve(broken), http.StatusBadRequest, oauth.InvalidRequest)
	wantStatus(t, w.post("/token", f, "Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"), http.StatusOK)
}

// The client whose answer was lost repeats its request. What comes later comes
// from somebody else.
func TestCodeReplayEndsTheSignIn(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	code := w.browser().signIn(request(id)).Get("code")
	tokens := w.tokens(id, code)
	wantStatus(t, w.post("/token", redemption(id, code)), http.StatusOK)
	w.clock.Advance(grants.RepeatWindow + time.Second)
	wantError(t, w.post("/token", redemption(id, code)), http.StatusBadRequest, oauth.InvalidGrant)
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.InvalidGrant)
}

func TestConfidentialClientsProveThemselves(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"client_secret_post", "client_secret_basic"} {
		id, secret := w.register(`{"redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"` + method + `"}`)
		redeem := func(auth func(url.Values, *http.Request)) *http.Response {
			f := redemption(id, w.browser().signIn(request(id)).Get("code"))
			r, _ := http.NewRequest(http.MethodPost, issuer+"/token", nil)
			auth(f, r)
			header := []string{}
			if a := r.Header.Get("Authorization"); a != "" {
				header = append(header, "Authorization", a)
			}
			return w.post("/token", f, header...)
		}
		wantError(t, redeem(func(url.Values, *http.Request) {}), http.StatusUnauthorized, oauth.InvalidClient)
		wantError(t, redeem(func(f url.Values, _ *http.Request) { f.Set("client_secret", secret+"x") }), http.StatusUnauthorized, oauth.InvalidClient)
		wantStatus(t, redeem(func(f url.Values, _ *http.Request) { f.Set("client_secret", secret) }), http.StatusOK)
		wantStatus(t, redeem(func(f url.Values, r *http.Request) { f.Del("client_id"); r.SetBasicAuth(id, secret) }), http.StatusOK)
		wrong := redeem(func(f url.Values, r *http.Request) { f.Del("client_id"); r.SetBasicAuth(id, "wrong") })
		wantError(t, wrong, http.StatusUnauthorized, oauth.InvalidClient)
		if got := wrong.Header.Get("WWW-Authenticate"); got != `Basic realm="`+issuer+`"` {
			t.Errorf("WWW-Authenticate %q", got)
		}
	}
}

// RFC 7523 §3: an assertion counts once. What is refused has not used it up, so
// that the client can come again with the same.
func TestAClientAssertionIsUsedUpByTheRequestThatHolds(t *testing.T) {
	w := newWorld(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := w.register(`{"redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","use":"sig","alg":"EdDSA","x":"` +
		base64.RawURLEncoding.EncodeToString(public) + `"}]}}`)
	forged := redemption(id, "forged")
	for path, tt := range map[string]struct{ refused, holds url.Values }{
		"/token":      {forged, redemption(id, w.browser().signIn(request(id)).Get("code"))},
		"/revoke":     {url.Values{"client_id": {id}}, url.Values{"client_id": {id}, "token": {"unknown"}}},
		"/introspect": {url.Values{"client_id": {id}}, url.Values{"client_id": {id}, "token": {"unknown"}}},
	} {
		token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": id, "sub": id, "aud": issuer, "jti": path, "exp": w.clock.Now().Unix() + 60})
		token.Header["kid"] = "1"
		assertion, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []url.Values{tt.refused, tt.holds} {
			f.Set("client_assertion", assertion)
			f.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		}
		if resp := w.post(path, tt.refused); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: refused with %d %s", path, resp.StatusCode, text(t, resp))
		}
		wantStatus(t, w.post(path, tt.holds), http.StatusOK)
		wantError(t, w.post(path, tt.holds), http.StatusUnauthorized, oauth.InvalidClient)
	}
}

func TestRefreshRotatesAndNarrows(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	f := renewal(id, tokens)
	f.Set("scope", "openid")
	resp := w.post("/token", f)
	wantStatus(t, resp, http.StatusOK)
	next := object(t, resp)
	if next["scope"] != "email openid profile" || next["refresh_token"] == tokens["refresh_token"] {
		t.Errorf("the client got %v", next)
	}
	resp = w.post("/token", renewal(id, next))
	wantStatus(t, resp, http.StatusOK)
	if got := object(t, resp)["scope"]; got != "email openid profile tasks" {
		t.Errorf("scope %v after a narrowed token, want all that was granted", got)
	}
	wantError(t, w.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {id}}), http.StatusBadRequest, oauth.InvalidRequest)
}

func TestOutageAtRefreshIsTemporaryAndConsumesNothing(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	for name, err := range map[string]error{
		"no answer":     errors.New("dial tcp: i/o timeout"),
		"throttled":     &entra.Error{Kind: entra.Unavailable, RetryAfter: 17 * time.Second, Summary: "Busy."},
		"wrong secret":  &entra.Error{Kind: entra.Misconfigured, Summary: "The client secret is wrong."},
		"unknown error": &entra.Error{Kind: entra.Unavailable},
	} {
		w.upstream.breakWith(err)
		resp := w.post("/token", renewal(id, tokens))
		wantError(t, resp, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
		if got := resp.Header.Get("Retry-After"); got == "" || (name == "throttled" && got != "17") {
			t.Errorf("%s: Retry-After %q", name, got)
		}
	}
	w.upstream.breakWith(nil)
	w.table.Before(storetest.Fail(errStorage))
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
	w.table.Repair()
	wantStatus(t, w.post("/token", renewal(id, tokens)), http.StatusOK)
}

func TestAUserEntraNoLongerHonoursLosesAccess(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for _, kind := range []entra.Kind{entra.SignInOver, entra.NotAllowed, entra.InteractionNeeded, entra.ConsentNeeded} {
		tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
		w.upstream.breakWith(&entra.Error{Kind: kind, OAuth: oauth.AccessDenied, Summary: "It is over."})
		wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.InvalidGrant)
		w.upstream.breakWith(nil)
		wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.InvalidGrant)
	}
}

// Entra rotates its refresh tokens: the old one is of no use afterwards.
func TestEntrasNewRefreshTokenIsKept(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	w.upstream.tenant.UseRefreshTokensOnce()
	for range 3 {
		w.clock.Advance(5 * time.Minute)
		resp := w.post("/token", renewal(id, tokens))
		wantStatus(t, resp, http.StatusOK)
		tokens = object(t, resp)
	}
}

func TestARenewalBringsRolesAndNeverAnotherUser(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	w.upstream.change(tenant.Alice, func(u *tenant.User) { u.Roles = []string{"Mcp.Admin"} })
	w.clock.Advance(5 * time.Minute)
	resp := w.post("/token", renewal(id, tokens))
	wantStatus(t, resp, http.StatusOK)
	tokens = object(t, resp)
	access, err := w.grants.Verify(t.Context(), tokens["access_token"].(string))
	if err != nil || !slices.Equal(access.Roles, []string{"Mcp.Admin"}) {
		t.Errorf("roles %v, %v", access.Roles, err)
	}
	bob := w.upstream.tenant.ObjectID(tenant.Bob)
	w.upstream.tenant.Forge(func(claims map[string]any) { claims["oid"] = bob })
	w.clock.Advance(5 * time.Minute)
	if resp := w.post("/token", renewal(id, tokens)); resp.StatusCode == http.StatusOK {
		t.Error("a renewal for another user brought tokens")
	}
}

// The sign-in is over and a claims challenge is to be met, but its row cannot be
// written: nothing is lost, and no tokens are given either.
func TestAClaimsChallengeThatIsNotKeptGivesNoTokens(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	w.upstream.demand(demanded)
	w.table.Before(storetest.Fail(errStorage, storetest.Writes...).In("ch-"))
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
	w.table.Repair()
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.InvalidGrant)
	b := w.browser()
	if to := b.get(w.upstream.signIn(t, b.approve(request(id)))).Header.Get("Location"); queryOf(t, to).Get("claims") != demanded {
		t.Errorf("the browser goes to %s, want Entra with the claims", to)
	}
}

// A grant of which nobody can ask Entra any more is over: renewed without asking,
// it would outlive the account.
func TestWithoutEntrasRefreshTokenASignInIsNotRenewed(t *testing.T) {
	w := newWorld(t)
	w.upstream.breakWith(errors.New("Entra was asked"))
	renewer := authserver.Renewer{Upstream: w.upstream, Challenges: w.challenges}
	if _, err := renewer.Renew(t.Context(), grants.Upstream{}, grants.Identity{}); !errors.Is(err, grants.ErrSignInOver) {
		t.Errorf("renewed: %v", err)
	}
}

// Whoever is not the client spends nothing of the client's.
func TestARefusedClientRedeemsNothing(t *testing.T) {
	w := newWorld(t)
	id, secret := w.register(`{"redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"client_secret_post"}`)
	f := redemption(id, w.browser().signIn(request(id)).Get("code"))
	w.table.Taken()
	f.Set("client_secret", secret+"x")
	wantError(t, w.post("/token", f), http.StatusUnauthorized, oauth.InvalidClient)
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
	f.Set("client_secret", secret)
	wantStatus(t, w.post("/token", f), http.StatusOK)
}

// Whoever makes codes and tokens up has nothing read for them.
func TestWhatWeHaveNotIssuedCostsNoStorage(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	forged := renewal(id, tokens)
	forged.Set("refresh_token", forged.Get("refresh_token")+"x")
	w.table.Taken()
	for _, f := range []url.Values{redemption(id, "forged"), forged} {
		wantError(t, w.post("/token", f), http.StatusBadRequest, oauth.InvalidGrant)
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("%d reads and %d writes", reads, writes)
	}
}

func TestClientsWithoutRefreshTokensGetNone(t *testing.T) {
	w := newWorld(t)
	id, _ := w.register(`{"redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"none","grant_types":["authorization_code"]}`)
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	if tokens["refresh_token"] != nil || tokens["access_token"] == nil {
		t.Errorf("the client got %v", tokens)
	}
	wantError(t, w.post("/token", url.Values{"grant_type": {"refresh_token"}, "client_id": {id}, "refresh_token": {"x"}}), http.StatusBadRequest, oauth.UnauthorizedClient)
}

// Foundry and Power Platform send no PKCE. Only what the operator made for them
// may come without.
func TestOnlyWhatTheOperatorMadeMayComeWithoutPKCE(t *testing.T) {
	w := newWorld(t)
	made, secret, err := w.clients.Create(t.Context(), clients.OperatorClient{Name: "Foundry", RedirectURIs: []string{callback}, WithoutPKCE: true})
	if err != nil {
		t.Fatal(err)
	}
	bare := request(made.ID, "code_challenge", "", "code_challenge_method", "")
	redeem := func(q url.Values, change func(url.Values)) *http.Response {
		f := redemption(made.ID, w.browser().signIn(q).Get("code"))
		f.Set("client_secret", secret.Reveal())
		f.Del("code_verifier")
		change(f)
		return w.post("/token", f)
	}
	wantStatus(t, redeem(bare, func(url.Values) {}), http.StatusOK)
	wantError(t, redeem(bare, func(f url.Values) { f.Del("redirect_uri") }), http.StatusBadRequest, oauth.InvalidGrant)
	wantError(t, redeem(bare, func(f url.Values) { f.Set("code_verifier", verifier) }), http.StatusBadRequest, oauth.InvalidGrant)
	wantError(t, redeem(request(made.ID), func(url.Values) {}), http.StatusBadRequest, oauth.InvalidGrant) // a challenge binds
	wantStatus(t, redeem(request(made.ID), func(f url.Values) { f.Set("code_verifier", verifier) }), http.StatusOK)

	resp := w.browser().get(issuer + "/authorize?" + request(w.publicClient(), "code_challenge", "", "code_challenge_method", "").Encode())
	if got := reached(t, offered(t, resp)); got.Get("error") != string(oauth.InvalidRequest) {
		t.Errorf("another client is told %v", got)
	}
	half := w.browser().get(issuer + "/authorize?" + request(made.ID, "code_challenge", "").Encode())
	wantStatus(t, half, http.StatusSeeOther)
	if got := reached(t, half.Header.Get("Location")); got.Get("error") != string(oauth.InvalidRequest) {
		t.Errorf("a method without a challenge: %v", got)
	}
}

func TestEmptyParametersAreOmittedOnes(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	f := redemption(id, w.browser().signIn(request(id)).Get("code"))
	for _, name := range []string{"resource", "redirect_uri", "scope", "client_secret", "client_assertion", "client_assertion_type", "refresh_token"} {
		f.Add(name, "")
	}
	resp := w.post("/token", f)
	wantStatus(t, resp, http.StatusOK)
	f = renewal(id, object(t, resp))
	f["scope"], f["resource"] = []string{""}, []string{"", ""}
	wantStatus(t, w.post("/token", f), http.StatusOK)
	wantError(t, w.post("/token", url.Values{"client_id": {id}, "grant_type": {""}}), http.StatusBadRequest, oauth.InvalidRequest)
	wantError(t, w.post("/revoke", url.Values{"client_id": {id}, "token": {""}}), http.StatusBadRequest, oauth.InvalidRequest)
}

// The row is written after the answer, so that the client does not wait for it.
func TestTheAnswerDoesNotWaitForTheRegistrationToBeKeptAlive(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	f := redemption(id, w.browser().signIn(request(id)).Get("code"))
	rec := httptest.NewRecorder()
	answered := -1
	w.beforeReplace(func() { // the code
		w.beforeReplace(func() { answered = rec.Body.Len() }) // the registration
	})
	w.mux.ServeHTTP(rec, formRequest("/token", f.Encode()))
	if rec.Code != http.StatusOK || answered != rec.Body.Len() || !rec.Flushed {
		t.Errorf("status %d; %d of %d bytes when the registration was written, flushed %v", rec.Code, answered, rec.Body.Len(), rec.Flushed)
	}
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	other, _ := w.register(`{"client_name":"Other","redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"none"}`)
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	refresh := tokens["refresh_token"].(string)

	wantError(t, w.post("/revoke", url.Values{"client_id": {id}}), http.StatusBadRequest, oauth.InvalidRequest)
	wantError(t, w.post("/revoke", url.Values{"token": {refresh}}), http.StatusUnauthorized, oauth.InvalidClient)
	unknown := w.post("/revoke", url.Values{"client_id": {id}, "token": {"unknown"}})
	wantStatus(t, unknown, http.StatusOK)
	if got := unknown.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	w.post("/revoke", url.Values{"client_id": {other}, "token": {refresh}})
	resp := w.post("/token", renewal(id, tokens))
	wantStatus(t, resp, http.StatusOK) // another client could not revoke it
	tokens = object(t, resp)

	wantStatus(t, w.post("/revoke", url.Values{"client_id": {id}, "token": {tokens["refresh_token"].(string)}, "token_type_hint": {"access_token"}}), http.StatusOK)
	wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.InvalidGrant)
}

func TestIntrospectionIsForConfidentialClientsOnly(t *testing.T) {
	w := newWorld(t)
	public := w.publicClient()
	wantError(t, w.post("/introspect", url.Values{"client_id": {public}, "token": {"x"}}), http.StatusUnauthorized, oauth.InvalidClient)
	// Basic with an empty password proves nothing.
	r, _ := http.NewRequest(http.MethodPost, issuer, nil)
	r.SetBasicAuth(public, "")
	wantError(t, w.post("/introspect", url.Values{"token": {"x"}}, "Authorization", r.Header.Get("Authorization")), http.StatusUnauthorized, oauth.InvalidClient)

	id, secret := w.register(`{"redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"client_secret_post"}`)
	f := redemption(id, w.browser().signIn(request(id)).Get("code"))
	f.Set("client_secret", secret)
	tokens := object(t, w.post("/token", f))
	ask := func(token any) map[string]any {
		resp := w.post("/introspect", url.Values{"client_id": {id}, "client_secret": {secret}, "token": {token.(string)}})
		wantStatus(t, resp, http.StatusOK)
		return object(t, resp)
	}
	if got := ask(tokens["access_token"]); got["active"] != true || got["client_id"] != id || got["aud"] != issuer+"/mcp" {
		t.Errorf("access token: %v", got)
	}
	if got := ask("unknown"); len(got) != 1 || got["active"] != false {
		t.Errorf("unknown token: %v", got)
	}
	wantError(t, w.post("/introspect", url.Values{"client_id": {id}, "client_secret": {secret}}), http.StatusBadRequest, oauth.InvalidRequest)
	w.clock.Advance(grants.MaxStale + time.Second)
	w.table.Before(storetest.Fail(errStorage).In(grants.RevocationPrefix))
	unknown := w.post("/introspect", url.Values{"client_id": {id}, "client_secret": {secret}, "token": {tokens["access_token"].(string)}})
	wantError(t, unknown, http.StatusServiceUnavailable, oauth.TemporarilyUnavailable)
}

func TestNothingSecretIsLogged(t *testing.T) {
	w := newWorld(t)
	id, secret := w.register(`{"redirect_uris":["` + callback + `"],"token_endpoint_auth_method":"client_secret_post"}`)
	b := w.browser()
	form := b.open(request(id))
	to := onward(t, b.decide(form, "approve"))
	back := w.upstream.signIn(t, to)
	u, _ := url.Parse(issuer)
	secrets := []string{secret, form, verifier, queryOf(t, to).Get("state"), queryOf(t, to).Get("nonce"), queryOf(t, back).Get("code")}
	for _, c := range b.jar.Cookies(u) {
		secrets = append(secrets, c.Value)
	}
	code := b.arrive(back).Get("code")
	f := redemption(id, code)
	f.Set("client_secret", secret)
	tokens := object(t, w.post("/token", f))
	w.post("/token", f) // a replay is logged
	secrets = append(secrets, code, tokens["access_token"].(string), tokens["refresh_token"].(string), tenant.Alice)
	secrets = append(secrets, w.upstream.issued...)
	b.get(back)
	b.decide(form[:len(form)-4], "approve")
	w.post("/token", url.Values{"client_id": {id}, "client_secret": {secret + "x"}})
	for _, s := range secrets {
		if strings.Contains(w.log.String(), s) {
			t.Errorf("the log holds %q", s)
		}
	}
	if !strings.Contains(w.log.String(), "sign-in refused") {
		t.Error("nothing was logged at all")
	}
}

func renewal(clientID string, tokens map[string]any) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {clientID}, "refresh_token": {tokens["refresh_token"].(string)}}
}
