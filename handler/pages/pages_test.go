package pages_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"entramcp/handler/pages"
)

// example has all that a brand can have.
var example = pages.New(pages.Brand{
	Title: "Example", Host: "mcp.example.com", Support: "help@example.com", Website: "https://example.com", Privacy: "https://example.com/privacy",
	Terms: "https://example.com/terms", Icon: "data:image/svg+xml;base64,PHN2Zy8+", Accent: "#0f6b4f", Simulated: true,
})

func every() map[string]pages.Page {
	target := pages.TargetOf("http://localhost:3118/callback")
	return map[string]pages.Page{
		"consent": pages.Consent{Action: "/consent", Form: "sealed", App: pages.App{Name: "Claude Code"}, Target: target,
			Scopes: pages.Permissions([]string{"openid", "profile", "tasks"}, []string{"openid"}, nil), StaysConnected: true, Tenant: "Contoso"},
		"again": pages.Consent{Action: "/consent", Form: "sealed", App: pages.App{Name: "Claude", Host: "claude.ai"},
			Target: pages.TargetOf("https://claude.ai/api/mcp/auth_callback"), RememberedFor: "ada@contoso.example"},
		"connect": pages.Connect{Client: "Claude", Host: "claude.ai", Action: "/connect", Request: "sealed", Form: "sealed",
			Access: pages.Permissions([]string{"User.Read.All"}, nil, map[string]string{"User.Read.All": "Read profiles"})},
		"continue": pages.Continue{To: "https://login.microsoftonline.com/t/oauth2/v2.0/authorize?state=s&nonce=n", Host: "login.microsoftonline.com", Client: "Claude Code"},
		"done":     pages.Done{Client: "Claude", To: "https://claude.ai/api/mcp/auth_callback?code=c&state=s"},
		"app":      pages.Done{Client: "Cursor", To: "cursor://anysphere.cursor-mcp/oauth/callback?code=c&state=s", App: true},
		"denied":   pages.Done{Client: "Claude", To: "https://claude.ai/api/mcp/auth_callback?error=access_denied", Denied: true},
		"error": pages.ErrorPage{Words: pages.Words{Title: "Sign-in failed", Summary: "Why.", NextStep: "What."}, ConsentURL: "https://login.microsoftonline.com/t/adminconsent",
			Reference: "ab12", Time: "2026-11-26 11:30:00 UTC", Technical: "invalid_request: x",
			Client: "Claude", ReturnTo: "https://claude.ai/cb?error=access_denied&state=s", ReturnAfter: 20},
		"notice": pages.Notice{Words: pages.BackFromAdminConsent},
		"home": pages.Home{
			Description: "What it is for.", Endpoint: "https://mcp.example.com/mcp",
			Tools:   []pages.HomeTool{{Name: "hello", Title: "Hello", Description: "Say hello."}},
			Buttons: []pages.HomeButton{{Client: "VS Code", URL: "https://vscode.dev/redirect/mcp/install?name=x&config=%7B%7D"}, {Client: "Goose", URL: "goose://extension?id=x"}},
			Recipes: []pages.HomeRecipe{{Client: "Claude Code", Where: "In a terminal", Text: "claude mcp add", Then: "Then run /mcp."}},
			Account: "/account", Version: "1.2.3",
		},
	}
}

func render(t *testing.T, p pages.Page) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	example.Render(rec, http.StatusOK, p)
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Result(), rec.Body.String()
}

func TestPagesRunNothingAndLoadNothing(t *testing.T) {
	active := regexp.MustCompile(`(?i)<script|<img|<iframe|<link|<object|\son[a-z]+=|style="|@import|url\(|javascript:`)
	for name, p := range every() {
		t.Run(name, func(t *testing.T) {
			_, body := render(t, p)
			body = strings.ReplaceAll(body, `<img class="icon" src="data:image/`, "")
			if found := active.FindString(body); found != "" {
				t.Errorf("the page holds %q", found)
			}
		})
	}
}

func TestPolicyAllowsExactlyTheStyleOnThePage(t *testing.T) {
	sheet := regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	for name, p := range every() {
		t.Run(name, func(t *testing.T) {
			resp, body := render(t, p)
			m := sheet.FindAllStringSubmatch(body, -1)
			if len(m) != 1 {
				t.Fatalf("%d style elements, want 1", len(m))
			}
			sum := sha256.Sum256([]byte(m[0][1]))
			want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
				"'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
			if got := resp.Header.Get("Content-Security-Policy"); got != want {
				t.Errorf("policy %q\nwant   %q", got, want)
			}
		})
	}
}

func TestPagesCannotBeFramedStoredOrLeakTheirAddress(t *testing.T) {
	want := map[string]string{
		"X-Frame-Options":            "DENY",
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "no-referrer",
		"Cache-Control":              "no-store",
		"Content-Type":               "text/html; charset=utf-8",
		"Cross-Origin-Opener-Policy": "", // would cut a popup from the client that opened it
	}
	for name, p := range every() {
		resp, _ := render(t, p)
		for header, value := range want {
			if got := resp.Header.Get(header); got != value {
				t.Errorf("%s: %s is %q, want %q", name, header, got, value)
			}
		}
	}
}

func TestPagesAreReadableByAssistiveTechnology(t *testing.T) {
	for name, p := range every() {
		_, body := render(t, p)
		for _, part := range []string{`<html lang="en">`, "<main", "<h1>", "<title>", `name="viewport"`} {
			if strings.Count(body, part) != 1 {
				t.Errorf("%s: %d × %s, want 1", name, strings.Count(body, part), part)
			}
		}
		for _, m := range regexp.MustCompile(`aria-labelledby="([^"]+)"`).FindAllStringSubmatch(body, -1) {
			if !strings.Contains(body, `id="`+m[1]+`"`) {
				t.Errorf("%s: aria-labelledby names %q, which is not on the page", name, m[1])
			}
		}
	}
}

func TestHostileNamesAreEscaped(t *testing.T) {
	for _, name := range []string{`<script>alert(1)</script>`, `"><form action="https://evil.example">`} {
		_, body := render(t, pages.Consent{App: pages.App{Name: name}, Target: pages.TargetOf("https://evil.example/cb")})
		if strings.Contains(body, "<script") || strings.Count(body, "<form") != 1 {
			t.Errorf("%q is markup on the page", name)
		}
	}
	_, body := render(t, pages.Consent{})
	if !strings.Contains(body, "An app without a name") {
		t.Error("an app without a name has nothing in its place")
	}
}

func TestConsentShowsWhereAccessGoes(t *testing.T) {
	for _, tt := range []struct {
		uri, where, detail string
		local              bool
	}{
		{"https://claude.ai/api/mcp/auth_callback?x=1", "claude.ai", "https://claude.ai/api/mcp/auth_callback", false},
		{"https://claude.ai:8443/cb", "claude.ai:8443", "https://claude.ai:8443/cb", false},
		{"https://аpple.example/cb", "xn--pple-43d.example", "https://xn--pple-43d.example/cb", false},
		{"https://claude.ai@evil.example/cb", "evil.example", "https://evil.example/cb", false},
		{"http://127.0.0.1:33418/", "An app on this computer", "http://127.0.0.1:33418/", true},
		{"http://[::1]:5000/cb", "An app on this computer", "http://[::1]:5000/cb", true},
		{"cursor://anysphere.cursor-mcp/oauth/callback", "An app on this computer", "cursor://anysphere.cursor-mcp", true},
	} {
		want := pages.Target{Where: tt.where, Detail: tt.detail, Local: tt.local}
		if got := pages.TargetOf(tt.uri); got != want {
			t.Errorf("%s is %+v, want %+v", tt.uri, got, want)
		}
		_, body := render(t, pages.Consent{App: pages.App{Name: "Any"}, Target: pages.TargetOf(tt.uri)})
		if !strings.Contains(body, tt.where) {
			t.Errorf("%s: the page does not show %q", tt.uri, tt.where)
		}
		if got := strings.Contains(body, "Any app on this computer could claim"); got != tt.local {
			t.Errorf("%s: impersonation warning %v, want %v", tt.uri, got, tt.local)
		}
	}
}

// What a host says of an app stands beside the host, and nothing of it is a mark
// of approval: the name is the app's own word in either case.
func TestConsentSaysWhoVouchesForTheApp(t *testing.T) {
	for name, tt := range map[string]struct {
		app      pages.App
		redirect string
		says     []string
		not      []string
	}{
		"registered, unknown":        {pages.App{Name: "Agents", Caution: true}, "https://agents.example/cb", []string{"chose this name itself", "This server does not know this app", "agents.example"}, []string{"described by"}},
		"registered, listed":         {pages.App{Name: "Agents"}, "https://agents.example/cb", []string{"chose this name itself"}, []string{"does not know this app", "described by"}},
		"document, own host":         {pages.App{Name: "Claude", Host: "claude.ai"}, "https://claude.ai/cb", []string{"described by <span class=\"host\">claude.ai</span>"}, []string{"does not know this app", "Check this address", "chose this name"}},
		"document, other host":       {pages.App{Name: "Claude", Host: "a.example", Elsewhere: true, Caution: true}, "https://b.example/cb", []string{"Check this address", "described by <span class=\"host\">a.example</span>", "access goes to <span class=\"host\">b.example</span>"}, nil},
		"document, a copy of ours":   {pages.App{Name: "Claude", Host: "claude.ai", Unchecked: true}, "https://claude.ai/cb", []string{"said to be from <span class=\"host\">claude.ai</span>, which could not be reached"}, []string{"described by"}},
		"document, on this computer": {pages.App{Name: "Claude Code", Host: "claude.ai"}, "http://localhost/cb", []string{"Did you start this?"}, []string{"does not know this app", "Check this address"}},
	} {
		_, body := render(t, pages.Consent{App: tt.app, Target: pages.TargetOf(tt.redirect)})
		for _, part := range tt.says {
			if !strings.Contains(body, part) {
				t.Errorf("%s: the page does not say %q", name, part)
			}
		}
		for _, part := range append(tt.not, "Verified", "badge") {
			if strings.Contains(body, part) {
				t.Errorf("%s: the page says %q", name, part)
			}
		}
	}
}

func TestScopesAreSaidInPlainWords(t *testing.T) {
	got := pages.Permissions([]string{"Files.Read", "email", "offline_access", "openid", "tasks"}, []string{"openid", "email", "tasks"}, map[string]string{"tasks": "See your tasks"})
	want := []pages.Permission{
		{"Files.Read", "", true},
		{"email", "See your email address", false},
		{"offline_access", "Stay connected when you are away", false},
		{"openid", "Know who you are", false},
		{"tasks", "See your tasks", false},
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	_, body := render(t, pages.Consent{App: pages.App{Name: "Any"}, Scopes: got, StaysConnected: true})
	for _, part := range []string{"<code>Files.Read</code>", "See your tasks", "Stay connected when you are away", `name="allow:Files.Read" value="yes" checked`, `name="choice"`} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not hold %q", part)
		}
	}
	if strings.Count(body, `type="checkbox"`) != 1 {
		t.Error("what is required can be left out")
	}
	_, list, _ := strings.Cut(body, `<ul class="scopes">`)
	list, _, _ = strings.Cut(list, "</ul>")
	if strings.Contains(list, "email address") || strings.Contains(list, "name") && strings.Contains(list, "See your name") {
		t.Errorf("the app is promised what only this server learns:\n%s", list)
	}
	_, details, _ := strings.Cut(body, "<details>")
	for _, p := range got {
		if !strings.Contains(details, "<code>"+p.Scope+"</code>") {
			t.Errorf("the code of %s is nowhere to be seen", p.Scope)
		}
	}
}

// A GUID tells people nothing of where they sign in; whoever looks for it finds it.
func TestATenantIsShownByNameOrAmongTheDetails(t *testing.T) {
	const id = "c0a7050c-0000-4000-8000-000000000001"
	for tenant, inSight := range map[string]bool{"contoso.example": true, "organizations": true, id: false} {
		_, body := render(t, pages.Consent{App: pages.App{Name: "Any"}, Tenant: tenant})
		before, details, _ := strings.Cut(body, "<details>")
		if strings.Contains(before, tenant) != inSight || !strings.Contains(details, "<code>"+tenant+"</code>") {
			t.Errorf("%s: in sight %v", tenant, !inSight)
		}
	}
}

func TestAConnectionWithoutRefreshTokensDoesNotStay(t *testing.T) {
	_, body := render(t, pages.Consent{App: pages.App{Name: "Any"}, Scopes: pages.Permissions([]string{"offline_access"}, nil, nil)})
	if strings.Contains(body, "Stay connected") {
		t.Error("the page promises what the app does not get")
	}
}

func TestContinueGoesToSignInByItselfAndByLink(t *testing.T) {
	p := every()["continue"].(pages.Continue)
	_, body := render(t, p)
	if got := refresh(t, body); got != "0;url="+p.To {
		t.Errorf("refresh %q, want 0;url=%s", got, p.To)
	}
	if got := attribute(t, body, `<a [^>]*href="([^"]*)"`); got != p.To {
		t.Errorf("link %q, want %q", got, p.To)
	}
}

func TestAppSchemesAreKeptAndActiveOnesAreBlocked(t *testing.T) {
	for to, want := range map[string]string{
		"cursor://anysphere.cursor-mcp/cb?code=c&state=a%2Bb": "cursor://anysphere.cursor-mcp/cb?code=c&state=a%2Bb",
		"javascript:alert(1)":                      "#blocked",
		"JavaScript:alert(1)":                      "#blocked",
		"data:text/html,<script>alert(1)</script>": "#blocked",
		"vbscript:x":                               "#blocked",
		"/relative":                                "#blocked",
		"\x01javascript:alert(1)":                  "#blocked",
	} {
		_, body := render(t, pages.Done{Client: "Cursor", To: to})
		if got := refresh(t, body); got != "0;url="+want {
			t.Errorf("%s: refresh %q, want %q", to, got, want)
		}
		if got := attribute(t, body, `<a [^>]*href="([^"]*)"`); got != want {
			t.Errorf("%s: link %q, want %q", to, got, want)
		}
	}
}

// A stranger's link could otherwise lead into any app.
func TestAnAppIsOpenedByAClickAlone(t *testing.T) {
	for name, p := range map[string]pages.Page{"done": every()["app"], "denied": pages.Done{Client: "Cursor", To: "cursor://x", App: true, Denied: true}} {
		_, body := render(t, p)
		if strings.Contains(body, "http-equiv") || strings.Count(body, "<a ") != 1 || !strings.Contains(body, "Open <bdi>Cursor</bdi>") {
			t.Errorf("%s: %s", name, body)
		}
	}
}

func TestDeniedLooksDenied(t *testing.T) {
	_, body := render(t, every()["denied"])
	if !strings.Contains(body, "<h1>Not approved</h1>") || !strings.Contains(body, "gets no access") || strings.Contains(body, `class="button primary"`) {
		t.Error(body)
	}
}

func TestAnErrorPageLeadsBackAndSaysWhomToAsk(t *testing.T) {
	p := every()["error"].(pages.ErrorPage)
	_, body := render(t, p)
	if got, want := refresh(t, body), "20;url="+p.ReturnTo; got != want {
		t.Errorf("refresh %q, want %q", got, want)
	}
	for _, part := range []string{"Return to <bdi>Claude</bdi>", `<code class="select copy">ab12 · 2026-11-26 11:30:00 UTC</code>`, `href="mailto:help@example.com"`,
		"I am an administrator", ">https://login.microsoftonline.com/t/adminconsent</code>", "For developers of the app", "invalid_request: x"} {
		if !strings.Contains(body, part) {
			t.Errorf("no %q on the page", part)
		}
	}
	rec := httptest.NewRecorder()
	pages.New(pages.Brand{}).Render(rec, http.StatusOK, pages.ErrorPage{Words: pages.WordsFor(pages.UnknownApp), Reference: "ab12"})
	body = rec.Body.String()
	if strings.Contains(body, "refresh") || strings.Contains(body, "<a ") {
		t.Error("an error page without a safe way back has a link all the same")
	}
	if !strings.Contains(body, "the operator of this server") {
		t.Error("the page does not say whom to ask")
	}
	_, body = render(t, pages.ErrorPage{Words: pages.WordsFor(pages.RejectedRequest), Client: "Agents", ReturnTo: "https://agents.example/cb", Where: "agents.example"})
	if !strings.Contains(body, `leads to <strong class="host">agents.example</strong>`) {
		t.Error("the page does not say where its button leads")
	}
}

// PKCE, states and cookies of ours are not shown to people, whatever happened.
func TestEveryProblemHasWordsForPeople(t *testing.T) {
	seen := map[string]pages.Problem{}
	for _, p := range pages.Problems() {
		w := pages.WordsFor(p)
		if w.Title == "" {
			t.Errorf("%s has no title", p)
		}
		if w.Summary == "" && seen[w.Title] != "" {
			t.Errorf("%s says the same as %s", p, seen[w.Title])
		}
		seen[w.Title] = p
		for _, word := range []string{"PKCE", "OAuth", "redirect", "client_id", "scope", "state", "token", "CSRF", "URI"} {
			if strings.Contains(w.Title+w.Summary+w.NextStep, word) {
				t.Errorf("%s says %q", p, word)
			}
		}
	}
	if pages.WordsFor("unheard of") != pages.WordsFor(pages.Fault) {
		t.Error("a problem without words has none")
	}
}

func TestHomeShowsWhatItIsGiven(t *testing.T) {
	_, body := render(t, every()["home"])
	body = html.UnescapeString(body)
	for _, part := range []string{
		"<h1>Example</h1>", "What it is for.", "https://mcp.example.com/mcp", "Say hello.", `href="goose://extension?id=x"`, "claude mcp add",
		`href="/account"`, `href="mailto:help@example.com"`, "Version 1.2.3", "Simulated tenant",
	} {
		if !strings.Contains(body, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
	rec := httptest.NewRecorder()
	pages.New(pages.Brand{Icon: "data:text/html;base64,PHNjcmlwdD4=", Support: "javascript:alert(1)"}).Render(rec, http.StatusOK, pages.Home{Buttons: []pages.HomeButton{{URL: "data:text/html,x"}}})
	body = rec.Body.String()
	if strings.Contains(body, "data:text") || strings.Contains(body, `"javascript:`) {
		t.Error("an address that runs something is a link")
	}
}

func refresh(t *testing.T, body string) string {
	t.Helper()
	return attribute(t, body, `http-equiv="refresh" content="([^"]*)"`)
}

func attribute(t *testing.T, body, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindAllStringSubmatch(body, -1)
	if len(m) == 0 {
		t.Fatalf("nothing matches %s in\n%s", pattern, body)
	}
	return html.UnescapeString(m[len(m)-1][1])
}

// Without its length a page goes out in chunks, which takes more writes.
func TestAPageIsSentWithItsLength(t *testing.T) {
	for name, page := range every() {
		t.Run(name, func(t *testing.T) {
			res, body := render(t, page)
			if got, want := res.Header.Get("Content-Length"), strconv.Itoa(len(body)); got != want {
				t.Errorf("Content-Length is %q, want %s", got, want)
			}
		})
	}
}
