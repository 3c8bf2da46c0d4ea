package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"entramcp/dev/funchost"
	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

const inspector = "http://localhost:6274"

// hosted is the server in Azure, as far as that can be had here.
type hosted struct {
	*stack.Stack
	t *testing.T
}

func startHosted(t *testing.T) *hosted {
	t.Helper()
	return &hosted{stack.Start(t, stack.Options{
		Azure: &stack.Azure{Origins: []string{inspector}},
		Env:   map[string]string{"ALLOWED_ORIGINS": inspector},
	}), t}
}

func (h *hosted) do(method, path string, body io.Reader, header ...string) *http.Response {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.URL+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := h.Client().Transport.RoundTrip(req)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// line waits for a line of any instance that holds all of texts.
func (h *hosted) line(texts ...string) (line funchost.Line) {
	h.t.Helper()
	clocktest.Eventually(h.t, fmt.Sprintf("a line with %q", texts), 10*time.Second, func() bool {
		for _, host := range h.Hosts {
		next:
			for _, line = range host.Lines() {
				for _, text := range texts {
					if !strings.Contains(line.Text, text) {
						continue next
					}
				}
				return true
			}
		}
		return false
	})
	return line
}

// TestHostedASignInOutlivesItsInstance: each step reaches another instance than
// the one before, and that one is gone.
func TestHostedASignInOutlivesItsInstance(t *testing.T) {
	t.Parallel()
	h := startHosted(t)
	h.FrontEnd.Use(h.Hosts[0])
	a := newApp(t, h, stack.Alice)
	a.browser.Before = func(r *http.Request) {
		if r.URL.Path == "/auth/callback" {
			h.FrontEnd.Use(h.Hosts[1])
			h.Hosts[0].KillHandler()
		}
	}
	q := a.authorize("openid", "offline_access")
	// The handler that makes the code dies, and the host starts another.
	h.Hosts[1].KillHandler()
	answer := a.token(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {appCallback}, "code_verifier": {appVerifier}})
	for attempt := 0; answer.Status == http.StatusBadGateway && attempt < 3; attempt++ {
		answer = a.token(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {appCallback}, "code_verifier": {appVerifier}})
	}
	if answer.Status != http.StatusOK {
		t.Fatalf("token: %+v", answer)
	}
	h.FrontEnd.Use(h.Hosts[0])
	if got := a.call("greet"); got.failed || !strings.HasPrefix(got.text, "Hello, World!") {
		t.Errorf("%+v", got)
	}
	if got := a.renew(); got.Status != http.StatusOK {
		t.Errorf("refresh: %+v", got)
	}
}

// TestHosted is what holds while nothing happens to the instances.
func TestHosted(t *testing.T) {
	t.Parallel()
	h := startHosted(t)
	for name, test := range map[string]func(*testing.T, *hosted){
		"cookies are pinned to the host": cookiesArePinnedToTheHost, "CORS is the platform's": corsIsThePlatforms, "names of the server": namesOfTheServer,
		"claims of App Service authentication are ignored": claimsOfAppServiceAuthenticationAreIgnored, "a request has one ID": aRequestHasOneID, "URLs stay short": urlsStayShort,
	} {
		t.Run(name, func(t *testing.T) { test(t, &hosted{h.Stack, t}) })
	}
}

// cookiesArePinnedToTheHost: the browser keeps __Host- cookies only
// if they are what the name says, so a sign-in that ends well has set them so.
func cookiesArePinnedToTheHost(t *testing.T, h *hosted) {
	a := newApp(t, h, stack.Alice)
	a.authorize("openid")
	set := 0
	for _, p := range a.browser.Seen {
		if !strings.HasPrefix(p.URL.String(), h.URL) {
			continue
		}
		for _, c := range p.Header.Values("Set-Cookie") {
			set++
			if !strings.HasPrefix(c, "__Host-") {
				t.Errorf("%s sets %s", p.URL.Path, c)
			}
		}
	}
	if set == 0 {
		t.Error("no cookie was set")
	}
}

// corsIsThePlatforms: the platform answers preflights, and what the
// handler adds never doubles what the platform adds.
func corsIsThePlatforms(t *testing.T, h *hosted) {
	for origin, want := range map[string]string{inspector: inspector, "https://evil.example": ""} {
		for _, path := range []string{"/mcp", "/token", "/register", "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp"} {
			res := h.do("OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, mcp-protocol-version")
			if got := res.Header.Get("Access-Control-Allow-Origin"); res.StatusCode != http.StatusNoContent || got != want {
				t.Errorf("preflight of %s from %s: %s, allows %q", path, origin, res.Status, got)
			}
			method := "POST"
			if strings.HasPrefix(path, "/.well-known/") {
				method = "GET"
			}
			got := h.do(method, path, nil, "Origin", origin, "Content-Type", "application/json").Header.Values("Access-Control-Allow-Origin")
			if strings.Join(got, "|") != want {
				t.Errorf("%s %s from %s allows %q", method, path, origin, got)
			}
		}
	}
	if got := h.do("POST", "/mcp", nil, "Origin", inspector).Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "WWW-Authenticate") {
		t.Errorf("the page cannot read the challenge: %q", got)
	}
}

func namesOfTheServer(t *testing.T, h *hosted) {
	for name, want := range map[string]int{stack.SiteHost: http.StatusUnauthorized, "rebound.example": http.StatusForbidden} {
		if res := h.do("POST", "/mcp", nil, "Host", name); res.StatusCode != want {
			t.Errorf("as %s: %s, want %d", name, res.Status, want)
		}
	}
	// Whatever name it is called by, it says the one that was configured.
	body, err := io.ReadAll(h.do("GET", "/.well-known/oauth-authorization-server", nil, "Host", stack.SiteHost, "X-Forwarded-Host", "evil.example").Body)
	if err != nil || !strings.Contains(string(body), `"issuer":"`+h.URL+`"`) || strings.Contains(string(body), "evil.example") {
		t.Errorf("%s, %v", body, err)
	}
}

// claimsOfAppServiceAuthenticationAreIgnored: with that feature off
// nobody removes these headers from what clients send.
func claimsOfAppServiceAuthenticationAreIgnored(t *testing.T, h *hosted) {
	principal := base64.StdEncoding.EncodeToString([]byte(`{"auth_typ":"aad","claims":[{"typ":"name","val":"Mallory"}]}`))
	claims := []string{"X-Ms-Client-Principal", principal, "X-Ms-Client-Principal-Name", "mallory@contoso.com", "X-Ms-Client-Principal-Id", "1", "X-Ms-Token-Aad-Access-Token", "t"}
	if res := h.do("POST", "/mcp", nil, claims...); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", res.Status)
	}
	a := newApp(t, h, stack.Alice).signIn("openid", "profile")
	if got := a.call("identity", claims...); got.failed || strings.Contains(strings.ToLower(got.text), "mallory") || !strings.Contains(got.text, stack.Alice) {
		t.Errorf("%+v", got)
	}
}

// TestHostedRegistrationsCountByWhomThePlatformSaw: the entries of
// X-Forwarded-For that the client has written count for nothing.
func TestHostedRegistrationsCountByWhomThePlatformSaw(t *testing.T) {
	h := startHosted(t)
	h.FrontEnd.Use(h.Hosts[0]) // each instance counts for itself
	status := func(n int, local string) int {
		t.Helper()
		transport := h.Client().Transport.(*http.Transport).Clone()
		transport.DialContext = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}).DialContext
		defer transport.CloseIdleConnections()
		last := 0
		for i := range n {
			req, err := http.NewRequestWithContext(t.Context(), "POST", strings.Replace(h.URL, "localhost", "127.0.0.1", 1)+"/register", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Forwarded-For", "203.0.113."+strings.Repeat("1", i%3+1)+":1")
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			last = res.StatusCode
		}
		return last
	}
	if got := status(90, "127.0.0.2"); got != http.StatusTooManyRequests {
		t.Errorf("90 registrations at once: %d", got)
	}
	if got := status(1, "127.0.0.3"); got != http.StatusBadRequest {
		t.Errorf("the first one of somebody else: %d", got)
	}
}

// aRequestHasOneID: the page that a person reads, the answer and the
// log lines name the host's invocation, not what the client made up.
func aRequestHasOneID(t *testing.T, h *hosted) {
	res := h.do("GET", "/authorize?client_id=nobody", nil, "X-Ms-Invocation-Id", "chosen-by-the-client",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	id := res.Header.Get("X-Correlation-Id")
	if len(id) != 36 || !strings.Contains(string(page), id) {
		t.Errorf("%q is not on the page:\n%s", id, page)
	}
	h.line(`"correlation_id":"`+id+`"`, `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"`, "/authorize")
	for _, host := range h.Hosts {
		if strings.Contains(host.Log(), "chosen-by-the-client") {
			t.Error("the client's id is in the log")
		}
	}
}

// urlsStayShort: Azure refuses URLs beyond 4096 bytes, and a client's
// state may be long; it never travels to Entra.
func urlsStayShort(t *testing.T, h *hosted) {
	a := newApp(t, h, stack.Alice)
	state := strings.Repeat("s", 1024)
	back, err := a.browser.Approve(a.Request(url.Values{"state": {state}}).URL)
	if err != nil || back.Query().Get("state") != state || back.Query().Get("code") == "" {
		t.Fatalf("%v, %v", back, err)
	}
	atEntra, callbacks := 0, 0
	for _, p := range a.browser.Seen {
		u := p.URL.String()
		if p.URL.Path == "/auth/callback" {
			callbacks++
		} else if strings.HasPrefix(u, h.TenantURL) {
			atEntra++
		} else {
			continue
		}
		if len(u) > 2048 || strings.Contains(u, state) {
			t.Errorf("%d bytes: %s", len(u), u)
		}
	}
	if atEntra == 0 || callbacks != 1 {
		t.Errorf("%d pages at Entra, %d callbacks", atEntra, callbacks)
	}
}
