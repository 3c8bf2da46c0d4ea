package authserver_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

func TestNothingIsRedirectedToAnUnregisteredAddress(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for name, q := range map[string]url.Values{
		"no client":              request("x", "client_id", ""),
		"unknown client":         request("p-" + strings.Repeat("A", 43)),
		"malformed client":       request("../../etc"),
		"other host":             request(id, "redirect_uri", "https://evil.example/callback"),
		"longer path":            request(id, "redirect_uri", callback+"/more"),
		"other case":             request(id, "redirect_uri", "https://CLIENT.example/callback"),
		"added query":            request(id, "redirect_uri", callback+"?next=1"),
		"user name":              request(id, "redirect_uri", "https://client.example@evil.example/callback"),
		"fragment":               request(id, "redirect_uri", callback+"#x"),
		"other port":             request(id, "redirect_uri", "https://client.example:8443/callback"),
		"two redirects":          withExtra(request(id), "redirect_uri", "https://evil.example/"),
		"two redirects, reverse": {"client_id": {id}, "redirect_uri": {"https://evil.example/", callback}},
		"two clients":            withExtra(request(id), "client_id", "other"),
	} {
		t.Run(name, func(t *testing.T) {
			resp := w.browser().get(issuer + "/authorize?" + q.Encode())
			wantPage(t, resp, http.StatusBadRequest)
		})
	}
}

func TestErrorsReachTheClientWithStateAndIssuer(t *testing.T) {
	w := newWorld(t)
	const local = "http://127.0.0.1:3118/callback"
	id, _ := w.register(`{"redirect_uris":["` + callback + `","` + local + `"],"token_endpoint_auth_method":"none"}`)
	refused := 0
	for name, tt := range map[string]struct {
		q    url.Values
		code oauth.Code
	}{
		"no PKCE":               {request(id, "code_challenge", "", "code_challenge_method", ""), oauth.InvalidRequest},
		"PKCE plain":            {request(id, "code_challenge_method", "plain"), oauth.InvalidRequest},
		"PKCE plain by default": {request(id, "code_challenge_method", ""), oauth.InvalidRequest},
		"PKCE method s256":      {request(id, "code_challenge_method", "s256"), oauth.InvalidRequest},
		"short challenge":       {request(id, "code_challenge", challenge[:42]), oauth.InvalidRequest},
		"long challenge":        {request(id, "code_challenge", challenge+"A"), oauth.InvalidRequest},
		"spare bits in it":      {request(id, "code_challenge", challenge[:42]+"_"), oauth.InvalidRequest},
		"challenge not base64":  {request(id, "code_challenge", challenge[:42]+"="), oauth.InvalidRequest},
		"no response_type":      {request(id, "response_type", ""), oauth.InvalidRequest},
		"implicit":              {request(id, "response_type", "token"), oauth.UnsupportedResponseType},
		"hybrid":                {request(id, "response_type", "code id_token"), oauth.UnsupportedResponseType},
		"fragment mode":         {request(id, "response_mode", "fragment"), oauth.InvalidRequest},
		"form_post mode":        {request(id, "response_mode", "form_post"), oauth.InvalidRequest},
		"request object":        {request(id, "request", "eyJ"), oauth.RequestNotSupported},
		"request_uri":           {request(id, "request_uri", "https://evil.example/r"), oauth.RequestURINotSupported},
		"other resource":        {request(id, "resource", "https://other.example/mcp"), oauth.InvalidTarget},
		"one other resource":    {withExtra(request(id), "resource", "https://other.example/"), oauth.InvalidTarget},
		"two scopes":            {withExtra(request(id), "scope", "openid"), oauth.InvalidRequest},
		"two of a stranger":     {withExtra(withExtra(request(id), "x", "1"), "x", "2"), oauth.InvalidRequest},
		"long state":            {request(id, "state", strings.Repeat("s", 4097)), oauth.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(resp *http.Response, got url.Values) {
				t.Helper()
				if got.Get("error") != string(tt.code) || got.Get("state") != tt.q.Get("state") || got.Get("iss") != issuer || got.Get("error_description") == "" {
					t.Errorf("the client is told %v, want %s with state and iss", got, tt.code)
				}
				if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("the way back may be stored or leak: %v", resp.Header)
				}
			}
			resp := w.browser().get(issuer + "/authorize?" + tt.q.Encode())
			check(resp, reached(t, offered(t, resp)))
			tt.q.Set("redirect_uri", local)
			resp = w.browser().get(issuer + "/authorize?" + tt.q.Encode())
			wantStatus(t, resp, http.StatusSeeOther)
			check(resp, queryOf(t, resp.Header.Get("Location")))
			if n := strings.Count(w.log.String(), "sign-in refused"); n != refused+2 {
				t.Errorf("%d refusals are logged, want 2", n-refused)
			}
			refused += 2
		})
	}
}

// Anyone can register a client for a web site of their own. A link to us that
// cannot succeed takes nobody there: the person is told where it leads.
func TestServerIsNoOpenRedirector(t *testing.T) {
	w := newWorld(t)
	id, _ := w.register(`{"client_name":"Microsoft","redirect_uris":["https://evil.example/login"],"token_endpoint_auth_method":"none"}`)
	resp := w.browser().get(issuer + "/authorize?" + url.Values{"client_id": {id}, "redirect_uri": {"https://evil.example/login"}}.Encode())
	wantStatus(t, resp, http.StatusBadRequest)
	if to := offered(t, resp); !strings.HasPrefix(to, "https://evil.example/login?error=invalid_request&") {
		t.Errorf("the button leads to %s", to)
	}
	if body := text(t, resp); !strings.Contains(body, `leads to <strong class="host">evil.example</strong>`) {
		t.Error("the page does not say where the button leads")
	}
}

// Logs cost money, and collecting stops for the day at a limit.
func TestStrangersCannotFillTheLog(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("A", 50_000)
	for _, path := range []string{"/authorize?redirect_uri=" + callback + "&client_id=" + long, "/auth/callback?error=" + long + "&error_description=" + long,
		"/auth/callback?admin_consent=false&error=access_denied&error_description=" + long, "/auth/callback?state=" + long} {
		before := len(w.log.String())
		resp := w.browser().get(issuer + path)
		if resp.StatusCode < 400 {
			t.Errorf("%.40s: status %d", path, resp.StatusCode)
		}
		if n := len(w.log.String()) - before; n > 10_000 {
			t.Errorf("%.40s: %d bytes are logged", path, n)
		}
	}
}

// offered is where the one link of a page leads, which nobody follows unasked.
func offered(t *testing.T, resp *http.Response) string {
	t.Helper()
	body := text(t, resp)
	if to := resp.Header.Get("Location"); to != "" || strings.Contains(body, "http-equiv") || strings.Count(body, "<a ") != 1 {
		t.Fatalf("answer %d, Location %q; want a page with one link\n%s", resp.StatusCode, to, body)
	}
	return html.UnescapeString(match(t, body, `<a [^>]*href="([^"]+)"`))
}

func TestAuthorizeWritesNothingAndSendsNobodyToEntra(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	b := w.browser()
	b.open(request(id)) // loads the client and the keys
	w.table.Taken()
	for range 5 {
		b.open(request(id))
		w.browser().open(request(id))
	}
	if reads, writes := w.table.Taken(); reads+writes != 0 {
		t.Errorf("10 pages took %d reads and %d writes, want none", reads, writes)
	}
	if n := len(w.upstream.requests()); n != 0 {
		t.Errorf("%d sign-ins began without consent", n)
	}
	for _, c := range b.get(issuer + "/authorize?" + request(id).Encode()).Cookies() {
		if strings.Contains(c.Name, "signin") {
			t.Errorf("a binding cookie before consent: %s", c.Name)
		}
	}
}

func TestAuthorizeIsTolerantWhereClientsDiffer(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for name, q := range map[string]url.Values{
		"no resource":           request(id, "resource", ""),
		"resource with slash":   request(id, "resource", issuer+"/mcp/"),
		"origin":                request(id, "resource", issuer),
		"origin with slash":     request(id, "resource", issuer+"/"),
		"upper case host":       request(id, "resource", "HTTPS://MCP.EXAMPLE.COM/mcp"),
		"a query of the user's": request(id, "resource", issuer+"/mcp?x=1"),
		"an empty resource":     withExtra(request(id, "resource", ""), "resource", ""),
		"empty beside ours":     withExtra(request(id), "resource", ""),
		"empty parameters":      withExtra(withExtra(withExtra(request(id), "request", ""), "response_mode", ""), "prompt", ""),
		"empty beside a value":  withExtra(request(id), "scope", ""),
		"two forms of us":       withExtra(request(id), "resource", issuer),
		"no scope":              request(id, "scope", ""),
		"scope with spaces":     request(id, "scope", "  openid   offline_access "),
		"unknown scope":         request(id, "scope", "user_impersonation openid"),
		"prompt=consent":        request(id, "prompt", "consent"),
		"unknown parameters":    request(id, "claims", "{}", "acr_values", "x", "nonce", "n"),
		"response_mode=query":   request(id, "response_mode", "query"),
		"state of 4096 bytes":   request(id, "state", strings.Repeat("s", 4096)),
		"state with any bytes":  request(id, "state", "ü \x00&=#\"<>"),
	} {
		t.Run(name, func(t *testing.T) {
			got := w.browser().signIn(q)
			if got.Get("code") == "" || got.Get("state") != q.Get("state") || got.Get("iss") != issuer {
				t.Errorf("the client got %v", got)
			}
		})
	}
}

func TestAuthorizeTakesAForm(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodPost, issuer+"/authorize", strings.NewReader(request(w.publicClient()).Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp := w.browser().do(r)
	wantStatus(t, resp, http.StatusOK)
	match(t, text(t, resp), `name="request" value="([^"]+)"`)
}

func TestConsentPageShowsWhoAsksForWhat(t *testing.T) {
	w := newWorld(t)
	id, _ := w.register(`{"client_name":"Claude & <b>friends</b>","redirect_uris":["http://localhost:3118/callback"],"token_endpoint_auth_method":"none"}`)
	q := request(id, "redirect_uri", "http://localhost:51234/callback", "scope", "tasks")
	body := text(t, w.browser().get(issuer+"/authorize?"+q.Encode()))
	for _, part := range []string{"Claude &amp; bfriends", "chose this name itself", "An app on this computer", "http://localhost:51234/callback",
		"Any app on this computer could claim", "contoso.example", "<code>tasks</code>", "your name, user name and email address", "mcp.example.com", `action="/consent"`, "Stay connected"} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not show %q", part)
		}
	}
	if strings.Contains(body, "offline_access") {
		t.Error("the page shows a scope that was not asked for")
	}
}

// Who asks is told apart by who vouches for it.
func TestConsentPageSaysWhoKnowsTheApp(t *testing.T) {
	w := newWorld(t)
	stranger := w.publicClient()
	w.pin(t)
	const itself, described, unknown, twice = "chose this name itself", `described by <span class="host">client.example</span>`, "This server does not know this app.", "Check this address."
	for name, tt := range map[string]struct {
		q    url.Values
		says []string
	}{
		"a stranger":                {request(stranger), []string{itself, unknown}},
		"a document":                {request(pinnedClient), []string{described}},
		"a document, answered away": {request(pinnedClient, "redirect_uri", elsewhere), []string{described, twice}},
	} {
		body := text(t, w.browser().get(issuer+"/authorize?"+tt.q.Encode()))
		for _, part := range []string{itself, described, unknown, twice, "said to be from"} {
			if strings.Contains(body, part) != slices.Contains(tt.says, part) {
				t.Errorf("%s: the page shows %q: %v", name, part, strings.Contains(body, part))
			}
		}
	}
}

// Users are shown whose word a connection's name is.
func TestANameIsVerifiedByADocumentAlone(t *testing.T) {
	w := newWorld(t)
	stranger := w.publicClient()
	w.pin(t)
	for _, id := range []string{stranger, pinnedClient} {
		w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	}
	connected, err := w.grants.List(t.Context(), w.subject())
	if err != nil || len(connected) != 2 {
		t.Fatalf("%+v, %v", connected, err)
	}
	for _, g := range connected {
		if g.Verified != (g.ClientID == pinnedClient) {
			t.Errorf("%s, %q: verified %v", g.ClientID, g.ClientName, g.Verified)
		}
	}
}

func TestRedirectKeepsTheQueryOfTheRegisteredAddress(t *testing.T) {
	w := newWorld(t)
	registered := callback + "?tenant=a%2Bb&x"
	id, _ := w.register(`{"redirect_uris":["` + registered + `"],"token_endpoint_auth_method":"none"}`)
	resp := w.browser().get(issuer + "/authorize?" + request(id, "redirect_uri", registered, "response_type", "token").Encode())
	if got := offered(t, resp); !strings.HasPrefix(got, registered+"&") || strings.Count(got, "?") != 1 {
		t.Errorf("Location %s, want %s&…", got, registered)
	}
}

func TestAStateThatWasNotSentIsNotMadeUp(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	if got := w.browser().signIn(request(id, "state", "")); got.Has("state") {
		t.Errorf("state %q", got["state"])
	}
	q := request(id)
	q.Set("state", "") // as if it were omitted (RFC 6749 §3.1)
	if got := w.browser().signIn(q); got.Has("state") {
		t.Errorf("state %q for an empty one", got["state"])
	}
}

// RFC 6749 §3.1.2.3.
func TestTheOnlyRegisteredAddressNeedNotBeNamed(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	for _, q := range []url.Values{request(id, "redirect_uri", ""), withExtra(request(id, "redirect_uri", ""), "redirect_uri", "")} {
		got := w.browser().signIn(q)
		f := redemption(id, got.Get("code"))
		f.Del("redirect_uri")
		wantStatus(t, w.post("/token", f), http.StatusOK)
	}
	two, _ := w.register(`{"redirect_uris":["` + callback + `","` + callback + `2"],"token_endpoint_auth_method":"none"}`)
	wantPage(t, w.browser().get(issuer+"/authorize?"+request(two, "redirect_uri", "").Encode()), http.StatusBadRequest)
}

func TestWhatIsNotEncodedProperlyIsRefusedWhole(t *testing.T) {
	w := newWorld(t)
	q := request(w.publicClient()).Encode()
	for _, broken := range []string{q + "&x=%zz", "%&" + q, q + "&scope=%"} {
		resp := w.browser().get(issuer + "/authorize?" + broken)
		wantPage(t, resp, http.StatusBadRequest)
		if !strings.Contains(text(t, resp), "not properly encoded") {
			t.Errorf("%s: the page does not say why", broken)
		}
	}
	wantError(t, w.serve(formRequest("/token", "client_id=x&token=%zz")), http.StatusBadRequest, oauth.InvalidRequest)
}

// Names of parameters are a stranger's text.
func TestTheNameOfADoubledParameterIsRepeatedInPlainCharacters(t *testing.T) {
	w := newWorld(t)
	name := `a"b\c` + "\x01\x7fü~" + strings.Repeat("n", 60)
	resp := w.serve(formRequest("/token", url.QueryEscape(name)+"=1&"+url.QueryEscape(name)+"=2"))
	want := "A parameter occurs more than once: a'bc~" + strings.Repeat("n", 35) + "."
	if got := object(t, resp)["error_description"]; got != want {
		t.Errorf("error_description %q, want %q", got, want)
	}
}

// Typographic characters come from our own words, and from Entra's.
func TestDescriptionsInRedirectsAreASCII(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.upstream.breakWith(&entra.Error{Kind: entra.Unavailable, Summary: "Entra’s “service”\u202e \\is – busy…\x7f"})
	if got := b.arrive(back).Get("error_description"); !strings.HasPrefix(got, "Entra's 'service' is - busy...") {
		t.Errorf("error_description %q", got)
	}
}

func TestStorageOutageIsNoUnknownClient(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	w.clock.Advance(2 * 60e9) // past the registry's cache
	w.table.Before(storetest.Fail(errStorage))
	wantPage(t, w.browser().get(issuer+"/authorize?"+request(id).Encode()), http.StatusServiceUnavailable)
}

func withExtra(q url.Values, name, value string) url.Values {
	q.Add(name, value)
	return q
}
