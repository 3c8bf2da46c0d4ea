package e2e

import (
	"html"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
)

const goBack = `button[name="return"]`

// TestEachFailureOfASignInIsAPageThatHelps: what the person has to do or to ask
// for is on a page before the client gets its answer.
func TestEachFailureOfASignInIsAPageThatHelps(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	for _, tt := range []struct {
		page, user string
		edit       func(*tenant.App)
		says       []string
		error      string
	}{
		{"not-assigned", tenant.Erin, func(a *tenant.App) { a.AssignmentRequired = true },
			[]string{"You cannot sign in here", "not assigned", "Users and groups", "Return to Example Desktop"}, "access_denied"},
		{"disabled", tenant.Dave, nil, []string{"Your account is disabled.", "Ask your administrator"}, "access_denied"},
		{"consent", tenant.Bob, func(a *tenant.App) { a.AdminOnly = []string{stack.APIScope} },
			[]string{"An administrator has to approve this first", "/v2.0/adminconsent?", "I am an administrator", "Return to Example Desktop"}, "access_denied"},
		{"other-organization", tenant.Grace, nil, []string{"another organization", "guest"}, "access_denied"},
		{"secret", tenant.Alice, func(a *tenant.App) { a.Secrets = []tenant.Secret{{Value: "another"}} },
			[]string{"This server is not set up correctly", "ENTRA_CLIENT_SECRET", "reference"}, "server_error"},
	} {
		t.Run(tt.page, func(t *testing.T) {
			if tt.edit != nil {
				var before tenant.App
				reconfigure(t, s, func(a *tenant.App) { before = *a; tt.edit(a) })
				defer reconfigure(t, s, func(a *tenant.App) { *a = before })
			}
			c := stack.NewChromium(t)
			c.Do("consent", chromedp.Navigate(start(tt.page)), decide, chromedp.Click(approve), chromedp.WaitVisible(person(tt.user)), chromedp.Click(person(tt.user)))
			if tt.page == "secret" {
				c.Do("Entra's consent", chromedp.Click(accept))
			} else {
				c.Do("Entra's own page", chromedp.Click(goBack))
			}
			c.Do(tt.page, chromedp.WaitVisible("main a.button"))
			// The client waits for an answer and gets it in any case, after 20
			// seconds: the rule counts every return that nobody asked for.
			c.Look("error-"+tt.page, "meta-refresh")
			text := stack.Script[string](c, `document.body.innerText`)
			for _, want := range tt.says {
				if !strings.Contains(text, want) {
					t.Errorf("the page does not say %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "AADSTS") {
				t.Errorf("Entra's numbers are on the page:\n%s", text)
			}
			c.Do("return", chromedp.Click(`main .actions a.button:last-child`), chromedp.WaitVisible(got))
			q := arrived(t, c)
			if q.Get("error") != tt.error || q.Get("state") != tt.page || q.Get("iss") != s.URL || !strings.Contains(q.Get("error_description"), "AADSTS") {
				t.Errorf("the client got %v", q)
			}
		})
	}
}

// TestAnAdministratorApprovesByTheLink: whoever may not approve gets the link,
// the administrator follows it in a browser of their own, reads that it is done,
// and then the first one comes in.
func TestAnAdministratorApprovesByTheLink(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	reconfigure(t, s, func(a *tenant.App) { a.AdminOnly = []string{stack.APIScope} })
	bob := newApp(t, s, stack.Bob)
	if q := bob.authorize("openid"); q.Get("error") != "access_denied" || !strings.Contains(q.Get("error_description"), "AADSTS90094") {
		t.Fatalf("before: %v", q)
	}
	page := bob.browser.Seen[len(bob.browser.Seen)-1].Body
	_, rest, _ := strings.Cut(page, `<code class="select copy">`)
	link, _, _ := strings.Cut(rest, "</code>")
	link = html.UnescapeString(link)

	c := stack.NewChromium(t)
	c.Do("not by an ordinary user", chromedp.Navigate(link), chromedp.Click(person(stack.Bob)), chromedp.Click(`button[name="user"][value=""]`))
	c.Do("declined", chromedp.Click(person(stack.Alice)), chromedp.Click(`button[value="decline"]`), chromedp.WaitVisible("main.card h1"))
	if text := stack.Script[string](c, `document.body.innerText`); !strings.Contains(text, "Not approved") {
		t.Errorf("declined:\n%s", text)
	}
	c.Do("approved", chromedp.Navigate(link), chromedp.Click(accept), chromedp.WaitVisible("main.card h1"))
	if text := stack.Script[string](c, `document.body.innerText`); !strings.Contains(text, "If you approved there") || !strings.Contains(text, "connect again") {
		t.Errorf("approved:\n%s", text)
	}
	bob.signIn("openid")
}

// TestPagesOutsideOfASignIn lead nowhere: there is no client to go back to.
func TestPagesOutsideOfASignIn(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	c := stack.NewChromium(t)
	// Another browser's sign-in: its way back is opened without its cookie.
	foreign := s.Browser(stack.Alice)
	var callback string
	if _, err := foreign.Approve(start("x")); err != nil {
		t.Fatal(err)
	}
	for _, p := range foreign.Seen {
		if strings.HasPrefix(p.URL.Path, "/auth/callback") {
			callback = p.URL.String()
		}
	}
	denied := url.Values{"error": {"permission_denied"}, "error_description": {"The admin canceled the request"}}.Encode()
	for _, tt := range []struct{ page, address, says string }{
		{"foreign-browser", callback, "not started in this browser"},
		{"approved", s.URL + "/auth/callback?admin_consent=True&tenant=" + stack.TenantID, "connect again"},
		{"not-approved", s.URL + "/auth/callback?" + denied, "did not approve"},
	} {
		c.Do(tt.page, chromedp.Navigate(tt.address), chromedp.WaitVisible("main.card h1"))
		c.Look(tt.page)
		if text := stack.Script[string](c, `document.body.innerText`); !strings.Contains(text, tt.says) {
			t.Errorf("the page does not say %q:\n%s", tt.says, text)
		}
		if n := stack.Script[int](c, `document.querySelectorAll("a, meta[http-equiv]").length`); n != 0 {
			t.Errorf("%s leads somewhere", tt.page)
		}
	}
}
