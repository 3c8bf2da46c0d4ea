package stack

import (
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestAxeFindsWhatIsWrong: a page that forbids every script of its own is
// checked all the same.
func TestAxeFindsWhatIsWrong(t *testing.T) {
	const policy = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`
	c := NewChromium(t)
	for _, tt := range []struct{ page, rule string }{
		{`<!doctype html><html lang=en><title>a</title>` + policy + `<main><h1>Heading</h1><p>Text.</main>`, ""},
		{`<!doctype html><html><title>a</title>` + policy + `<main><h1>Heading</h1><p>Text.</main>`, "html-has-lang"},
		{`<!doctype html><html lang=en><title>a</title>` + policy + `<main><h1>Heading</h1><p style="color:%23ccc">Text.</main>`, "color-contrast"},
		{`<!doctype html><html lang=en><title>a</title>` + policy + `<main><h1>Heading</h1><input type=text></main>`, "label"},
	} {
		c.Do("the page", chromedp.Navigate("data:text/html,"+tt.page))
		found := c.Axe()
		if tt.rule == "" && len(found) > 0 || tt.rule != "" && (len(found) == 0 || !strings.HasPrefix(found[0], tt.rule+":")) {
			t.Errorf("%s: want %q, found %q", tt.page, tt.rule, found)
		}
	}
}
