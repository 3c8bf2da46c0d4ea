package e2e

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"entramcp/e2e/stack"
)

// browserClient is a client that shows in its page what it was sent.
func browserClient(t *testing.T) (callback string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<!doctype html><title>client</title><p id=got>%s", html.EscapeString(r.URL.RawQuery))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/callback"
}

// register registers a client and returns its authorization URL for state.
func register(t *testing.T, s *stack.Stack, name, callback string) func(state string) string {
	t.Helper()
	id := s.Register(t, map[string]any{"client_name": name, "redirect_uris": []string{callback}, "token_endpoint_auth_method": "none"})
	return func(state string) string {
		return s.URL + "/authorize?" + url.Values{
			"response_type": {"code"}, "client_id": {id}, "redirect_uri": {callback}, "state": {state},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
			"scope": {"openid profile email offline_access User.Read"}, "resource": {s.MCP()},
		}.Encode()
	}
}

const (
	approve = `button[value="approve"]`
	cancel  = `button[value="cancel"]`
	accept  = `button[value="accept"]`
	got     = "#got"
)

// decide is how long a person looks at the consent page: its button is not armed
// before, so that no click can land on it by accident.
var decide = chromedp.Sleep(900 * time.Millisecond)

func person(name string) string { return `button[value="` + name + `"]` }

func arrived(t *testing.T, c *stack.Chromium) url.Values {
	t.Helper()
	q, err := url.ParseQuery(stack.Script[string](c, `location.search.slice(1)`))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestAPersonSignsInWithChromium goes from the client over consent and the
// tenant back to the client, and looks at each page on the way.
func TestAPersonSignsInWithChromium(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	c := stack.NewChromium(t)

	c.Do("home", chromedp.Navigate(s.URL+"/"))
	c.Look("home")
	if text := stack.Script[string](c, `document.body.innerText`); !strings.Contains(text, s.MCP()) {
		t.Errorf("the page at / does not name the endpoint:\n%s", text)
	}

	c.Do("consent", chromedp.Navigate(start("one")), chromedp.WaitVisible(approve))
	c.Look("consent")
	text := stack.Script[string](c, `document.body.innerText`)
	for _, want := range []string{"Example Desktop", "An app on this computer", "Read your Microsoft profile", "Stay connected"} {
		if !strings.Contains(text, want) {
			t.Errorf("the consent page does not show %q:\n%s", want, text)
		}
	}
	// What a screen reader and a keyboard need.
	for what, ok := range map[string]string{
		"a language":               `document.documentElement.lang !== ""`,
		"a main landmark":          `document.querySelectorAll("main").length === 1`,
		"one heading of level one": `document.querySelectorAll("h1").length === 1`,
		"named buttons":            `[...document.querySelectorAll("button")].every(b => b.innerText.trim())`,
		"no script":                `document.scripts.length === 0`,
		"nothing loaded":           `performance.getEntriesByType("resource").length === 0`,
	} {
		if !stack.Script[bool](c, ok) {
			t.Errorf("the consent page lacks %s", what)
		}
	}

	c.Do("sign-in", decide, chromedp.Click(approve), chromedp.WaitVisible(person(stack.Alice)))
	c.Look("tenant")
	c.Do("the tenant's own consent", chromedp.Click(person(stack.Alice)), chromedp.WaitVisible(accept))
	c.Do("back to the client", chromedp.Click(accept), chromedp.WaitVisible(got))
	q := arrived(t, c)
	if q.Get("code") == "" || q.Get("state") != "one" || q.Get("iss") != s.URL || q.Get("error") != "" {
		t.Errorf("the client got %v", q)
	}
	// The tenant knows the person now and asks for the account alone.
	c.Do("again", chromedp.Navigate(start("two")), decide, chromedp.Click(approve), chromedp.WaitVisible(person(stack.Alice)), chromedp.Click(person(stack.Alice)), chromedp.WaitVisible(got))
	if q := arrived(t, c); q.Get("code") == "" || q.Get("state") != "two" {
		t.Errorf("the second time the client got %v", q)
	}
}

// TestTwoTabsSignInAtOnce: opening the page twice, or in two tabs, spoils
// neither.
func TestTwoTabsSignInAtOnce(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	one := stack.NewChromium(t)
	one.Do("tab one", chromedp.Navigate(start("one")), chromedp.Reload(), chromedp.WaitVisible(approve))
	two := one.Tab()
	two.Do("tab two", chromedp.Navigate(start("two")), chromedp.WaitVisible(approve), decide, chromedp.Click(approve), chromedp.WaitVisible(person(stack.Bob)))
	one.Do("tab one", decide, chromedp.Click(approve), chromedp.WaitVisible(person(stack.Alice)), chromedp.Click(person(stack.Alice)), chromedp.Click(accept), chromedp.WaitVisible(got))
	two.Do("tab two", chromedp.Click(person(stack.Bob)), chromedp.Click(accept), chromedp.WaitVisible(got))
	for tab, state := range map[*stack.Chromium]string{one: "one", two: "two"} {
		if q := arrived(t, tab); q.Get("code") == "" || q.Get("state") != state {
			t.Errorf("tab %s got %v", state, q)
		}
	}
}

func TestCancelReachesTheClient(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	c := stack.NewChromium(t)
	c.Do("cancel", chromedp.Navigate(start("one")), chromedp.Click(cancel), chromedp.WaitVisible(got))
	if q := arrived(t, c); q.Get("error") != "access_denied" || q.Get("state") != "one" || q.Get("iss") != s.URL {
		t.Errorf("the client got %v", q)
	}
}

// TestAFailureIsAPageInPlainWords: where the client cannot be told, the person
// is, with a reference that the log has too.
func TestAFailureIsAPageInPlainWords(t *testing.T) {
	s := stack.Start(t, stack.Options{Azure: &stack.Azure{}})
	start := register(t, s, "Example Desktop", browserClient(t))
	c := stack.NewChromium(t)
	for name, address := range map[string]string{
		"wrong-redirect": strings.Replace(start("x"), "callback", "elsewhere", 1),
		"unknown-client": strings.Replace(start("x"), "client_id=p-", "client_id=p-x", 1),
		"lost-sign-in":   s.URL + "/auth/callback?state=2026010100-a-" + strings.Repeat("A", 43) + "&code=x",
	} {
		c.Do(name, chromedp.Navigate(address), chromedp.WaitVisible("main h1"))
		c.Look(name)
		text := stack.Script[string](c, `document.body.innerText`)
		_, after, ok := strings.Cut(text, "reference:")
		reference, _, _ := strings.Cut(strings.TrimSpace(after), " ") // the time follows
		if !ok || reference == "" || !strings.Contains(s.Log(), reference) {
			t.Errorf("%s: no reference that is in the log:\n%s", name, text)
		}
		if at := stack.Script[string](c, `location.origin`); at != s.URL {
			t.Errorf("%s led to %s", name, at)
		}
	}
}
