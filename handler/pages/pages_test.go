package pages_test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"entramcp/handler/pages"
)

func every() map[string]pages.Page {
	target := pages.TargetOf("http://localhost:3118/callback")
	return map[string]pages.Page{
		"consent": pages.Consent{Action: "/consent", Form: "sealed", Server: "mcp.example.com", Client: "Claude Code", Target: target,
			Scopes: pages.Permissions([]string{"openid", "profile"}, nil), Tenant: "Contoso"},
		"continue": pages.Continue{To: "https://login.microsoftonline.com/t/oauth2/v2.0/authorize?state=s&nonce=n", Host: "login.microsoftonline.com", Client: "Claude Code"},
		"done":     pages.Done{Client: "Cursor", To: "cursor://anysphere.cursor-mcp/oauth/callback?code=c&state=s"},
		"failure":  pages.Failure{Title: "Sign-in failed", Summary: "Why.", NextStep: "What.", ConsentURL: "https://login.microsoftonline.com/t/adminconsent", CorrelationID: "ab12", Client: "Cursor", ReturnTo: "cursor://x/cb?error=access_denied&state=s", ReturnAfter: 20},
		"notice":   pages.Notice{Title: "Approved", Summary: "It is done.", NextStep: "Go back."},
		"home": pages.Home{
			Title: "Example", Description: "What it is for.", Endpoint: "https://mcp.example.com/mcp", Simulated: true,
			Tools:   []pages.HomeTool{{Name: "hello", Title: "Hello", Description: "Say hello."}},
			Buttons: []pages.HomeButton{{Client: "VS Code", URL: "https://vscode.dev/redirect/mcp/install?name=x&config=%7B%7D"}, {Client: "Goose", URL: "goose://extension?id=x"}},
			Recipes: []pages.HomeRecipe{{Client: "Claude Code", Where: "In a terminal", Text: "claude mcp add", Then: "Then run /mcp."}},
			Account: "/account", Support: "mailto:help@example.com", Version: "1.2.3",
		},
	}
}

func render(t *testing.T, p pages.Page) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	pages.Render(rec, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusOK, p)
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

func TestHostileNamesAreEscapedAndShownPlain(t *testing.T) {
	for _, name := range []string{
		`<script>alert(1)</script>`,
		`"><form action="https://evil.example">`,
		"Claude\u202Eedoc\u2066 \u200B\x00Code",
		strings.Repeat("long ", 100),
		" \u200B ",
	} {
		_, body := render(t, pages.Consent{Client: name, Target: pages.TargetOf("https://evil.example/cb")})
		if strings.Contains(body, "<script") || strings.Count(body, "<form") != 1 {
			t.Errorf("%q is markup on the page", name)
		}
		if strings.ContainsAny(body, "\u202E\u2066\u200B\x00") {
			t.Errorf("%q keeps characters that reorder or hide text", name)
		}
		shown := html.UnescapeString(regexp.MustCompile(`<bdi>(.*?)</bdi>`).FindStringSubmatch(body)[1])
		if n := len([]rune(shown)); n == 0 || n > 60 {
			t.Errorf("%q is shown as %d characters", name, n)
		}
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
		_, body := render(t, pages.Consent{Client: "Any", Target: pages.TargetOf(tt.uri)})
		if !strings.Contains(body, tt.where) {
			t.Errorf("%s: the page does not show %q", tt.uri, tt.where)
		}
		if got := strings.Contains(body, "Any app on this computer could claim"); got != tt.local {
			t.Errorf("%s: impersonation warning %v, want %v", tt.uri, got, tt.local)
		}
	}
}

func TestConsentTellsVerifiedFromSelfAsserted(t *testing.T) {
	_, body := render(t, pages.Consent{Client: "Claude", VerifiedHost: "claude.ai"})
	if !strings.Contains(body, "Verified: claude.ai") || strings.Contains(body, "Self-asserted") {
		t.Error("a verified client is not shown as such")
	}
	_, body = render(t, pages.Consent{Client: "Claude"})
	if strings.Contains(body, "Verified") || !strings.Contains(body, "Self-asserted name") {
		t.Error("a self-asserted name passes as verified")
	}
}

func TestScopesAreSaidInPlainWords(t *testing.T) {
	got := pages.Permissions([]string{"Files.Read", "email", "offline_access", "openid", "tasks"}, map[string]string{"tasks": "See your tasks"})
	want := []pages.Permission{
		{"openid", "Know that it is you"},
		{"email", "See your e-mail address"},
		{"Files.Read", ""},
		{"tasks", "See your tasks"},
		{"offline_access", "Stay connected when you are away, until you disconnect it"},
	}
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
	_, body := render(t, pages.Consent{Client: "Any", Scopes: got})
	if !strings.Contains(body, "<code>Files.Read</code>") {
		t.Error("a scope without a description is not shown at all")
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

func TestFailureLeadsBackToTheClient(t *testing.T) {
	p := every()["failure"].(pages.Failure)
	_, body := render(t, p)
	if got, want := refresh(t, body), "20;url="+p.ReturnTo; got != want {
		t.Errorf("refresh %q, want %q", got, want)
	}
	for _, part := range []string{"Return to <bdi>Cursor</bdi>", "ab12", "I am an administrator", ">https://login.microsoftonline.com/t/adminconsent</code>"} {
		if !strings.Contains(body, part) {
			t.Errorf("no %q on the page", part)
		}
	}
	_, body = render(t, pages.Failure{Title: "Unknown app"})
	if strings.Contains(body, "refresh") || strings.Contains(body, "<a ") {
		t.Error("a failure without a safe way back has a link all the same")
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
	_, body = render(t, pages.Home{Icon: "data:text/html;base64,PHNjcmlwdD4=", Support: "javascript:alert(1)", Buttons: []pages.HomeButton{{URL: "data:text/html,x"}}})
	if strings.Contains(body, "data:text") || strings.Contains(body, "javascript:") {
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
