package funchost_test

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"entramcp/dev/funchost"
)

func TestHeadersOfTheHostWinOverTheClients(t *testing.T) {
	a := start(t, nil)
	s := a.see("GET", "/x?code=a%3bb;c&%zz", nil,
		"X-Azure-Functions-InvocationId", "mine", "X-Ms-Invocation-Id", "mine", "X-Azure-Functions-HostVersion", "mine",
		"X-Forwarded-For", "10.0.0.1, 10.0.0.2:99", "X-Forwarded-Proto", "http", "Client-Ip", "10.0.0.1", "Disguised-Host", "evil.example",
		"Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"X-Ms-Client-Principal-Name", "ada@contoso.com", "Authorization", "Bearer t", "Connection", "X-Private", "X-Private", "1")
	for name, want := range map[string]string{
		"X-Azure-Functions-Invocationid": "^" + regexp.QuoteMeta(s.Header.Get("X-Ms-Invocation-Id")) + "$",
		"X-Ms-Invocation-Id":             `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`,
		"X-Azure-Functions-Hostversion":  `^4\.`,
		"X-Forwarded-For":                `^10\.0\.0\.1, 10\.0\.0\.2:99, 127\.0\.0\.1:\d+$`,
		"X-Forwarded-Proto":              "^https$",
		"Client-Ip":                      `^127\.0\.0\.1:\d+$`,
		"Was-Default-Hostname":           "^" + regexp.QuoteMeta(hostname) + "$",
		"Traceparent":                    "^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01$",
		"X-Original-Url":                 `^/x\?code=`,
		"X-Ms-Client-Principal-Name":     "^ada@contoso.com$",
		"Authorization":                  "^Bearer t$",
		"X-Private":                      "^$",
	} {
		if got := strings.Join(s.Header.Values(name), "|"); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, want %s", name, got, want)
		}
	}
	if s.Host != strings.TrimPrefix(a.url, "http://") {
		t.Errorf("Host %q is not the one that the client asked for", s.Host)
	}
	if s.URL != "/x?code=a%3bb;c&%zz" {
		t.Errorf("the URL was rewritten: %s", s.URL)
	}
	if strings.Contains(s.Header.Get("Traceparent"), "00f067aa0ba902b7") {
		t.Error("the host's span is the client's")
	}
}

func TestPreflightsEndAtTheHost(t *testing.T) {
	for _, tt := range []struct {
		origins []string
		allowed string
	}{
		{nil, ""},
		{[]string{"https://other.example"}, ""},
		{[]string{"https://app.example"}, "https://app.example"},
		{[]string{"*"}, "*"},
	} {
		a := start(t, nil, func(o *funchost.Options) { o.Origins = tt.origins })
		res := a.do("OPTIONS", "/mcp", nil, "Origin", "https://app.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
		h := res.Header
		if res.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != tt.allowed || (h.Get("Access-Control-Allow-Headers") == "authorization") != (tt.allowed != "") {
			t.Errorf("%v: %s %v", tt.origins, res.Status, h)
		}
		if got := a.do("GET", "/", nil, "Origin", "https://app.example").Header.Get("Access-Control-Allow-Origin"); got != tt.allowed {
			t.Errorf("%v: the answer allows %q", tt.origins, got)
		}
	}
}

func TestAHandlerThatAnswersCORSItselfIsFoundOut(t *testing.T) {
	a := start(t, nil, func(o *funchost.Options) { o.Origins = []string{"https://app.example"} })
	if got := a.do("GET", "/origin", nil, "Origin", "https://app.example").Header.Values("Access-Control-Allow-Origin"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestAnswersStreamAndTheHandlerLearnsThatTheClientHasGone(t *testing.T) {
	a := start(t, nil)
	res := a.do("GET", "/stream", nil)
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || line != "data: first\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_ = res.Body.Close()
	a.logs(funchost.Information, "the client has gone")
}

func TestIdleRequestsAreCut(t *testing.T) {
	a := start(t, nil)
	a.front.IdleLimit = 200 * time.Millisecond
	if res := a.do("GET", "/hang", nil); res.StatusCode != http.StatusBadGateway {
		t.Errorf("nothing answered: %s", res.Status)
	}
	res := a.do("GET", "/stream", nil)
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
	}
	if lines.Err() == nil {
		t.Error("a stream that fell silent ended as if it was complete")
	}
}

func TestABodyIsNeverSentTwice(t *testing.T) {
	a := start(t, nil)
	pid := a.see("GET", "/", nil).PID
	if res := a.do("POST", "/exit/1", strings.NewReader("x")); res.StatusCode != http.StatusBadGateway {
		t.Errorf("%s", res.Status)
	}
	if now := a.see("GET", "/", nil).PID; now == pid {
		t.Error("the handler has not ended")
	}
	if strings.Count(a.host.Log(), "Language Worker Process exited") != 1 {
		t.Errorf("more than one handler got the request:\n%s", a.host.Log())
	}
}
