package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"entramcp/dev/tenant"
	"entramcp/e2e/stack"
)

// labelled is whether the words of e, or of its label, begin so, for tabTo.
func labelled(words string) string {
	return fmt.Sprintf(`(e.labels?.[0] ?? e).innerText.replace(/\s+/g, " ").trim().startsWith(%q)`, words)
}

// TestTheAccountPagesInChromium: on phone and desktop, light and dark, with nothing
// that axe-core finds, and all of it with the keyboard alone.
func TestTheAccountPagesInChromium(t *testing.T) {
	s := stack.StartLocal(t, map[string]string{"ENTRA_CLIENT_SECRET_EXPIRES": time.Now().AddDate(0, 0, 5).Format(time.DateOnly), "PINNED_CLIENTS": pinnedList}, nil)
	if err := s.Tenant.Reconfigure(stack.ClientID, func(app *tenant.App) { app.AppRoles = append(app.AppRoles, tenant.ManageRole) }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		newApp(t, s, stack.Alice).signIn("openid", "offline_access", "User.Read")
	}
	if _, err := s.Browser(stack.Alice).Approve((&audited{Local: s, t: t}).authorization(pinnedClient, pinnedRedirect)); err != nil {
		t.Fatal(err)
	}

	c := stack.NewChromium(t)
	c.Do("account sign-in", chromedp.Navigate(s.URL+"/account"), chromedp.WaitVisible("main h1"))
	c.Look("account-sign-in")
	tabTo(t, c, "Sign in", labelled("Sign in"))
	c.Do("to the tenant", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(person(stack.Alice)), chromedp.Click(person(stack.Alice)))
	c.Do("account", chromedp.WaitVisible(`h2#apps`))
	c.Look("account")
	for _, want := range []string{"This server needs attention", "wire", "Remembered approvals", "What is kept about you", "Manage connections"} {
		if text := stack.Script[string](c, `document.body.innerText`); !strings.Contains(text, want) {
			t.Errorf("the page does not show %q:\n%s", want, text)
		}
	}

	tabTo(t, c, "What it may do", labelled("What it may do"))
	c.Do("unfold", chromedp.KeyEvent(kb.Enter))
	if open := stack.Script[bool](c, `document.querySelector("details").open`); !open {
		t.Error("Enter does not unfold what an app may do")
	}
	tabTo(t, c, "Disconnect wire", labelled("Disconnect wire"))
	c.Do("disconnect", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`[role=status]`))
	c.Look("account-disconnected")
	if left := stack.Script[int](c, `document.querySelectorAll("form[action$='/disconnect']").length`); left != 1 {
		t.Errorf("%d apps are left", left)
	}
	tabTo(t, c, "Remove everything", labelled("Remove everything"))
	c.Do("erase", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`button[name=sure]`))
	c.Look("account-erase")
	c.Do("back", chromedp.Navigate(s.URL+"/account"), chromedp.WaitVisible(`h2#apps`))
	tabTo(t, c, "Manage connections", labelled("Manage connections"))
	c.Do("manage", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`h2#user`))
	tabTo(t, c, "Object ID", labelled("Object ID"))
	c.Do("a user", chromedp.KeyEvent(s.Tenant.ObjectID(stack.Alice)+kb.Enter), chromedp.WaitVisible(`button[value="block-user"]`))
	tabTo(t, c, "Part of its name", labelled("Part of its name"))
	c.Do("an app", chromedp.KeyEvent("wire"+kb.Enter), chromedp.WaitVisible(`code.select`))
	tabTo(t, c, "Value", labelled("Value"))
	c.Do("block a client", chromedp.KeyEvent("evil-client"))
	tabTo(t, c, "Reason", labelled("Reason"))
	c.Do("with a reason", chromedp.KeyEvent("phishing"))
	tabTo(t, c, "Block", labelled("Block"))
	c.Do("block", chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`[role=status]`))
	c.Look("manage")
	if text := stack.Script[string](c, `document.body.innerText`); !strings.Contains(text, "evil-client") || !strings.Contains(text, "phishing") {
		t.Errorf("the block is not shown:\n%s", text)
	}
}
