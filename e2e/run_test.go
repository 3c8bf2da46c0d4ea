package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/clocktest"
)

// devRun is make run: the launcher with the handler that it starts.
type devRun struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    stack.Output
	ended  chan struct{}
	public string

	port, tenantPort string
}

func makeRun(t *testing.T, port, tenantPort, dataDir string) *devRun {
	t.Helper()
	binary, err := stack.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return runLauncher(t, binary, port, tenantPort, dataDir)
}

func runLauncher(t *testing.T, binary, port, tenantPort, dataDir string) *devRun {
	t.Helper()
	dev, err := stack.Launcher()
	if err != nil {
		t.Fatal(err)
	}
	d := &devRun{t: t, ended: make(chan struct{}), public: "http://localhost:" + port, port: port, tenantPort: tenantPort}
	d.cmd = exec.Command(dev, binary)
	d.cmd.Env = append(os.Environ(), "PORT="+port, "TENANT_PORT="+tenantPort, "DATA_DIR="+dataDir,
		// What a developer may have set for real must not reach the simulation.
		"ENTRA_TENANT_ID=common", "TABLES_URL=https://real.table.core.windows.net", "WEBSITE_HOSTNAME=real.azurewebsites.net")
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		<-d.ended
	})
	return d
}

// command runs make token or make call beside the server.
func (d *devRun) command(name string, env ...string) (stdout, stderr string, err error) {
	cmd := exec.Command(d.cmd.Path, name)
	cmd.Env = append(os.Environ(), append(env, "PORT="+d.port, "TENANT_PORT="+d.tenantPort, "USER=root")...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (d *devRun) waitFor(text string) {
	d.t.Helper()
	clocktest.Eventually(d.t, "make run writes "+text, 30*time.Second, func() bool {
		select {
		case <-d.ended:
			if !strings.Contains(d.out.String(), text) {
				d.t.Fatalf("make run ended without %q:\n%s", text, d.out.String())
			}
			return true
		default:
			return strings.Contains(d.out.String(), text)
		}
	})
}

// interrupt is Ctrl-C; it returns the exit status.
func (d *devRun) interrupt() int {
	d.t.Helper()
	_ = d.cmd.Process.Signal(os.Interrupt)
	select {
	case <-d.ended:
	case <-time.After(15 * time.Second):
		d.t.Fatal("Ctrl-C does not end make run")
	}
	return d.cmd.ProcessState.ExitCode()
}

// TestMakeRunKeepsSignIns: what make run prints is true once it is printed, it
// stops cleanly, and a client that signed in goes on after a restart.
func TestMakeRunKeepsSignIns(t *testing.T) {
	port, tenantPort, data := stack.FreePort(t), stack.FreePort(t), t.TempDir()
	first := makeRun(t, port, tenantPort, data)
	first.waitFor("Connect ")
	for _, want := range []string{first.public + "/mcp", "simulated tenant at http://localhost:" + tenantPort, "claude mcp add --transport http"} {
		if !strings.Contains(first.out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, first.out.String())
		}
	}
	client := startNode(t, "sdk-v1", clientSettings{URL: first.public + "/mcp"})
	client.connect(stack.NewBrowser(stack.Alice))
	if got := client.call("greet", nil); !strings.HasPrefix(got, "Hello, World!") {
		t.Errorf("greet: %q", got)
	}
	if status := first.interrupt(); status != 0 || !strings.Contains(first.out.String(), "Stopped.") {
		t.Errorf("status %d:\n%s", status, first.out.String())
	}

	second := makeRun(t, port, tenantPort, data)
	second.waitFor("Connect ")
	if got := client.call("greet", map[string]any{"name": "Ada"}); got != greeting {
		t.Errorf("after a restart: %q", got)
	}
	if a := client.do(map[string]any{"do": "refresh"}); a.Error != nil || a.SignIn != "" {
		t.Errorf("refresh after a restart: %+v", a)
	}
}

func TestASecondCopyOfMakeRunSaysWhatToDo(t *testing.T) {
	port, tenantPort, data := stack.FreePort(t), stack.FreePort(t), t.TempDir()
	first := makeRun(t, port, tenantPort, data)
	first.waitFor("Connect ")
	for name, second := range map[string]*devRun{
		"port " + port:       makeRun(t, port, stack.FreePort(t), t.TempDir()),
		"port " + tenantPort: makeRun(t, stack.FreePort(t), tenantPort, t.TempDir()),
		data:                 makeRun(t, stack.FreePort(t), stack.FreePort(t), data),
	} {
		select {
		case <-second.ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("the second copy (%s) does not end:\n%s", name, second.out.String())
		}
		if out := second.out.String(); second.cmd.ProcessState.ExitCode() == 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, name) {
			t.Errorf("status %d, want one line with %q:\n%s", second.cmd.ProcessState.ExitCode(), name, out)
		}
	}
	res, err := http.Get(first.public + "/readyz")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the first copy has suffered: %v %v", res, err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}

// TestMakeTokenAndMakeCall: what docs/microsoft-callers.md shows, with the
// server that make run runs.
func TestMakeTokenAndMakeCall(t *testing.T) {
	run := makeRun(t, stack.FreePort(t), stack.FreePort(t), t.TempDir())
	run.waitFor("Connect ")
	ask := func(command string, env ...string) (stdout, stderr string) {
		stdout, stderr, _ = run.command(command, env...) // the texts tell
		return stdout, stderr
	}
	for name, env := range map[string][]string{
		"user": {"DEV_USER=bob"}, "application": {"DEV_APP=robot", "DEV_ROLES=Mcp.Invoke"},
		"agent": {"DEV_AGENT=researcher", "DEV_ROLES=Mcp.Invoke"}, "agent for a user": {"DEV_AGENT=researcher", "DEV_USER=bob"},
	} {
		token, stderr := ask("token", env...)
		if strings.Count(token, ".") != 2 || strings.Count(token, "\n") != 1 || stderr != "" {
			t.Errorf("%s: the token is %q, beside it %q", name, token, stderr)
		}
		if result, stderr := ask("call", append(env, "DEV_TOOL=greet", `DEV_ARGS={"name":"it's me"}`)...); !strings.Contains(result, "it's me") || stderr != "" {
			t.Errorf("%s: the call gives %q, %q", name, result, stderr)
		}
	}
	for name, test := range map[string]struct {
		command string
		env     []string
		says    string
	}{
		"application without a role": {"call", []string{"DEV_APP=robot", "DEV_TOOL=greet"}, "Mcp.Invoke"},
		"a user who is not assigned": {"token", []string{"DEV_USER=erin"}, "AADSTS50105"},
		"nobody":                     {"token", nil, "USER=bob"},
		"no tool":                    {"call", []string{"DEV_USER=bob"}, "TOOL=greet"},
	} {
		if out, stderr := ask(test.command, test.env...); out != "" || !strings.Contains(stderr, test.says) || strings.Contains(stderr, "rejected by transport") {
			t.Errorf("%s: %q, %q", name, out, stderr)
		}
	}
}

// TestMakeRunBuildsTheFirstTimeAndEveryTime: the first build shows that it goes on, the
// later ones say nothing.
func TestMakeRunBuildsTheFirstTimeAndEveryTime(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Makefile": string(makefile),
		"bin/go":   "#!/bin/sh\n[ \"$CGO_ENABLED\" = 0 ] || exit 1\nfor file; do [ \"$before\" = -o ] && : >\"$file\" && chmod +x \"$file\"; before=$file; done\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, says := range []bool{true, false} {
		cmd := exec.Command("make", ".bin/dev")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if _, missing := os.Stat(filepath.Join(dir, ".bin", "app")); err != nil || missing != nil || strings.Contains(string(out), "Compiling") != says {
			t.Errorf("%v %v\n%s", err, missing, out)
		}
	}
}
