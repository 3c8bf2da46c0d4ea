package handler_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestABrowserIsAnsweredWithAPage: a person who opens an address without a page reads
// what it is and where to go on. Status, challenge and methods are the same for a
// browser and for an app.
func TestABrowserIsAnsweredWithAPage(t *testing.T) {
	for _, issuer := range []string{"https://mcp.example.com", "https://gw.example/tools"} {
		s := serve(t, "PUBLIC_URL", issuer)
		get := func(path, accept string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, issuer+path, nil)
			if accept != "" {
				r.Header.Set("Accept", accept)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		for path, tt := range map[string]struct {
			status int
			says   string
		}{
			"/mcp":                              {401, "This address is for apps"},
			"/mcp/":                             {401, "This address is for apps"},
			"/token":                            {405, "This address is for apps"},
			"/register":                         {405, "This address is for apps"},
			"/revoke":                           {405, "This address is for apps"},
			"/introspect":                       {405, "This address is for apps"},
			"/consent":                          {405, "This page cannot be opened by itself"},
			"/no-such-page":                     {404, "Page not found"},
			"/.well-known/openid-configuration": {404, "Page not found"},
		} {
			page := get(path, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
			body := page.Body.String()
			if page.Code != tt.status || !strings.Contains(body, "<h1>"+tt.says) || !strings.Contains(body, `href="`+issuer+`/"`) {
				t.Errorf("%s: %d, want %d and %q:\n%s", path, page.Code, tt.status, tt.says, body)
			}
			if !strings.Contains(body, page.Header().Get("X-Correlation-Id")+" · ") || page.Header().Get("Content-Security-Policy") == "" || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
				t.Errorf("%s: no reference, or not a page of ours: %v", path, page.Header())
			}
			for _, accept := range []string{"", "*/*", "application/json", "text/event-stream"} {
				plain := get(path, accept)
				if plain.Code != tt.status || strings.Contains(plain.Body.String(), "<h1>") {
					t.Errorf("%s with Accept %q: %d %s", path, accept, plain.Code, plain.Body)
				}
				for _, header := range []string{"WWW-Authenticate", "Allow", "X-Content-Type-Options"} {
					if got, want := page.Header().Get(header), plain.Header().Get(header); got != want {
						t.Errorf("%s: %s is %q for a browser and %q for an app", path, header, got, want)
					}
				}
			}
		}
	}
}

// TestABrowserAtAnotherNameOfTheServerIsLedToTheRightOne, which is the issuer's, not
// that of the request.
func TestABrowserAtAnotherNameOfTheServerIsLedToTheRightOne(t *testing.T) {
	s := serve(t, "PUBLIC_URL", "https://mcp.example.com")
	r := httptest.NewRequest(http.MethodGet, "https://other.example/mcp", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if body := w.Body.String(); w.Code != http.StatusForbidden || !strings.Contains(body, `href="https://mcp.example.com/"`) || strings.Contains(body, "other.example") {
		t.Errorf("%d %s", w.Code, body)
	}
}

// TestAPostIsNeverAnsweredWithAPage: an app in a web page may send any
// Accept, and reads JSON.
func TestAPostIsNeverAnsweredWithAPage(t *testing.T) {
	s := serve(t)
	for _, path := range []string{"/mcp", "/token"} {
		r := httptest.NewRequest(http.MethodPost, mcpIssuer+path, strings.NewReader(""))
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			t.Errorf("%s: %s", path, w.Header().Get("Content-Type"))
		}
	}
}
