package funchost_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entramcp/dev/funchost"
	"entramcp/handler/clocktest"
)

// TestMain turns the test binary into a handler where the host has started it.
func TestMain(m *testing.M) {
	if os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT") != "" {
		handle()
	}
	os.Exit(m.Run())
}

type seen struct {
	Method, URL, Host, Directory string
	Header                       http.Header
	Environment                  []string
	Body                         int64
	PID                          int
}

// handle is a handler that does what its requests say.
func handle() {
	if d, err := time.ParseDuration(os.Getenv("START_AFTER")); err == nil {
		time.Sleep(d)
	}
	if code, err := strconv.Atoi(os.Getenv("EXIT_AT_ONCE")); err == nil {
		os.Exit(code)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		dir, _ := os.Getwd()
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "hop")
		_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Host, dir, r.Header, os.Environ(), n, os.Getpid()})
	})
	mux.HandleFunc("/exit/{code}", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		os.Exit(code)
	})
	mux.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stdout, r.FormValue("out"))
		fmt.Fprintln(os.Stderr, r.FormValue("err"))
	})
	mux.HandleFunc("/origin", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		fmt.Println("the client has gone")
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = http.Serve(l, mux)
	os.Exit(1)
}

const hostname = "func-test.azurewebsites.net"

const goodHostJSON = `{"version": "2.0", "configurationProfile": "mcp-custom-handler",
	"customHandler": {"description": {"defaultExecutablePath": "app"}, "http": {"DefaultAuthorizationLevel": "anonymous"}}}`

// pack is a package with this test binary as its handler.
func pack(t *testing.T, hostJSON string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Link(self, filepath.Join(dir, "app")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "host.json"), []byte(hostJSON), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// app is a function app of one instance.
type app struct {
	*testing.T
	host  *funchost.Host
	front *funchost.FrontEnd
	url   string
}

func start(t *testing.T, settings map[string]string, edits ...func(*funchost.Options)) *app {
	t.Helper()
	o := funchost.Options{Package: pack(t, goodHostJSON), Settings: settings, Hostname: hostname}
	for _, edit := range edits {
		edit(&o)
	}
	h, err := funchost.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(h.Log())
		}
	})
	a := &app{T: t, host: h, front: &funchost.FrontEnd{Hostname: hostname}}
	a.front.Use(h)
	server := httptest.NewServer(a.front)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// do sends a request; header are pairs.
func (a *app) do(method, path string, body io.Reader, header ...string) *http.Response {
	a.Helper()
	req, err := http.NewRequestWithContext(a.Context(), method, a.url+path, body)
	if err != nil {
		a.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// see is what the handler saw of a request.
func (a *app) see(method, path string, body io.Reader, header ...string) seen {
	a.Helper()
	res := a.do(method, path, body, header...)
	if res.StatusCode != http.StatusOK {
		a.Fatalf("%s %s: %s", method, path, res.Status)
	}
	if res.Header.Get("X-Hop") != "" {
		a.Error("a hop-by-hop header of the answer came through")
	}
	var s seen
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		a.Fatal(err)
	}
	return s
}

// logs waits for a line of the log.
func (a *app) logs(severity funchost.Severity, text string) {
	a.Helper()
	clocktest.Eventually(a, fmt.Sprintf("a line of %s with %q", severity, text), 10*time.Second, func() bool {
		return slices.ContainsFunc(a.host.Lines(), func(l funchost.Line) bool { return l.Severity == severity && strings.Contains(l.Text, text) })
	})
}
