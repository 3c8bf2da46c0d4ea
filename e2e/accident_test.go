package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"entramcp/e2e/stack"
)

// asked is a server and the address of its consent page.
func asked(t *testing.T) (s *stack.Stack, page string) {
	t.Helper()
	s = stack.Start(t, stack.Options{})
	return s, register(t, s, "Chromium test", browserClient(t))("one")
}

// undecided checks that the browser is still where it asks, though everything
// had time to happen.
func undecided(t *testing.T, s *stack.Stack, c *stack.Chromium, after string) {
	t.Helper()
	time.Sleep(100 * time.Millisecond) // a browser does not say that nothing will follow
	if at := stack.Script[string](c, `location.href`); !strings.HasPrefix(at, s.URL+"/authorize?") {
		t.Fatalf("%s: the browser is at %s", after, at)
	}
}

// middle is where the approve button is.
func middle(c *stack.Chromium) (x, y float64) {
	at := stack.Script[[]float64](c, `(b => { const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })(document.querySelector("button[value=approve]"))`)
	return at[0], at[1]
}

// The page was opened long before, under something of an attacker's that is gone
// at the first click: the second one of a double click lands on the button.
func TestNoClickLandsOnApproveByAccident(t *testing.T) {
	t.Parallel()
	s, page := asked(t)
	c := stack.NewChromiumWithMouse(t)
	const decoy = `(d => { d.style = "position:fixed;inset:0;background:red"; d.onmousedown = () => d.remove(); document.body.append(d) })(document.createElement("div")), true`

	c.Do("open", chromedp.EmulateViewport(1280, 900), chromedp.Navigate(page), chromedp.Sleep(time.Second))
	stack.Script[bool](c, decoy)
	x, y := middle(c)
	click, there, away := chromedp.MouseClickXY(x, y), chromedp.MouseEvent(chromedp.MouseMoved, x, y), chromedp.MouseEvent(chromedp.MouseMoved, 5, 5)
	c.Do("double click on the decoy", there, chromedp.Sleep(750*time.Millisecond), click, chromedp.Sleep(150*time.Millisecond), click)
	undecided(t, s, c, "a double click on a decoy")

	c.Do("the pointer comes", away, there, chromedp.Sleep(500*time.Millisecond), click)
	undecided(t, s, c, "a click as soon as the pointer is there")
	c.Do("it leaves and comes back", away, there, chromedp.Sleep(400*time.Millisecond), away, there, chromedp.Sleep(400*time.Millisecond), click)
	undecided(t, s, c, "a pointer that left in between")

	c.Do("a person decides", away, there, decide, click, chromedp.WaitVisible(person(stack.Alice)))
}

func TestTheKeyboardNeedsNoPointer(t *testing.T) {
	t.Parallel()
	_, page := asked(t)
	stack.NewChromiumWithMouse(t).Do("Tab and Enter", chromedp.Navigate(page), decide, chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"), chromedp.WaitVisible(person(stack.Alice)))
}

// A tap counts only if it came within the 700 ms: a busy machine may bring it later,
// and then it rightly decides. So the page itself notes when it came.
func TestWhereNothingHoversThePageItselfArms(t *testing.T) {
	t.Parallel()
	s, page := asked(t)
	c := stack.NewChromium(t)
	const (
		note = `addEventListener("mousedown", e => sessionStorage.setItem("tap", e.timeStamp - performance.getEntriesByType("paint")[0].startTime), true), true`
		late = `Number(sessionStorage.getItem("tap")) >= 700`
	)
	for range 10 {
		c.Do("open", chromedp.EmulateViewport(1280, 900), chromedp.Navigate(page))
		stack.Script[bool](c, note)
		x, y := middle(c)
		c.Do("at once", chromedp.MouseClickXY(x, y))
		if stack.Script[bool](c, late) {
			continue
		}
		undecided(t, s, c, "a tap at once")
		c.Do("later", decide, chromedp.MouseClickXY(x, y), chromedp.WaitVisible(person(stack.Alice)))
		return
	}
	t.Fatal("ten taps, none of which came in time")
}
