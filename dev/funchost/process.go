package funchost

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// process is one run of the handler.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// start runs the handler (HttpWorkerProcess.CreateWorkerProcess).
func (h *Host) start() (*process, error) {
	// HttpWorkerChannelFactory: the bit is set where a zip has lost it
	// (AssignUserExecutePermissionsIfNotExists).
	info, err := os.Stat(h.worker.executable)
	if err != nil {
		return nil, err
	}
	if info.Mode()&0o100 == 0 {
		if err := os.Chmod(h.worker.executable, info.Mode()|0o100); err != nil {
			return nil, err
		}
	}
	p := &process{cmd: exec.Command(h.worker.executable, h.worker.arguments...), exited: make(chan struct{})}
	p.cmd.Dir = h.worker.directory
	p.cmd.Env = h.environment()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	read := make(chan struct{})
	go func() {
		h.console.pump(stdout, false)
		read <- struct{}{}
	}()
	go func() {
		h.console.pump(stderr, true)
		read <- struct{}{}
	}()
	go func() {
		<-read
		<-read
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// environment is the host's own, which the handler inherits: app settings and
// what the platform adds, then the names of the protocol.
func (h *Host) environment() []string {
	port := strconv.Itoa(h.port)
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/home",
		"FUNCTIONS_WORKER_RUNTIME=custom",
		"FUNCTIONS_EXTENSION_VERSION=~4",
		"AZURE_FUNCTIONS_ENVIRONMENT=Production",
		"WEBSITE_SKU=FlexConsumption",
		"WEBSITE_HOSTNAME=" + h.options.Hostname,
		"WEBSITE_SITE_NAME=" + siteName(h.options.Hostname),
		"WEBSITE_INSTANCE_ID=" + h.id,
	}
	for name, v := range h.options.Settings {
		env = append(env, name+"="+v)
	}
	return append(env,
		"FUNCTIONS_HTTPWORKER_PORT="+port,
		"FUNCTIONS_HTTPWORKER_ID="+h.id,
		"FUNCTIONS_CUSTOMHANDLER_PORT="+port,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID="+h.id,
		"FUNCTIONS_APP_ROOT_PATH="+h.root,
	)
}

// kill is Process.Kill: there is no SIGTERM before it (WorkerProcess.Dispose).
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// probe asks for / until there is any answer (DefaultHttpWorkerService.
// IsWorkerReady, WorkerConstants.WorkerReadyCheckPollingIntervalMilliseconds).
func (h *Host) probe(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, h.worker.limit)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.address()+"/", nil)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v", h.worker.limit)
		case <-p.exited:
			return fmt.Errorf("it ended: %s", p.cmd.ProcessState)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func (h *Host) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(h.port)) }

// unusedPort is WorkerUtilities.GetUnusedTcpPort: free now, taken soon.
func unusedPort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
