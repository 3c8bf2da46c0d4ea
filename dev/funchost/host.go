package funchost

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options describe the function app.
type Options struct {
	// Package is what was deployed: a zip file, or a directory with the
	// same contents.
	Package string
	// Settings are the app settings.
	Settings map[string]string
	// Hostname is the app's own, such as func-x.azurewebsites.net.
	Hostname string
	// Origins is siteConfig.cors.allowedOrigins.
	Origins []string
	// Now is the clock of the restart rules; time.Now if nil.
	Now func() time.Time
}

// Host is one instance: the host and its handler process. Requests come from a
// FrontEnd.
type Host struct {
	options Options
	id      string
	root    string
	port    int
	worker  worker
	console console
	proxy   http.Handler
	limit   int64 // bytes of a request body

	end     context.CancelFunc
	ended   chan struct{}
	mu      sync.Mutex
	current *process
	gate    *gate
}

// gate holds requests back until the handler has answered once. It opens with
// an error where that will never be.
type gate struct {
	open chan struct{}
	err  error
}

// deprecated on Flex Consumption, where functionAppConfig has their place
// (flex-consumption-plan.md, "Deprecated properties and settings").
var deprecated = []string{"FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_WORKER_RUNTIME_VERSION", "FUNCTIONS_EXTENSION_VERSION",
	"WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE"}

// Start unpacks the app and starts its handler. An error is one with which the
// host would not start.
func Start(o Options) (*Host, error) {
	for _, name := range deprecated {
		if _, ok := o.Settings[name]; ok {
			return nil, fmt.Errorf("the app setting %s is not for Flex Consumption", name)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	root, err := os.MkdirTemp("", "funchost-wwwroot-")
	if err != nil {
		return nil, err
	}
	h := &Host{options: o, root: root, id: guid(), limit: 100 << 20, ended: make(chan struct{}), gate: newGate()}
	if err := h.load(); err != nil {
		return nil, errors.Join(err, h.clear())
	}
	ctx, end := context.WithCancel(context.Background())
	h.end = end
	go h.supervise(ctx)
	return h, nil
}

func (h *Host) load() error {
	if err := unpack(h.options.Package, h.root); err != nil {
		return err
	}
	var err error
	if h.worker, err = readHostJSON(h.root, h.options.Settings); err != nil {
		return err
	}
	// functions-bindings-http-webhook-trigger.md, "Limits"
	if v := h.options.Settings["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"]; v != "" {
		if h.limit, err = strconv.ParseInt(v, 10, 64); err != nil {
			return fmt.Errorf("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: %w", err)
		}
	}
	if h.port, err = unusedPort(); err != nil {
		return err
	}
	h.proxy = h.newProxy()
	// Packages are mounted read-only.
	return os.Chmod(h.root, 0o500)
}

// Close ends the instance as scaling in does: at once, and with SIGKILL.
func (h *Host) Close() error {
	h.end()
	<-h.ended
	return h.clear()
}

func (h *Host) clear() error {
	return errors.Join(os.Chmod(h.root, 0o700), os.RemoveAll(h.root))
}

// KillHandler sends SIGKILL to the handler alone, as the kernel does to the
// largest process of an instance that is short of memory.
func (h *Host) KillHandler() {
	h.mu.Lock()
	p := h.current
	h.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// Handler is the process id of the handler, 0 if there is none.
func (h *Host) Handler() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		return 0
	}
	return h.current.cmd.Process.Pid
}

// Wait waits until the handler has answered the host.
func (h *Host) Wait(ctx context.Context) error {
	h.mu.Lock()
	g := h.gate
	h.mu.Unlock()
	select {
	case <-g.open:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stopped is closed once the host has given up or was closed.
func (h *Host) Stopped() <-chan struct{} { return h.ended }

// Lines is the log so far.
func (h *Host) Lines() []Line { return h.console.all() }

// Log is the log so far as text.
func (h *Host) Log() string {
	var b strings.Builder
	for _, l := range h.Lines() {
		fmt.Fprintf(&b, "%-11s %s\n", l.Severity, l.Text)
	}
	return b.String()
}

func (h *Host) say(severity Severity, format string, args ...any) {
	h.console.add(Line{Severity: severity, Text: fmt.Sprintf(format, args...), Host: true})
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) pass(err error) {
	g.err = err
	close(g.open)
}

func siteName(hostname string) string {
	name, _, _ := strings.Cut(hostname, ".")
	return name
}

// guid is a random UUID (RFC 9562 §5.4).
func guid() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
