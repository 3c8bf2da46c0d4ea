package funchost_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/funchost"
)

func TestAHostDoesNotStartWith(t *testing.T) {
	change := func(old, replacement string) string {
		if !strings.Contains(goodHostJSON, old) {
			t.Fatalf("%q is not in the host.json", old)
		}
		return strings.Replace(goodHostJSON, old, replacement, 1)
	}
	for name, tt := range map[string]struct {
		hostJSON string
		settings map[string]string
		want     string
	}{
		"an unknown profile":           {change("mcp-custom-handler", "mcp"), nil, `profile "mcp" is not supported`},
		"no version":                   {change(`"version": "2.0", `, ""), nil, "version"},
		"a fixed port":                 {change(`"customHandler": {`, `"customHandler": {"port": "3000", `), nil, "port is fixed"},
		"a misspelt key":               {change(`"customHandler": {`, `"customHandler": {"enableHttpProxyingRequest": true, `), nil, "would ignore it"},
		"proxying switched off":        {change(`"customHandler": {`, `"customHandler": {"enableProxyingHttpRequest": false, `), nil, "stream"},
		"no profile":                   {change(`"configurationProfile": "mcp-custom-handler",`, ""), nil, "stream"},
		"a route of the host":          {change(`"http": {`, `"http": {"routes": [{"route": "admin/{*route}"}], `), nil, "built in routes"},
		"no executable":                {change(`"defaultExecutablePath": "app"`, `"defaultExecutablePath": ""`), nil, "cannot be empty"},
		"another executable":           {change(`"defaultExecutablePath": "app"`, `"defaultExecutablePath": "server"`), nil, "no such file"},
		"a route prefix":               {change(`"customHandler"`, `"extensions": {"http": {"routePrefix": "api"}}, "customHandler"`), nil, "route prefix"},
		"a setting Flex has not":       {goodHostJSON, map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom"}, "not for Flex"},
		"a setting that overrides":     {goodHostJSON, map[string]string{"AzureFunctionsJobHost__customHandler__description__defaultExecutablePath": "other"}, "no such file"},
		"an unknown level":             {change(`"anonymous"`, `"none"`), nil, "authorization level"},
		"a host.json that is not JSON": {"{", nil, "host.json"},
	} {
		h, err := funchost.Start(funchost.Options{Package: pack(t, tt.hostJSON), Settings: tt.settings, Hostname: hostname})
		if err == nil {
			_ = h.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestAPackageHoldsNothingElse(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(goodHostJSON), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct{ file, want string }{
		{"host.json", "holds [host.json]"},
		{"app", ""},
		{"local.settings.json", "local.settings.json"},
		{"timer/function.json", "both function.json files and custom handler"},
	} {
		write(step.file)
		h, err := funchost.Start(funchost.Options{Package: dir, Hostname: hostname})
		if err == nil {
			_ = h.Close()
		}
		if (step.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), step.want) {
			t.Errorf("with %s: %v, want %q", step.file, err, step.want)
		}
	}
}

func TestTheHandlerLearnsItsPortAndInheritsTheSettings(t *testing.T) {
	a := start(t, map[string]string{"GREETING": "hello"})
	s := a.see("GET", "/where", nil)
	for _, want := range []string{"GREETING=hello", "WEBSITE_HOSTNAME=" + hostname, "FUNCTIONS_WORKER_RUNTIME=custom", "FUNCTIONS_APP_ROOT_PATH=" + s.Directory} {
		if !slices.Contains(s.Environment, want) {
			t.Errorf("%s is not in %q", want, s.Environment)
		}
	}
	for _, name := range []string{"FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "FUNCTIONS_HTTPWORKER_PORT"} {
		if !slices.ContainsFunc(s.Environment, func(e string) bool { return strings.HasPrefix(e, name+"=") }) {
			t.Errorf("%s is missing", name)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Directory, "app")); err != nil {
		t.Errorf("the working directory is not the app's root: %v", err)
	}
}

func TestRequestsBeforeTheFirstAnswerWait(t *testing.T) {
	a := start(t, map[string]string{"START_AFTER": "300ms"})
	if s := a.see("GET", "/early", nil); s.URL != "/early" {
		t.Errorf("saw %s", s.URL)
	}
}

func TestAHandlerThatNeverListensIsGivenUp(t *testing.T) {
	a := start(t, map[string]string{"START_AFTER": "1h", "AzureFunctionsJobHost__customHandler__initializationTimeout": "00:00:01"})
	if res := a.do("GET", "/", nil); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s", res.Status)
	}
	a.logs(funchost.Error, "cannot be initialized")
}

func TestHostRoutesNeverReachTheHandler(t *testing.T) {
	a := start(t, nil)
	for _, path := range []string{"/admin/host/status", "/Admin/x", "/runtime/webhooks/mcp", "/admin"} {
		if res := a.do("GET", path, nil); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	if s := a.see("GET", "/administrators", nil); s.URL != "/administrators" {
		t.Error("a longer name was taken for the host's")
	}
}

func TestAFunctionKeyIsDemandedUnlessAnonymous(t *testing.T) {
	a := start(t, nil, func(o *funchost.Options) {
		o.Package = pack(t, strings.Replace(goodHostJSON, `"DefaultAuthorizationLevel": "anonymous"`, "", 1))
	})
	if res := a.do("GET", "/mcp", nil); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("%s", res.Status)
	}
}

func TestLimitsOfThePlatform(t *testing.T) {
	a := start(t, map[string]string{"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000"})
	if res := a.do("GET", "/"+strings.Repeat("a", 4096), nil); res.StatusCode != http.StatusRequestURITooLong {
		t.Errorf("a URL of 4097 bytes: %s", res.Status)
	}
	if s := a.see("GET", "/"+strings.Repeat("a", 4095), nil); len(s.URL) != 4096 {
		t.Error("a URL of 4096 bytes was cut")
	}
	if res := a.do("POST", "/", bytes.NewReader(make([]byte, 1001))); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of 1001 bytes: %s", res.Status)
	}
	unsized := struct{ *bytes.Reader }{bytes.NewReader(make([]byte, 1000))}
	if s := a.see("POST", "/", unsized); s.Body != 1000 {
		t.Errorf("of a chunked body of 1000 bytes came %d", s.Body)
	}
}

func TestSeverityFollowsTheStream(t *testing.T) {
	a := start(t, nil)
	a.do("POST", "/say?out=ERROR+on+stdout&err=just+so", nil)
	a.do("POST", "/say?out=&err=level%3DWARN+x", nil)
	a.logs(funchost.Information, "ERROR on stdout")
	a.logs(funchost.Error, "just so")
	a.logs(funchost.Warning, "level=WARN x")
}

func TestRestarts(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := start(t, nil, func(o *funchost.Options) { o.Now = func() time.Time { return now } })
	pid := a.see("GET", "/", nil).PID
	again := func(why string) {
		t.Helper()
		next := a.see("GET", "/", nil).PID
		if next == pid {
			t.Errorf("%s: not restarted", why)
		}
		pid = next
	}
	// A POST that was sent is not sent again, so each of these is one exit.
	crash := func(code string) { a.do("POST", "/exit/"+code, strings.NewReader("x")) }
	for range 4 {
		crash("200")
		again("200")
	}
	crash("1")
	again("1")
	a.host.KillHandler()
	again("SIGKILL")
	now = now.Add(31 * time.Minute)
	crash("1")
	again("1, half an hour later")
	crash("2")
	again("2")
	crash("3")
	a.logs(funchost.Error, "Shutting down Functions Host")
	<-a.host.Stopped()
	if res := a.do("GET", "/", nil); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the third error in half an hour: %s", res.Status)
	}
}

func TestAHandlerThatEndsWith0IsNotRestarted(t *testing.T) {
	a := start(t, nil)
	a.do("POST", "/exit/0", strings.NewReader("x"))
	<-a.host.Stopped()
	if res := a.do("GET", "/", nil); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%s", res.Status)
	}
}
