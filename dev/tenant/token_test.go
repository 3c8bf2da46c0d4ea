package tenant

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// checkReply demands Entra's error document, whole.
func checkReply(t *testing.T, r reply, status int, oauth string, code int) {
	t.Helper()
	if r.Status != status || r.Error != oauth || r.code() != code {
		t.Errorf("want %d %s %d, got %d %s %s", status, oauth, code, r.Status, r.Error, r.Description)
	}
	if !strings.HasPrefix(r.Description, fmt.Sprintf("AADSTS%d: ", code)) || r.Trace == "" || r.Correlation == "" ||
		r.Timestamp == "" || !strings.HasSuffix(r.URI, fmt.Sprintf("?code=%d", code)) || r.Access != "" {
		t.Errorf("not Entra's error document: %+v", r)
	}
}

func TestCodeRedemptionRefusals(t *testing.T) {
	origin := func(r *http.Request) { r.Header.Set("Origin", "http://localhost:7071") }
	get := func(r *http.Request) { r.Method = http.MethodGet }
	for name, tc := range map[string]struct {
		change params
		edit   func(*http.Request)
		after  time.Duration
		status int
		oauth  string
		code   int
	}{
		"GET":                    {edit: get, status: 405, oauth: "invalid_request", code: 900561},
		"unknown tenant":         {change: params{"tenant": "nobody.example"}, status: 400, oauth: "invalid_tenant", code: 90002},
		"resource":               {change: params{"resource": "http://localhost:7071/mcp"}, status: 400, oauth: "invalid_target", code: 9010010},
		"no grant type":          {change: params{"grant_type": "-"}, status: 400, oauth: "invalid_request", code: 900144},
		"unheard-of grant":       {change: params{"grant_type": "password"}, status: 400, oauth: "unsupported_grant_type", code: 70003},
		"Origin header":          {edit: origin, status: 400, oauth: "invalid_request", code: 9002326},
		"no client":              {change: params{"client_id": "-"}, status: 400, oauth: "invalid_request", code: 900144},
		"unknown client":         {change: params{"client_id": Fabrikam}, status: 400, oauth: "unauthorized_client", code: 700016},
		"no secret":              {change: params{"client_secret": "-"}, status: 401, oauth: "invalid_client", code: 7000218},
		"wrong secret":           {change: params{"client_secret": "guess"}, status: 401, oauth: "invalid_client", code: 7000215},
		"no code":                {change: params{"code": "-"}, status: 400, oauth: "invalid_request", code: 900144},
		"malformed code":         {change: params{"code": "hello"}, status: 400, oauth: "invalid_grant", code: 9002313},
		"unknown code":           {change: params{"code": "1." + strings.Repeat("A", 43)}, status: 400, oauth: "invalid_grant", code: 70000},
		"expired code":           {after: 10*time.Minute + time.Second, status: 400, oauth: "invalid_grant", code: 70008},
		"another tenant":         {change: params{"tenant": "organizations"}, status: 400, oauth: "invalid_grant", code: 700005},
		"no redirect URI":        {change: params{"redirect_uri": "-"}, status: 400, oauth: "invalid_request", code: 900144},
		"other redirect URI":     {change: params{"redirect_uri": callback + "/"}, status: 400, oauth: "invalid_grant", code: 500112},
		"no verifier":            {change: params{"code_verifier": "-"}, status: 400, oauth: "invalid_grant", code: 50148},
		"wrong verifier":         {change: params{"code_verifier": verifier + "x"}, status: 400, oauth: "invalid_grant", code: 501481},
		"two resources":          {change: params{"scope": apiScope + " User.Read"}, status: 400, oauth: "invalid_request", code: 28000},
		"ungranted scope":        {change: params{"scope": "User.Read"}, status: 400, oauth: "invalid_grant", code: 65001},
		"unqualified scope":      {change: params{"scope": DefaultScope}, status: 400, oauth: "invalid_scope", code: 650053},
		"unknown resource":       {change: params{"scope": "api://nobody/read"}, status: 400, oauth: "invalid_resource", code: 500011},
		"assertion type":         {change: params{"client_assertion": "x"}, status: 400, oauth: "invalid_request", code: 90100},
		"assertion is not a JWT": {change: params{"client_assertion": "x", "client_assertion_type": assertionType}, status: 401, oauth: "invalid_client", code: 700027},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(app *App) { app.SignInAudience = MultiTenant })
			value := w.signInAs(Alice, nil).Get("code")
			w.clock.Advance(tc.after)
			edits := []func(*http.Request){}
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			checkReply(t, w.redeemWith(value, tc.change, edits...), tc.status, tc.oauth, tc.code)
		})
	}
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	w := start(t)
	value := w.signInAs(Alice, nil).Get("code")
	replies := make(chan reply)
	for range 8 {
		go func() { replies <- w.redeemWith(value, nil) }()
	}
	won := 0
	for range 8 {
		if r := <-replies; r.Status == http.StatusOK {
			won++
		} else {
			checkReply(t, r, 400, "invalid_grant", 54005)
		}
	}
	if won != 1 {
		t.Errorf("%d redemptions of one code", won)
	}
}

func TestCodeIsBoundToItsClient(t *testing.T) {
	w := start(t)
	const other = "11111111-1111-4111-8111-111111111111"
	w.must(w.Register(App{ClientID: other, Secrets: []Secret{{Value: "s"}}, RedirectURIs: []string{callback}}))
	another := params{"client_id": other, "client_secret": "s", "scope": "-"}
	checkReply(t, w.redeemWith(w.signInAs(Alice, nil).Get("code"), another), 400, "invalid_grant", 70000)
	checkReply(t, w.refreshWith(w.tokens(Alice, nil).Refresh, another), 400, "invalid_grant", 70000)
}

func TestCodeOverTwoResourcesNeedsAScope(t *testing.T) {
	w := start(t)
	both := params{"scope": fullAsk + " User.Read"}
	checkReply(t, w.redeemWith(w.signInAs(Alice, both).Get("code"), params{"scope": "-"}), 400, "invalid_request", 28003)
	for scope, want := range map[string]any{apiScope: DefaultClientID, "User.Read": graphURI} {
		r := w.redeemWith(w.signInAs(Alice, both).Get("code"), params{"scope": scope})
		if r.Status != http.StatusOK || w.claimsOf(r.Access)["aud"] != want {
			t.Errorf("%s: %d %s", scope, r.Status, r.Description)
		}
	}
}

func TestIDToken(t *testing.T) {
	w := start(t)
	claims := w.claimsOf(w.tokens(Alice, nil).ID)
	for name, want := range map[string]any{
		"iss": w.url + "/" + Contoso + "/v2.0", "aud": DefaultClientID, "tid": Contoso, "ver": "2.0", "nonce": "n-1",
		"name": "Alice Ames", "preferred_username": Alice, "email": Alice,
	} {
		if claims[name] != want {
			t.Errorf("%s = %v, want %v", name, claims[name], want)
		}
	}
	if claims["oid"] == claims["sub"] || claims["oid"] == nil {
		t.Errorf("sub is not pairwise: %v", claims)
	}
	if roles := fmt.Sprint(claims["roles"]); roles != "[Mcp.Admin Mcp.Reader]" {
		t.Errorf("roles %s", roles)
	}
	if _, has := w.claimsOf(w.tokens(Bob, nil).ID)["roles"]; has {
		t.Error("Bob has roles")
	}
	if guest := w.claimsOf(w.tokens(Carol, nil).ID); guest["tid"] != Contoso || guest["idp"] != w.url+"/sts/"+Fabrikam+"/" {
		t.Errorf("guest: %v", guest)
	}
	bare := w.claimsOf(w.tokens(Alice, params{"scope": "openid " + apiScope}).ID)
	for _, name := range []string{"oid", "name", "preferred_username", "email"} {
		if _, has := bare[name]; has {
			t.Errorf("%s without profile and email", name)
		}
	}
}

func TestIDTokenNamesTheTenantOfTheAccount(t *testing.T) {
	w := start(t, func(app *App) { app.SignInAudience = AnyAccount })
	for user, tenant := range map[string]string{Alice: Contoso, Grace: Fabrikam, Ivan: Consumers} {
		claims := w.claimsOf(w.tokens(user, params{"tenant": "common"}).ID)
		if claims["tid"] != tenant || claims["iss"] != w.url+"/"+tenant+"/v2.0" {
			t.Errorf("%s: %v", user, claims)
		}
	}
}

func TestGroupsOverage(t *testing.T) {
	w := start(t, func(app *App) { app.GroupsClaim = true })
	w.must(w.Change(Bob, func(u *User) { u.Groups = 3 }))
	if groups, _ := w.claimsOf(w.tokens(Bob, nil).ID)["groups"].([]any); len(groups) != 3 {
		t.Errorf("groups: %v", groups)
	}
	claims := w.claimsOf(w.tokens(Heidi, nil).ID)
	if claims["groups"] != nil || claims["_claim_names"] == nil || claims["_claim_sources"] == nil {
		t.Errorf("no overage: %v", claims)
	}
}

// The version of an access token is the resource's wish, not the endpoint's.
func TestAccessTokenVersionIsTheResourcesWish(t *testing.T) {
	for version, want := range map[int]map[string]any{
		0: {"ver": "1.0", "iss": "/sts/" + Contoso + "/", "aud": "api://" + DefaultClientID, "appid": DefaultClientID, "unique_name": Alice},
		1: {"ver": "1.0", "iss": "/sts/" + Contoso + "/", "aud": "api://" + DefaultClientID, "appidacr": "1", "azp": nil},
		2: {"ver": "2.0", "iss": "/" + Contoso + "/v2.0", "aud": DefaultClientID, "azp": DefaultClientID, "azpacr": "1", "preferred_username": Alice, "appid": nil},
	} {
		w := start(t, func(app *App) { app.TokenVersion = version })
		r := w.tokens(Alice, nil)
		claims := w.claimsOf(r.Access)
		want["iss"] = w.url + want["iss"].(string)
		want["scp"], want["tid"] = DefaultScope, Contoso
		for name, value := range want {
			if claims[name] != value {
				t.Errorf("version %d: %s = %v, want %v", version, name, claims[name], value)
			}
		}
		if r.Expires < 3600 || r.Expires >= 5400 {
			t.Errorf("expires in %d s", r.Expires)
		}
		if r.Scope != apiScope+" openid profile email" {
			t.Errorf("scope %q", r.Scope)
		}
		if id := w.claimsOf(r.ID); id["ver"] != "2.0" {
			t.Errorf("ID token of version %v", id["ver"])
		}
	}
}

func TestWhatIsNotAskedForIsNotGiven(t *testing.T) {
	w := start(t)
	r := w.tokens(Alice, params{"scope": apiScope})
	if r.Refresh != "" || r.ID != "" || r.Access == "" {
		t.Errorf("%+v", r)
	}
	if claims := w.claimsOf(w.tokens(Alice, params{"scope": "openid"}).Access); claims["aud"] != graphURI || claims["scp"] != nil {
		t.Errorf("OIDC alone gives a token to %v for %v", claims["aud"], claims["scp"])
	}
}

func TestRefreshRotatesAndKeepsTheOld(t *testing.T) {
	w := start(t)
	first := w.tokens(Alice, nil).Refresh
	second := w.refreshWith(first, nil)
	if second.Status != http.StatusOK || second.Refresh == "" || second.Refresh == first || second.ID == "" {
		t.Fatalf("%+v", second)
	}
	for _, token := range []string{first, second.Refresh} {
		if r := w.refreshWith(token, nil); r.Status != http.StatusOK {
			t.Errorf("refused: %s", r.Description)
		}
	}
	if claims := w.claimsOf(w.refreshWith(first, nil).ID); claims["nonce"] != nil {
		t.Errorf("a refreshed ID token has nonce %v", claims["nonce"])
	}
	// Bound to user and client, not to a resource.
	w.must(w.GrantConsent(Alice, DefaultClientID, "User.Read"))
	if r := w.refreshWith(first, params{"scope": "User.Read"}); w.claimsOf(r.Access)["aud"] != graphURI {
		t.Errorf("for another resource: %s", r.Description)
	}
}

func TestRefreshRefusals(t *testing.T) {
	const day = 24 * time.Hour
	edit := func(f func(*User)) func(*world) error {
		return func(w *world) error { return w.Change(Alice, f) }
	}
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for name, tc := range map[string]struct {
		change   params
		meddle   func(*world) error
		after    time.Duration
		oauth    string
		code     int
		suberror string
		claims   string
	}{
		"none":              {change: params{"refresh_token": "-"}, oauth: "invalid_request", code: 900144},
		"malformed":         {change: params{"refresh_token": "hello"}, oauth: "invalid_grant", code: 9002313},
		"forged":            {change: params{"refresh_token": "1." + strings.Repeat("A", 90)}, oauth: "invalid_grant", code: 70000},
		"resource":          {change: params{"resource": apiScope}, oauth: "invalid_target", code: 9010010},
		"two resources":     {change: params{"scope": apiScope + " User.Read"}, oauth: "invalid_request", code: 28000},
		"no scope":          {change: params{"scope": "-"}, oauth: "invalid_request", code: 90009},
		"not consented":     {change: params{"scope": "Mail.Read"}, oauth: "invalid_grant", code: 65001, suberror: "consent_required"},
		"consent withdrawn": {meddle: func(w *world) error { return w.WithdrawConsent("") }, oauth: "invalid_grant", code: 65001, suberror: "consent_required"},
		"inactive":          {after: 90*day + time.Second, oauth: "invalid_grant", code: 700082, suberror: "bad_token"},
		"revoked":           {meddle: func(w *world) error { return w.RevokeSessions(Alice) }, oauth: "invalid_grant", code: 50173, suberror: "bad_token"},
		"disabled":          {meddle: edit(func(u *User) { u.Disabled = true }), oauth: "invalid_grant", code: 50057},
		"deleted":           {meddle: edit(func(u *User) { u.ObjectID = Fabrikam }), oauth: "invalid_grant", code: 50034},
		"MFA":               {meddle: edit(func(u *User) { u.MFA = true }), oauth: "invalid_grant", code: 50076, suberror: "basic_action"},
		"MFA not enrolled":  {meddle: edit(func(u *User) { u.MFA, u.NoSecondFactor = true, true }), oauth: "invalid_grant", code: 50079, suberror: "basic_action"},
		"challenged":        {meddle: edit(func(u *User) { u.Challenge = challenge }), oauth: "invalid_grant", code: 50076, suberror: "basic_action", claims: challenge},
		"blocked":           {meddle: edit(func(u *User) { u.Blocked, u.Challenge = true, challenge }), oauth: "invalid_grant", code: 53003, suberror: "message_only", claims: challenge},
		"unassigned": {meddle: func(w *world) error {
			err := w.Reconfigure(DefaultClientID, func(app *App) { app.AssignmentRequired = true })
			return errors.Join(err, w.Change(Alice, func(u *User) { u.Unassigned = true }))
		}, oauth: "invalid_grant", code: 50105},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			token := w.tokens(Alice, nil).Refresh
			w.clock.Advance(tc.after)
			if tc.meddle != nil {
				w.must(tc.meddle(w))
			}
			r := w.refreshWith(token, tc.change)
			checkReply(t, r, 400, tc.oauth, tc.code)
			if r.Suberror != tc.suberror || r.Claims != tc.claims {
				t.Errorf("suberror %q, claims %q", r.Suberror, r.Claims)
			}
		})
	}
}

// A fresh sign-in that carries the claims puts an end to the challenge; one
// that does not, does not.
func TestClaimsChallengeIsMetByASignInThatCarriesIt(t *testing.T) {
	w := start(t)
	const challenge = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	w.must(w.Change(Alice, func(u *User) { u.Challenge = challenge }))
	checkReply(t, w.refreshWith(w.tokens(Alice, nil).Refresh, nil), 400, "invalid_grant", 50076)
	spaced := strings.ReplaceAll(challenge, ":", ": ")
	if r := w.refreshWith(w.tokens(Alice, params{"claims": spaced}).Refresh, nil); r.Status != http.StatusOK {
		t.Errorf("refused: %s", r.Description)
	}
}

func TestRequestsAreKeptWithoutSecrets(t *testing.T) {
	w := start(t)
	w.tokens(Alice, nil)
	seen := w.Requests()
	i := slices.IndexFunc(seen, func(s Seen) bool { return s.Endpoint == "token" })
	if i < 0 || seen[0].Endpoint != "authorize" || seen[0].Form.Get("scope") != fullAsk {
		t.Fatalf("%v", seen)
	}
	for _, name := range []string{"client_secret", "code", "code_verifier"} {
		if got := seen[i].Form.Get(name); got != "[redacted]" {
			t.Errorf("%s = %q", name, got)
		}
	}
}
