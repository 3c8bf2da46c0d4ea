package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestResourceForms(t *testing.T) {
	const r = Resource("https://mcp.example.com/mcp")
	for value, want := range map[string]bool{
		"https://mcp.example.com/mcp":       true,
		"https://mcp.example.com/mcp/":      true,
		"https://mcp.example.com":           true,
		"https://mcp.example.com/":          true,
		"HTTPS://MCP.example.COM/mcp":       true,
		"https://mcp.example.com:443/mcp":   true,
		"http://mcp.example.com/mcp":        false,
		"https://mcp.example.com:8443/mcp":  false,
		"https://mcp.example.com/MCP":       false,
		"https://mcp.example.com/other":     false,
		"https://mcp.example.com/mcp/x":     false,
		"https://mcp.example.com//mcp":      false,
		"https://mcp.example.com/%6dcp":     false,
		"https://mcp.example.com/mcp?x=1":   true,
		"https://mcp.example.com/mcp?":      true,
		"https://mcp.example.com/mcp#f":     false,
		"https://mcp.example.com/mcp#":      false,
		"https://u@mcp.example.com/mcp":     false,
		"https://mcp.example.com.evil/mcp":  false,
		"https:mcp.example.com/mcp":         false,
		"//mcp.example.com/mcp":             false,
		"mcp.example.com/mcp":               false,
		"":                                  false,
		"https://mcp.example.com\\mcp":      false,
		"https://mcp.example.com/mcp/../":   false,
		"api://11111111-2222-3333/mcp.read": false,
	} {
		if got := r.Names(value); got != want {
			t.Errorf("%q accepted: %v, want %v", value, got, want)
		}
	}
}

func TestTheDefaultPortIsTheSchemesOwn(t *testing.T) {
	for _, tt := range []struct {
		own, value string
		want       bool
	}{
		{"http://localhost/mcp", "http://localhost:80/mcp", true},
		{"http://localhost/mcp", "HTTP://LOCALHOST:80/", true},
		{"http://localhost/mcp", "http://localhost:443/mcp", false},
		{"http://localhost/mcp", "http://localhost:7071/mcp", false},
		{"http://localhost:80/mcp", "http://localhost/mcp", true},
		{"http://localhost:443/mcp", "http://localhost/mcp", false},
		{"http://[::1]/mcp", "http://[::1]:80/mcp", true},
		{"https://mcp.example.com/mcp", "https://mcp.example.com:80/mcp", false},
		{"https://mcp.example.com:443/mcp", "https://mcp.example.com", true},
		{"https://mcp.example.com:80/mcp", "https://mcp.example.com/mcp", false},
		{"https://mcp.example.com/mcp", "https:mcp.example.com/mcp", false},
	} {
		if got := Resource(tt.own).Names(tt.value); got != tt.want {
			t.Errorf("%s is named by %q: %v, want %v", tt.own, tt.value, got, tt.want)
		}
	}
}

func TestAllResourcesOfARequestMustBeOurs(t *testing.T) {
	if Resource("%zz").Names("%zz") || Resource("%zz").Names("https://other.example") {
		t.Error("a resource that is no URL is named")
	}
	const r = Resource("http://localhost:7071/mcp")
	if err := r.Accept(nil); err != nil {
		t.Errorf("no resource parameter: %v", err)
	}
	if err := r.Accept([]string{"http://localhost:7071/mcp", "http://localhost:7071/"}); err != nil {
		t.Errorf("two forms of the same: %v", err)
	}
	if err := r.Accept([]string{"http://localhost:7071/mcp", "https://other.example"}); ErrorCode(err) != InvalidTarget {
		t.Errorf("a foreign one among them: %v", err)
	}
}

// FuzzResourceNeverCrossesOrigins: whatever is accepted has our scheme and host.
func FuzzResourceNeverCrossesOrigins(f *testing.F) {
	for _, s := range []string{"https://mcp.example.com/mcp", "https://mcp.example.com@evil/mcp", "https://mcp.example.com\t/mcp", "https://mcp.example.com?@evil", "https://mcp.example.com:443"} {
		f.Add(s)
	}
	const r = Resource("https://mcp.example.com/mcp")
	f.Fuzz(func(t *testing.T, s string) {
		if !r.Names(s) {
			return
		}
		s, _, _ = strings.Cut(s, "?")
		low := strings.TrimSuffix(strings.ToLower(s), "/")
		switch strings.Replace(low, ":443", "", 1) {
		case "https://mcp.example.com", "https://mcp.example.com/mcp":
		default:
			t.Errorf("accepted %q", s)
		}
	})
}

func TestScopesAreReadTolerantly(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		" openid  email":           "email openid",
		"b a\tb\na":                "a b",
		"ok bad\"quote back\\ é x": "ok x",
		"api://id/mcp.access":      "api://id/mcp.access",
		"! ~ \x7f a\x7f a\x01":     "! ~",
	} {
		if got := ParseScopes(in).String(); got != want {
			t.Errorf("ParseScopes(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOnlyASetThatHoldsEveryTokenHasThemAll(t *testing.T) {
	for tokens, want := range map[string]bool{"": true, "a": true, "b a": true, "c": false, "a c": false, "c a": false} {
		if got := NewScopes("a", "b").Has(strings.Fields(tokens)...); got != want {
			t.Errorf("a and b have %q: %v, want %v", tokens, got, want)
		}
	}
}

func TestAnEmptyTextIsNoScope(t *testing.T) {
	if got := NewScopes("", "a", ""); len(got) != 1 || got[0] != "a" {
		t.Errorf("got %q", got)
	}
}

func FuzzScopesParseThenPrintIsTheIdentity(f *testing.F) {
	f.Add(" openid  email\tx")
	f.Fuzz(func(t *testing.T, s string) {
		once := ParseScopes(s)
		if twice := ParseScopes(once.String()); twice.String() != once.String() {
			t.Errorf("%q → %q → %q", s, once, twice)
		}
		if !once.Has(once...) || once.Intersect(once).String() != once.String() || once.Union(once).String() != once.String() {
			t.Errorf("%q is no set", once)
		}
	})
}

func TestTheCauseIsLoggedAndNeverSent(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&lines, nil))
	for _, tt := range []struct {
		err    error
		status int
		code   Code
	}{
		{New(InvalidGrant, "The code has been used.").Because(errors.New("secret detail")), 400, InvalidGrant},
		{New(InvalidClient, "Unknown client.").Because(errors.New("secret detail")), 401, InvalidClient},
		{errors.New("secret detail"), 500, ServerError},
		{Unavailable("Storage does not answer.", 1500*time.Millisecond, errors.New("secret detail")), 503, TemporarilyUnavailable},
	} {
		lines.Reset()
		w := httptest.NewRecorder()
		WriteError(w, httptest.NewRequest(http.MethodPost, "/token", nil), log, tt.err)
		var body map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.status || body["error"] != string(tt.code) || body["error_description"] == "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %d %v %v", tt.err, w.Code, w.Header(), body)
		}
		if strings.Contains(w.Body.String(), "secret detail") || !strings.Contains(lines.String(), "secret detail") {
			t.Errorf("answer %s, log %s", w.Body, lines.String())
		}
		if tt.status == 503 && w.Header().Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q, want it rounded up", w.Header().Get("Retry-After"))
		}
	}
}

// TestAnErrorTellsItsCauseToTheLogAndToCode that asks for it.
func TestAnErrorTellsItsCauseToTheLogAndToCode(t *testing.T) {
	cause := errors.New("reset")
	err := error(New(InvalidGrant, "No.").Because(cause))
	if err.Error() != "invalid_grant: No.: reset" || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if err := New(InvalidGrant, "No."); err.Error() != "invalid_grant: No." {
		t.Errorf("%v", err)
	}
}

func TestRetryAfterIsInWholeSecondsAndNeverZero(t *testing.T) {
	for wait, want := range map[time.Duration]string{-time.Second: "", 0: "", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2"} {
		h := http.Header{}
		if SetRetryAfter(h, wait); h.Get("Retry-After") != want {
			t.Errorf("%s: %q, want %q", wait, h.Get("Retry-After"), want)
		}
	}
}

func TestOnlyThisComputerIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "127.1": false, "0x7f000001": false,
		"0.0.0.0": false, "::": false, "10.0.0.1": false, "169.254.169.254": false, "localhost:80": false, "127.0.0.1:80": false, "::1%lo": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
