package authserver_test

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"entramcp/handler/authserver"
	"entramcp/handler/clocktest"
	"entramcp/handler/pages"
)

// mouse makes a headless Chromium report a mouse. Without it the browser says
// that nothing hovers, as on a phone.
const mouse = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"

// chromiums are the browsers that are running, by their blink settings. Tests
// share them, each with a tab and cookies of its own.
var chromiums = struct {
	sync.Mutex
	running map[string]context.Context
	stop    []context.CancelFunc
}{running: map[string]context.Context{}}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, stop := range slices.Backward(chromiums.stop) {
		stop()
	}
	os.Exit(code)
}

// chromium is a tab of a headless browser, until the test ends.
func chromium(t *testing.T, blinkSettings string) context.Context {
	t.Helper()
	chromiums.Lock()
	browser, running := chromiums.running[blinkSettings]
	if !running {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
		if blinkSettings != "" {
			options = append(options, chromedp.Flag("blink-settings", blinkSettings))
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		chromiums.stop = append(chromiums.stop, stop)
		browser, stop = chromedp.NewContext(allocator)
		chromiums.stop = append(chromiums.stop, stop)
		if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
			chromiums.Unlock()
			t.Fatalf("Chromium does not start: %v", err)
		}
		chromiums.running[blinkSettings] = browser
	}
	chromiums.Unlock()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("Chromium opens no tab: %v", err)
	}
	return ctx
}

// site is a world behind a listener, an Entra on another origin that signs in
// at once, and a client.
type site struct {
	*world
	origin, start string
}

func newSite(t *testing.T) site {
	t.Helper()
	if testing.Short() {
		t.Skip("Chromium is for make test")
	}
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><title>client</title><p id=got>" + html.EscapeString(r.URL.RawQuery)))
	}))
	t.Cleanup(client.Close)
	var w *world
	entra := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// A sign-in that the user's session answers at once, on another host.
		http.Redirect(rw, r, w.upstream.signIn(t, authority+r.URL.RequestURI()), http.StatusFound)
	}))
	t.Cleanup(entra.Close)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	origin := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	w = newWorldAt(t, &clocktest.Clock{}, func(o *authserver.Options) { o.Issuer, o.Pages = origin, pages.New(pages.Brand{Simulated: true}) })
	w.upstream.at = entra.URL
	id, _ := w.register(`{"client_name":"Chromium test","redirect_uris":["` + client.URL + `/callback"],"token_endpoint_auth_method":"none"}`)
	return site{w, origin, origin + "/authorize?" + request(id, "redirect_uri", client.URL+"/callback", "scope", "openid profile email offline_access").Encode()}
}

func (s site) do(ctx context.Context, what string, steps ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	steps20s, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if err := chromedp.Do(steps20s, steps...); err != nil {
		s.t.Fatalf("%s: %v at %s\n%s", what, err, s.at(ctx), s.log)
	}
}

func (s site) at(ctx context.Context) string {
	s.t.Helper()
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		s.t.Fatal(err)
	}
	return at
}

// undecided checks that the browser is still where it asks, though everything
// had time to happen.
func (s site) undecided(ctx context.Context, after string) {
	s.t.Helper()
	time.Sleep(100 * time.Millisecond)
	if at := s.at(ctx); !strings.HasPrefix(at, s.origin+"/authorize?") {
		s.t.Fatalf("%s: the browser is at %s", after, at)
	}
}

// middle is where the approve button is.
func (s site) middle(ctx context.Context) (x, y float64) {
	s.t.Helper()
	at, err := chromedp.Run(ctx, chromedp.Evaluate[[]float64](`(b => { const r = b.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })(document.querySelector("button[value=approve]"))`))
	if err != nil {
		s.t.Fatal(err)
	}
	return at[0], at[1]
}

// TestAChromiumGoesThroughWithTheStrictPolicy is about what only a browser
// decides: that no policy stops the way from the consent page over another
// origin to the client, and that the cookies and headers it sends are enough.
func TestAChromiumGoesThroughWithTheStrictPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := chromium(t, "")
	for decision, want := range map[string]string{"approve": "code", "cancel": "error"} {
		s.do(ctx, decision, chromedp.Navigate(s.start), chromedp.Sleep(900*time.Millisecond), chromedp.Click(`button[value="`+decision+`"]`), chromedp.WaitVisible("#got"))
		u, err := url.Parse(s.at(ctx))
		if err != nil || u.Query().Get(want) == "" || u.Query().Get("state") != "client state" || u.Query().Get("iss") != s.origin {
			t.Errorf("%s ended at %s", decision, u)
		}
	}
}

// The page was opened long before, under something of an attacker's that is gone
// at the first click: the second one of a double click lands on the button.
func TestNoClickLandsOnApproveByAccident(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := chromium(t, mouse)
	hovers, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`matchMedia("(hover: hover)").matches`))
	if err != nil || !hovers {
		t.Fatalf("the browser has no mouse: %v", err)
	}
	const decoy = `(d => { d.style = "position:fixed;inset:0;background:red"; d.onmousedown = () => d.remove(); document.body.append(d) })(document.createElement("div"))`

	s.do(ctx, "open", chromedp.Navigate(s.start), chromedp.Sleep(time.Second))
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](decoy)); err != nil {
		t.Fatal(err)
	}
	x, y := s.middle(ctx)
	click, there, away := chromedp.MouseClickXY(x, y), chromedp.MouseEvent(chromedp.MouseMoved, x, y), chromedp.MouseEvent(chromedp.MouseMoved, 5, 5)
	s.do(ctx, "double click on the decoy", there, chromedp.Sleep(750*time.Millisecond), click, chromedp.Sleep(150*time.Millisecond), click)
	s.undecided(ctx, "a double click on a decoy")

	s.do(ctx, "the pointer comes", away, there, chromedp.Sleep(500*time.Millisecond), click)
	s.undecided(ctx, "a click as soon as the pointer is there")
	s.do(ctx, "it leaves and comes back", away, there, chromedp.Sleep(400*time.Millisecond), away, there, chromedp.Sleep(400*time.Millisecond), click)
	s.undecided(ctx, "a pointer that left in between")

	s.do(ctx, "a person decides", away, there, chromedp.Sleep(900*time.Millisecond), click, chromedp.WaitVisible("#got"))
}

func TestTheKeyboardNeedsNoPointer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := chromium(t, mouse)
	s.do(ctx, "Tab and Enter", chromedp.Navigate(s.start), chromedp.Sleep(800*time.Millisecond), chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"), chromedp.WaitVisible("#got"))
	if u, err := url.Parse(s.at(ctx)); err != nil || u.Query().Get("code") == "" {
		t.Errorf("ended at %s", u)
	}
}

// A tap counts only if it came within the 700 ms: a busy machine may bring it later,
// and then it rightly decides. So the page itself notes when it came.
func TestWhereNothingHoversThePageItselfArms(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := chromium(t, "")
	const (
		note = `addEventListener("mousedown", e => sessionStorage.setItem("tap", e.timeStamp - performance.getEntriesByType("paint")[0].startTime), true)`
		late = `Number(sessionStorage.getItem("tap")) >= 700`
	)
	for attempt := 1; ; attempt++ {
		s.do(ctx, "open", chromedp.Navigate(s.start))
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](note)); err != nil {
			t.Fatal(err)
		}
		x, y := s.middle(ctx)
		s.do(ctx, "at once", chromedp.MouseClickXY(x, y))
		wasLate, err := chromedp.Run(ctx, chromedp.Evaluate[bool](late))
		if err != nil || wasLate && attempt == 10 {
			t.Fatalf("ten taps, none of which came in time: %v", err)
		}
		if wasLate {
			continue
		}
		s.undecided(ctx, "a tap at once")
		s.do(ctx, "later", chromedp.Sleep(900*time.Millisecond), chromedp.MouseClickXY(x, y), chromedp.WaitVisible("#got"))
		return
	}
}
