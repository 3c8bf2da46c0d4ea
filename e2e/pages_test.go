package e2e

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"entramcp/e2e/stack"
	"entramcp/handler/pages"
)

// gallery is each page that is not the account's, in each of its forms, by the name of
// its picture. The name begins with that of the page's template.
func gallery() map[string]pages.Page {
	failed := func(p pages.Problem) pages.ErrorPage {
		return pages.NewErrorPage(pages.WordsFor(p), "LG2VUPAWSYVAIX4MA4F7FSQAMZ", time.Date(2026, 11, 26, 11, 30, 0, 0, time.UTC))
	}
	scopes := pages.Permissions([]string{"openid", "profile", "email", "Tasks.Read", "Tasks.Write"}, []string{"openid", "profile", "email", "Tasks.Read"},
		map[string]string{"Tasks.Read": "See your tasks", "Tasks.Write": "Change your tasks"})
	local, web := pages.TargetOf("http://localhost:3118/callback"), pages.TargetOf("https://claude.ai/api/mcp/auth_callback")
	unsure := failed(pages.RejectedRequest)
	unsure.Client, unsure.ReturnTo, unsure.Where, unsure.Technical = "Agents", "https://agents.example/cb", "agents.example", "invalid_scope: The scope is not known here."
	consentNeeded := failed(pages.AdminConsent)
	consentNeeded.Summary, consentNeeded.NextStep = "Your organization lets only administrators approve what this server asks for.", "Send the link to an administrator, then connect again."
	consentNeeded.ConsentURL = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0/adminconsent?client_id=x&scope=y"
	consentNeeded.Client, consentNeeded.ReturnTo, consentNeeded.ReturnAfter = "Claude", "https://claude.ai/cb", 120
	noPage, apps, step := failed(pages.NoPage), failed(pages.AppAddress), failed(pages.NotOpened)
	for _, f := range []*pages.ErrorPage{&noPage, &apps, &step} {
		f.ReturnTo, f.HomePage = "http://localhost:7071/", true
	}
	return map[string]pages.Page{
		"consent-local":      pages.Consent{App: pages.App{Name: "Claude Code"}, Target: local, Scopes: scopes[:3], StaysConnected: true, Tenant: "contoso.example"},
		"consent-scopes":     pages.Consent{App: pages.App{Name: "Claude", Host: "claude.ai"}, Target: web, Scopes: scopes, StaysConnected: true, Tenant: "contoso.example"},
		"consent-unknown":    pages.Consent{App: pages.App{Name: "Agents", Caution: true}, Target: pages.TargetOf("https://agents.example/cb"), Scopes: scopes[:3], StaysConnected: true, Tenant: "contoso.example"},
		"consent-elsewhere":  pages.Consent{App: pages.App{Name: "Claude", Host: "claude.ai", Elsewhere: true, Caution: true}, Target: pages.TargetOf("https://agents.example/cb"), Scopes: scopes[:3], Tenant: "contoso.example"},
		"consent-remembered": pages.Consent{App: pages.App{Name: "Claude", Host: "claude.ai"}, Target: web, RememberedFor: "ada@contoso.example", Scopes: scopes, Tenant: "contoso.example"},
		"consent-other":      pages.Consent{App: pages.App{Name: "Claude", Host: "claude.ai"}, Target: web, OtherAccount: true, Scopes: scopes[:3], Tenant: "contoso.example"},
		"connect": pages.Connect{Client: "Claude", Host: "claude.ai",
			Access: pages.Permissions([]string{"Mail.Read", "Calendars.Read"}, nil, map[string]string{"Mail.Read": "Read your mail", "Calendars.Read": "Read your calendar"})},
		"continue":      pages.Continue{To: "https://login.microsoftonline.com/x", Host: "login.microsoftonline.com", Client: "Claude Code"},
		"done":          pages.Done{Client: "Claude", To: "https://claude.ai/cb"},
		"done-app":      pages.Done{Client: "Cursor", To: "cursor://anysphere.cursor-mcp/oauth/callback", App: true},
		"done-denied":   pages.Done{Client: "Claude", To: "https://claude.ai/cb", Denied: true},
		"error-unsure":  unsure,
		"error-admin":   consentNeeded,
		"error-blocked": failed(pages.Blocked),
		"error-expired": failed(pages.PageExpired),
		"error-over":    failed(pages.SignInOver),
		"error-404":     noPage,
		"error-405":     step,
		"error-apps":    apps,
		"notice-admin":  pages.Notice{Words: pages.BackFromAdminConsent},
		"notice-done":   pages.Notice{Words: pages.Permitted},
		"home": pages.Home{
			Description: "What Contoso's people need every day.", Endpoint: "https://mcp.contoso.example/mcp", Account: "/account", Version: "1.2.3",
			Tools:   []pages.HomeTool{{Name: "list_tasks", Title: "List tasks", Description: "Show your tasks."}},
			Buttons: []pages.HomeButton{{Client: "VS Code", URL: "https://vscode.dev/redirect/mcp/install"}, {Client: "Cursor", URL: "https://cursor.com/en/install-mcp"}},
			Recipes: []pages.HomeRecipe{{Client: "Claude Code", Where: "In a terminal", Text: "claude mcp add --transport http contoso https://mcp.contoso.example/mcp", Then: "Then run /mcp in Claude Code and sign in."}},
		},
	}
}

// TestEveryPageOnEveryScreen looks at all pages in all their forms, of a server without
// a brand and, where it changes something, with one. Those that go on by themselves are held.
func TestEveryPageOnEveryScreen(t *testing.T) {
	refresh := regexp.MustCompile(`<meta http-equiv="refresh"[^>]*>`)
	all := gallery()
	templates, err := filepath.Glob("../handler/pages/html/*.html")
	if err != nil || len(templates) == 0 {
		t.Fatal(err)
	}
	for _, file := range templates {
		name := strings.TrimSuffix(filepath.Base(file), ".html")
		seen := name == "layout" || name == "manage" || strings.HasPrefix(name, "account") // those have tests of their own
		for page := range all {
			seen = seen || page == name || strings.HasPrefix(page, name+"-")
		}
		if !seen {
			t.Errorf("nobody looks at %s", name)
		}
	}
	for prefix, brand := range map[string]pages.Brand{
		"": {Title: "MCP server with Microsoft Entra ID", Host: "localhost:7071", Simulated: true},
		"brand-": {
			Title: "Contoso Tools", Host: "mcp.contoso.example", Accent: "#0f6b4f", Support: "help@contoso.example", Website: "https://contoso.example",
			Privacy: "https://contoso.example/privacy", Terms: "https://contoso.example/terms",
			Icon: "data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIHZpZXdCb3g9IjAgMCAyNCAyNCI+PHJlY3Qgd2lkdGg9IjI0IiBoZWlnaHQ9IjI0IiByeD0iNiIgZmlsbD0iIzBmNmI0ZiIvPjxjaXJjbGUgY3g9IjEyIiBjeT0iMTIiIHI9IjUiIGZpbGw9IiNmZmYiLz48L3N2Zz4=",
		},
	} {
		shown := pages.New(brand)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page, ok := all[strings.TrimPrefix(r.URL.Path, "/")]
			if !ok {
				http.NotFound(w, r)
				return
			}
			held := httptest.NewRecorder()
			shown.Render(held, http.StatusOK, page)
			maps.Copy(w.Header(), held.Header())
			w.Header().Del("Content-Length") // the body is another without the refresh
			_, _ = w.Write(refresh.ReplaceAll(held.Body.Bytes(), nil))
		}))
		defer server.Close()
		c := stack.NewChromium(t)
		for name, page := range all {
			if prefix != "" && !slices.Contains([]string{"consent-scopes", "consent-local", "done-app", "error-admin", "home"}, name) {
				continue // a brand changes what these have
			}
			c.Do(name, chromedp.Navigate(server.URL+"/"+name), chromedp.WaitVisible("main h1"))
			c.Look(prefix + name)
			if _, ok := page.(pages.Consent); ok {
				approveInSight(t, c, prefix+name)
			}
		}
	}
}

// approveInSight holds that the decision, and what it is about, need no scrolling, on a
// phone and on a small window of a desktop.
func approveInSight(t *testing.T, c *stack.Chromium, name string) {
	t.Helper()
	for screen, size := range map[string][2]int64{"a phone": {390, 844}, "a desktop": {1280, 700}} {
		c.Do(name, chromedp.EmulateViewport(size[0], size[1]))
		if bottom := stack.Script[float64](c, `Math.max(...["button[value=approve]", "button[value=cancel]", ".facts"].map(s => document.querySelector(s).getBoundingClientRect().bottom))`); bottom > float64(size[1]) {
			t.Errorf("%s: on %s, the decision ends at %.0f of %d", name, screen, bottom, size[1])
		}
	}
}

// tabTo presses Tab until the expression holds for the element e that has the focus,
// and holds that the focus can be seen at each stop on the way.
func tabTo(t *testing.T, c *stack.Chromium, what, expression string) {
	t.Helper()
	var passed []string
	for range 40 {
		c.Do("tab", chromedp.KeyEvent(kb.Tab))
		at := stack.Script[string](c, `document.activeElement.outerHTML.slice(0, 200)`)
		if !stack.Script[bool](c, `document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
			t.Errorf("the focus cannot be seen on %s", at)
		}
		if stack.Script[bool](c, `(e => `+expression+`)(document.activeElement)`) {
			return
		}
		passed = append(passed, at)
	}
	t.Fatalf("Tab does not come to %s, only to %q", what, passed)
}

// TestAKeyboardIsEnough goes from the home page to the client with Tab, Space and Enter
// alone, and sees at each step where the focus is.
func TestAKeyboardIsEnough(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	c := stack.NewChromium(t)
	press := func(key string) {
		c.Do("press", chromedp.KeyEvent(key))
	}
	c.Do("home", chromedp.Navigate(s.URL+"/"), chromedp.WaitVisible("main h1"))
	tabTo(t, c, "a button of a client", `e.matches(".apps a")`)
	tabTo(t, c, "the command for Claude Code", `e.matches("summary") && e.innerText === "Claude Code"`)
	press(kb.Enter)
	if !stack.Script[bool](c, `document.activeElement.parentElement.open`) {
		t.Error("Enter does not open the command")
	}
	tabTo(t, c, "the connected apps", `e.matches('a[href$="/account"]')`)

	c.Do("consent", chromedp.Navigate(start("keys")), chromedp.WaitVisible(approve))
	tabTo(t, c, "a choice", `e.matches('input[type="checkbox"]')`)
	press(" ")
	if stack.Script[bool](c, `document.activeElement.checked`) {
		t.Error("Space does not untick")
	}
	tabTo(t, c, "Approve", `e.matches('button[value="approve"]')`)
	c.Do("read", decide)
	press(kb.Enter)
	c.Do("sign-in", chromedp.WaitVisible(person(stack.Alice)))
	tabTo(t, c, "Alice", `e.matches('button[value="`+stack.Alice+`"]')`)
	press(kb.Enter)
	c.Do("the tenant's consent", chromedp.WaitVisible(accept))
	tabTo(t, c, "Accept", `e.matches('button[value="accept"]')`)
	press(kb.Enter)
	c.Do("back at the client", chromedp.WaitVisible(got))
	if q := arrived(t, c); q.Get("code") == "" || q.Get("state") != "keys" {
		t.Errorf("the client got %v", q)
	}

	c.Do("a failure", chromedp.Navigate(s.URL+"/no-such-page"), chromedp.WaitVisible("main h1"))
	tabTo(t, c, "the way home", `e.matches("a.button.primary") && e.href === "`+s.URL+`/"`)
}
