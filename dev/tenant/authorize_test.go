package tenant

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// Whatever is wrong with the client or its redirect URI is shown, never sent.
func TestNothingIsRedirectedToAnUnknownPlace(t *testing.T) {
	w := start(t)
	for name, tc := range map[string]struct {
		change params
		code   int
	}{
		"unknown tenant":           {params{"tenant": "nobody.example"}, 90002},
		"no client":                {params{"client_id": "-"}, 900144},
		"unknown client":           {params{"client_id": Fabrikam}, 700016},
		"client of another tenant": {params{"tenant": Fabrikam}, 700016},
		"no redirect URI":          {params{"redirect_uri": "-"}, 50011},
		"other host":               {params{"redirect_uri": "http://evil.example/auth/callback"}, 50011},
		"other path":               {params{"redirect_uri": "http://localhost:7071/auth/callback/x"}, 50011},
		"other case of path":       {params{"redirect_uri": "http://localhost:7071/Auth/callback"}, 50011},
		"loopback by address":      {params{"redirect_uri": "http://127.0.0.1:7071/auth/callback"}, 50011},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Get(w.authorizeURL(tc.change))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			page, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(page), fmt.Sprintf("AADSTS%d:", tc.code)) {
				t.Errorf("got %d %s", resp.StatusCode, page)
			}
		})
	}
}

func TestAuthorizeRefusesByRedirect(t *testing.T) {
	w := start(t)
	w.must(w.Register(App{ClientID: "11111111-1111-4111-8111-111111111111", AppIDURI: "api://named", Scopes: []string{"read"}}))
	for name, tc := range map[string]struct {
		change params
		oauth  string
		code   int
	}{
		"resource":                        {params{"resource": "http://localhost:7071/mcp"}, "invalid_target", 9010010},
		"resource of another app":         {params{"resource": "api://named"}, "invalid_target", 9010010},
		"resource with another ending":    {params{"resource": "api://" + DefaultClientID + "/"}, "invalid_target", 9010010},
		"no response type":                {params{"response_type": "-"}, "invalid_request", 900144},
		"implicit token":                  {params{"response_type": "token"}, "unsupported_response_type", 700051},
		"hybrid":                          {params{"response_type": "code id_token"}, "unsupported_response_type", 700054},
		"unheard-of response type":        {params{"response_type": "device"}, "unsupported_response_type", 70005},
		"unheard-of response mode":        {params{"response_mode": "pigeon"}, "unsupported_response_mode", 70007},
		"unheard-of prompt":               {params{"prompt": "please"}, "invalid_request", 90100},
		"unheard-of challenge method":     {params{"code_challenge_method": "S512"}, "invalid_request", 90100},
		"short challenge":                 {params{"code_challenge": "abc"}, "invalid_request", 501491},
		"method without challenge":        {params{"code_challenge": "-"}, "invalid_request", 501491},
		"claims that are no JSON":         {params{"claims": "{"}, "invalid_request", 90100},
		"no scope":                        {params{"scope": "-"}, "invalid_request", 900144},
		"our scope, unqualified":          {params{"scope": "openid " + DefaultScope}, "invalid_client", 650053},
		"unknown scope of a resource":     {params{"scope": "api://" + DefaultClientID + "/nope"}, "invalid_client", 650053},
		"unknown resource":                {params{"scope": "https://app.azurewebsites.net/mcp/read"}, "invalid_resource", 500011},
		".default with others":            {params{"scope": "api://named/.default " + apiScope}, "invalid_scope", 70011},
		"two times .default":              {params{"scope": "api://named/.default https://graph.microsoft.com/.default"}, "invalid_scope", 70011},
		"single-tenant app at common":     {params{"tenant": "common"}, "invalid_request", 50194},
		"single-tenant app, organization": {params{"tenant": "organizations"}, "invalid_request", 50194},
		"consent asked for by itself":     {params{"prompt": "consent"}, "invalid_request", 90009},
		"silently, nobody signed in":      {params{"prompt": "none"}, "login_required", 50058},
	} {
		t.Run(name, func(t *testing.T) {
			to, err := Answer(context.Background(), http.DefaultClient, w.authorizeURL(tc.change), nil)
			if err != nil {
				t.Fatal(err)
			}
			checkRedirect(t, query(t, to), tc.oauth, tc.code)
		})
	}
}

func checkRedirect(t *testing.T, q url.Values, oauth string, code int) {
	t.Helper()
	prefix := fmt.Sprintf("AADSTS%d: ", code)
	if q.Get("error") != oauth || !strings.HasPrefix(q.Get("error_description"), prefix) || q.Get("code") != "" {
		t.Errorf("want %s %s, got %v", oauth, prefix, q)
	}
	if q.Get("state") != "st&ate" || !strings.HasSuffix(q.Get("error_uri"), fmt.Sprintf("/error?code=%d", code)) {
		t.Errorf("state or error_uri is wrong: %v", q)
	}
	for _, part := range []string{"Trace ID: ", "Correlation ID: ", "Timestamp: 2026-11-23 "} {
		if !strings.Contains(q.Get("error_description"), part) {
			t.Errorf("no %q in %q", part, q.Get("error_description"))
		}
	}
}

func TestAnAppAsksForItselfOnlyByItsGUID(t *testing.T) {
	w := start(t, func(app *App) { app.AppIDURI = "api://my-server" })
	checkRedirect(t, w.signInAs(Alice, params{"scope": "openid api://my-server/" + DefaultScope}), "invalid_request", 90009)
	for _, scope := range []string{DefaultClientID + "/" + DefaultScope, DefaultClientID + "/.default"} {
		if q := w.signInAs(Alice, params{"scope": scope}); q.Get("code") == "" {
			t.Errorf("%s: %v", scope, q)
		}
	}
}

func TestWhoMaySignIn(t *testing.T) {
	multi := func(app *App) { app.SignInAudience = MultiTenant }
	anyone := func(app *App) { app.SignInAudience = AnyAccount }
	assigned := func(app *App) { app.AssignmentRequired = true }
	adminOnly := func(app *App) { app.AdminOnly = []string{apiScope} }
	workflow := func(app *App) { app.AdminOnly, app.ConsentWorkflow = []string{apiScope}, true }
	for name, tc := range map[string]struct {
		edit  func(*App)
		user  string
		realm string
		oauth string
		code  int
	}{
		"member":                     {nil, Alice, Contoso, "", 0},
		"member, by domain":          {nil, Bob, "contoso.example", "", 0},
		"guest":                      {nil, Carol, Contoso, "", 0},
		"second factor":              {nil, Frank, Contoso, "", 0},
		"disabled":                   {nil, Dave, Contoso, "access_denied", 50057},
		"unassigned, not required":   {nil, Erin, Contoso, "", 0},
		"unassigned":                 {assigned, Erin, Contoso, "access_denied", 50105},
		"another tenant's":           {nil, Grace, Contoso, "access_denied", 50020},
		"another tenant's, multi":    {multi, Grace, "organizations", "", 0},
		"at its own tenant":          {multi, Grace, Fabrikam, "", 0},
		"personal, organizations":    {anyone, Ivan, "organizations", "access_denied", 500208},
		"personal, common":           {anyone, Ivan, "common", "", 0},
		"personal, common, work app": {multi, Ivan, "common", "access_denied", 50020},
		"personal, consumers":        {anyone, Ivan, "consumers", "", 0},
		"consumers, work app":        {multi, Ivan, "consumers", "invalid_request", 9002332},
		"admin consent":              {adminOnly, Bob, Contoso, "access_denied", 90094},
		"admin consent, by workflow": {workflow, Bob, Contoso, "access_denied", 90095},
		"admin consents":             {adminOnly, Alice, Contoso, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			edits := []func(*App){}
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			q := start(t, edits...).signInAs(tc.user, params{"tenant": tc.realm})
			if tc.code != 0 {
				checkRedirect(t, q, tc.oauth, tc.code)
			} else if q.Get("code") == "" || q.Get("state") != "st&ate" || q.Has("error") {
				t.Errorf("no code: %v", q)
			}
		})
	}
}

func TestConditionalAccessBlocksWithClaims(t *testing.T) {
	w := start(t)
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	w.must(w.Change(Bob, func(u *User) { u.Blocked, u.Challenge = true, claims }))
	q := w.signInAs(Bob, nil)
	checkRedirect(t, q, "access_denied", 53003)
	if q.Get("claims") != claims {
		t.Errorf("claims: %v", q)
	}
}

// The forms that the package comment documents, each alone.
func TestAnswersOfThePages(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		fields url.Values
		oauth  string
		code   int
	}{
		"cancel":         {url.Values{"cancel": {"1"}}, "access_denied", 65004},
		"decline":        {url.Values{"user": {Alice}, "consent": {"decline"}}, "access_denied", 65004},
		"deny factor":    {url.Values{"user": {Frank}, "mfa": {"deny"}}, "access_denied", 50074},
		"refused":        {url.Values{"user": {Dave}, "return": {"1"}}, "access_denied", 50057},
		"all at once":    {url.Values{"user": {Frank}, "mfa": {"approve"}, "consent": {"accept"}}, "", 0},
		"case is nought": {url.Values{"user": {"ALICE@contoso.example"}, "consent": {"accept"}}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			to, err := Answer(ctx, http.DefaultClient, w.authorizeURL(nil), tc.fields)
			if err != nil {
				t.Fatal(err)
			}
			q := query(t, to)
			if tc.code != 0 {
				checkRedirect(t, q, tc.oauth, tc.code)
			} else if q.Get("code") == "" {
				t.Errorf("no code: %v", q)
			}
			if tc.code == 65004 && q.Get("error_subcode") != "cancel" {
				t.Errorf("no error_subcode: %v", q)
			}
		})
	}
	w := start(t)
	if _, err := SignIn(ctx, http.DefaultClient, w.authorizeURL(nil), "nobody@contoso.example"); err == nil {
		t.Error("an account that does not exist signed in")
	}
}

func TestConsentIsAskedOnce(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	user := url.Values{"user": {Alice}}
	if _, err := Answer(ctx, http.DefaultClient, w.authorizeURL(nil), user); err == nil {
		t.Fatal("no consent page at the first sign-in")
	}
	w.signInAs(Alice, nil)
	if _, err := Answer(ctx, http.DefaultClient, w.authorizeURL(nil), user); err != nil {
		t.Errorf("asked again: %v", err)
	}
	if _, err := Answer(ctx, http.DefaultClient, w.authorizeURL(params{"scope": fullAsk + " User.Read"}), user); err == nil {
		t.Error("a further scope needs no consent")
	}
	w.must(w.WithdrawConsent(Alice))
	if _, err := Answer(ctx, http.DefaultClient, w.authorizeURL(nil), user); err == nil {
		t.Error("not asked after consent was withdrawn")
	}
}

func TestSingleSignOn(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	look := func(change params) (string, error) { return Answer(ctx, browser, w.authorizeURL(change), nil) }
	if _, err := SignIn(ctx, browser, w.authorizeURL(nil), Frank); err != nil {
		t.Fatal(err)
	}
	for _, change := range []params{nil, {"prompt": "none"}, {"login_hint": Frank}} {
		if to, err := look(change); err != nil || query(t, to).Get("code") == "" {
			t.Errorf("%v: no single sign-on: %v %s", change, err, to)
		}
	}
	for _, change := range []params{{"prompt": "login"}, {"prompt": "select_account"}, {"login_hint": Alice}} {
		if to, err := look(change); err == nil {
			t.Errorf("%v: signed on without a page: %s", change, to)
		}
	}
	to, err := look(params{"prompt": "none", "scope": fullAsk + " Mail.Read"})
	if err != nil {
		t.Fatal(err)
	}
	checkRedirect(t, query(t, to), "consent_required", 65001)

	w.must(w.RevokeSessions(Frank))
	if to, err := look(nil); err == nil {
		t.Errorf("a revoked session signs on: %s", to)
	}
	if _, err := Answer(ctx, browser, w.url+"/"+Contoso+"/oauth2/v2.0/logout?post_logout_redirect_uri="+url.QueryEscape(callback), nil); err != nil {
		t.Errorf("no way back after logout: %v", err)
	}
}

func TestSilentSignInCannotPassASecondFactor(t *testing.T) {
	for enrolled, code := range map[bool]int{true: 50076, false: 50079} {
		w := start(t)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar}
		if _, err := SignIn(context.Background(), browser, w.authorizeURL(nil), Bob); err != nil {
			t.Fatal(err)
		}
		w.must(w.Change(Bob, func(u *User) { u.MFA, u.NoSecondFactor = true, !enrolled }))
		to, err := Answer(context.Background(), browser, w.authorizeURL(params{"prompt": "none"}), nil)
		if err != nil {
			t.Fatal(err)
		}
		checkRedirect(t, query(t, to), "interaction_required", code)
	}
}
