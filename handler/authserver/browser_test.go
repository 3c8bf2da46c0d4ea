package authserver_test

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"entramcp/handler/authserver"
)

// chromium runs headless until the test ends.
func chromium(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx
}

// TestAChromiumGoesThroughWithTheStrictPolicy is about what only a browser
// decides: that no policy stops the way from the consent page over another
// origin to the client, and that the cookies and headers it sends are enough.
func TestAChromiumGoesThroughWithTheStrictPolicy(t *testing.T) {
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("<!doctype html><title>client</title><p id=got>" + html.EscapeString(r.URL.RawQuery)))
	}))
	defer client.Close()

	var w *world
	entra := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// A sign-in that the user's session answers at once, on another host.
		back := strings.Replace(w.upstream.signIn(t, r.URL.String()), issuer, w.server.Issuer, 1)
		http.Redirect(rw, r, back, http.StatusFound)
	}))
	defer entra.Close()

	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }))
	defer server.Close()
	origin := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	w = newWorld(t, func(o *authserver.Options) { o.Issuer = origin })
	w.upstream.at = entra.URL
	w.now = time.Time{}
	id, _ := w.register(`{"client_name":"Chromium test","redirect_uris":["` + client.URL + `/callback"],"token_endpoint_auth_method":"none"}`)
	start := origin + "/authorize?" + request(id, "redirect_uri", client.URL+"/callback").Encode()
	ctx := chromium(t)

	for decision, want := range map[string]string{"approve": "code", "cancel": "error"} {
		steps, stop := context.WithTimeout(ctx, 20*time.Second)
		err := chromedp.Do(steps, chromedp.Navigate(start), chromedp.Sleep(900*time.Millisecond), chromedp.Click(`button[value="`+decision+`"]`), chromedp.WaitVisible("#got"))
		if err != nil {
			at, _ := chromedp.Run(ctx, chromedp.Location())
			stop()
			t.Fatalf("%s: %v at %s\n%s", decision, err, at, w.log)
		}
		at, err := chromedp.Run(steps, chromedp.Location())
		stop()
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(at)
		if err != nil || u.Query().Get(want) == "" || u.Query().Get("state") != "client state" || u.Query().Get("iss") != origin {
			t.Errorf("%s ended at %s", decision, at)
		}
	}
}
