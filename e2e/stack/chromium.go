package stack

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Chromium is a real browser, headless, until the test ends.
type Chromium struct {
	tb  testing.TB
	ctx context.Context
}

// Tests of a binary share a process: one as on a phone, where nothing hovers, and one
// with a mouse.
var (
	touched = sync.OnceValues(func() (context.Context, error) { return startChromium() })
	pointed = sync.OnceValues(func() (context.Context, error) {
		return startChromium(chromedp.Flag("blink-settings", "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"))
	})

	running struct {
		sync.Mutex
		end []context.CancelFunc
	}
)

func startChromium(more ...chromedp.ExecAllocatorOption) (context.Context, error) {
	dir, err := scratch() // it leaves files behind where it is ended
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Env("TMPDIR="+dir),
		// The certificate of a stack under https is its own.
		chromedp.Flag("ignore-certificate-errors", true))
	ctx, end := chromedp.NewExecAllocator(context.Background(), append(options, more...)...)
	running.Lock()
	running.end = append(running.end, end)
	running.Unlock()
	ctx, _ = chromedp.NewContext(ctx)
	return ctx, chromedp.Do(ctx, chromedp.Navigate("about:blank"))
}

// Main runs the tests of a binary, ends the processes that their Chromiums share
// and removes what was built for them.
func Main(m *testing.M) (status int) {
	defer func() {
		for _, end := range running.end {
			end()
		}
		if dir, err := scratch(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}()
	return m.Run()
}

// NewChromium is one without any cookie, for test binaries that run by Main.
func NewChromium(tb testing.TB) *Chromium {
	tb.Helper()
	return newChromium(tb, touched)
}

// NewChromiumWithMouse is NewChromium on a computer with a mouse, where pages can
// tell that the pointer is over something.
func NewChromiumWithMouse(tb testing.TB) *Chromium {
	tb.Helper()
	c := newChromium(tb, pointed)
	if !Script[bool](c, `matchMedia("(hover: hover)").matches`) {
		tb.Fatal("the browser has no mouse")
	}
	return c
}

func newChromium(tb testing.TB, start func() (context.Context, error)) *Chromium {
	tb.Helper()
	process, err := start()
	if err != nil {
		tb.Fatalf("Chromium does not start: %v", err)
	}
	ctx, cancel := chromedp.NewContext(process, chromedp.WithNewBrowserContext())
	tb.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		tb.Fatalf("Chromium opens no tab: %v", err)
	}
	return &Chromium{tb, ctx}
}

// Tab is another tab of the same browser: it shares the cookies.
func (c *Chromium) Tab() *Chromium {
	ctx, cancel := chromedp.NewContext(c.ctx)
	c.tb.Cleanup(cancel)
	return &Chromium{c.tb, ctx}
}

// Do runs the steps, which have to succeed within 20 seconds.
func (c *Chromium) Do(what string, steps ...chromedp.Action[chromedp.Void]) {
	c.tb.Helper()
	// The first use of a tab makes it, and its context must have no deadline.
	if err := chromedp.Do(c.ctx, chromedp.Sleep(0)); err != nil {
		c.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		at, _ := chromedp.Run(c.ctx, chromedp.Location())
		c.tb.Fatalf("%s at %s: %v", what, at, err)
	}
}

// Script evaluates an expression on the current page.
func Script[T any](c *Chromium, expression string) T {
	c.tb.Helper()
	v, err := chromedp.Run(c.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		c.tb.Fatalf("%s: %v", expression, err)
	}
	return v
}

// screens are a phone and a desktop, light and dark.
var screens = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"phone-light", 390, 844, "light"}, {"phone-dark", 390, 844, "dark"},
	{"desktop-light", 1280, 700, "light"}, {"desktop-dark", 1280, 700, "dark"},
}

// Look looks at the current page on every screen: axe-core must find nothing
// wrong with it except by the rules named, and nothing may be cut off at the
// side. With SCREENSHOTS set to a directory, the pictures are kept there.
func (c *Chromium) Look(page string, except ...string) {
	c.tb.Helper()
	for _, s := range screens {
		c.Do(page, chromedp.EmulateViewport(s.width, s.height))
		// Without motion, or colours would be read while they change.
		features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}
		if _, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
			c.tb.Fatal(err)
		}
		if wide := Script[int64](c, `document.documentElement.scrollWidth`); wide > s.width {
			c.tb.Errorf("%s on %s is %d wide", page, s.name, wide)
		}
		for _, finding := range c.Axe(except...) {
			c.tb.Errorf("%s on %s: %s", page, s.name, finding)
		}
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			png, err := chromedp.Run(c.ctx, chromedp.FullScreenshot(100))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, page+"-"+s.name+".png"), png, 0o600)
			}
			if err != nil {
				c.tb.Fatal(err)
			}
		}
	}
}
