package bench

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/dev/oauthclient"
	"entramcp/e2e/stack"
)

// call is of a tool of the end-to-end tests' catalogue, and answered by the name.
const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"greet","arguments":{"name":"Ada"}}}`

// world is a server with a signed-in user, beside which processes of the
// deployed binary are started.
type world struct {
	*stack.Stack
	binary string
	token  string
}

func newWorld(b *testing.B) *world {
	b.Helper()
	w := &world{Stack: stack.Start(b, stack.Options{Instances: 1, Azure: &stack.Azure{}, Env: map[string]string{"LOG_LEVEL": "warn"}})}
	w.binary = unpacked(b)
	w.token = w.signIn(b)
	return w
}

func unpacked(b *testing.B) string {
	b.Helper()
	path, err := stack.Package()
	if err != nil {
		b.Fatal(err)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		b.Fatal(err)
	}
	defer z.Close()
	in, err := z.Open("app")
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(b.TempDir(), "app")
	if err := os.WriteFile(binary, text, 0o700); err != nil {
		b.Fatal(err)
	}
	return binary
}

func (w *world) signIn(b *testing.B) string {
	b.Helper()
	c := oauthclient.New(w.URL, back)
	c.HTTP = w.Client()
	tokens, err := c.SignIn(b.Context(), c.Public("bench"), nil, w.Browser(stack.Alice).Approve)
	if err != nil {
		b.Fatal(err)
	}
	return tokens.Access
}

// process is one run of the binary.
type process struct {
	cmd *exec.Cmd
	url string
}

// start runs the binary as the Functions host does.
func (w *world) start(b *testing.B) *process {
	b.Helper()
	return w.startAs(b, "FUNCTIONS_CUSTOMHANDLER_PORT", "WEBSITE_HOSTNAME="+stack.SiteHost)
}

// startAs runs the binary with its port in the variable that is named.
func (w *world) startAs(b *testing.B, portIn string, more ...string) *process {
	b.Helper()
	port := stack.FreePort(b)
	p := &process{cmd: exec.Command(w.binary), url: "http://127.0.0.1:" + port}
	p.cmd.Env = append([]string{portIn + "=" + port}, more...)
	for name, v := range w.Settings() {
		p.cmd.Env = append(p.cmd.Env, name+"="+v)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *process) end() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// answers sends one request and reports whether the status is as wanted, and, if
// it is a call that is to be served, what the tool says.
func (p *process) answers(method, path, token string, status int) bool {
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(call))
	if err != nil {
		return false
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("MCP-Protocol-Version", "2025-06-18")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return err == nil && res.StatusCode == status && (token == "" || status != http.StatusOK || bytes.Contains(text, []byte("Ada")))
}

// waitFor sends the request until it is answered as wanted.
func (p *process) waitFor(b *testing.B, method, path, token string, status int) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !p.answers(method, path, token, status); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%s %s: not answered with %d within 20 s", method, path, status)
		}
	}
}

// resident is the memory of a process that is in RAM, in MiB, where the system
// tells it as Linux does; elsewhere 0.
func resident(pid int) float64 { return memory(pid, "VmRSS") }

// memory is a part of resident: RssAnon is the process's own, RssFile that of the
// files that it maps.
func memory(pid int, part string) float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), part+":")
	kib, err := strconv.ParseFloat(strings.Fields(after + " 0")[0], 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// BenchmarkStart is the time from exec to the first answer to the host's probe,
// to somebody without a token, and to a tool call, for which the keys must have
// been read and unwrapped.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b)
	for _, first := range []struct {
		name, method, path, token string
		status                    int
	}{
		{"answer", "GET", "/", "", http.StatusOK},
		{"challenge", "POST", "/mcp", "", http.StatusUnauthorized},
		{"call", "POST", "/mcp", w.token, http.StatusOK},
	} {
		b.Run(first.name, func(b *testing.B) {
			var most float64
			for b.Loop() {
				p := w.start(b)
				p.waitFor(b, first.method, first.path, first.token, first.status)
				b.StopTimer()
				most = resident(p.cmd.Process.Pid)
				p.end()
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/start")
			b.ReportMetric(most, "MiB-resident")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkMemory is the resident memory of one process after 20000 tool calls,
// eight at a time.
func BenchmarkMemory(b *testing.B) {
	const calls, together = 20000, 8
	w := newWorld(b)
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = together
	for b.Loop() {
		p := w.start(b)
		p.waitFor(b, "POST", "/mcp", w.token, http.StatusOK)
		var done, failed atomic.Int64
		var wg sync.WaitGroup
		var most atomic.Uint64
		for range together {
			wg.Go(func() {
				for n := done.Add(1); n <= calls; n = done.Add(1) {
					if !p.answers("POST", "/mcp", w.token, http.StatusOK) {
						failed.Add(1)
					}
					if n%1000 == 0 {
						most.Store(max(most.Load(), uint64(resident(p.cmd.Process.Pid)*1024)))
					}
				}
			})
		}
		wg.Wait()
		if failed.Load() > 0 {
			b.Errorf("%d calls failed", failed.Load())
		}
		b.ReportMetric(resident(p.cmd.Process.Pid), "MiB-resident")
		b.ReportMetric(float64(most.Load())/1024, "MiB-most")
		p.end()
	}
}
