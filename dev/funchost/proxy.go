package funchost

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// hostVersion is the version that func 4.14 holds.
const hostVersion = "4.1052.200"

// ServeHTTP is one request as the front end hands it on.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// AppServiceHeaderFixupMiddleware
	if host := r.Header.Get("DISGUISED-HOST"); host != "" {
		r.Host = host
	}
	if h.preflight(w, r) {
		return
	}
	switch path := strings.ToLower(r.URL.Path); {
	case path == "/admin", strings.HasPrefix(path, "/admin/"), path == "/runtime", strings.HasPrefix(path, "/runtime/"):
		// The host's own controllers come first, and know no key of ours.
		w.WriteHeader(http.StatusUnauthorized)
		return
	case h.worker.routes[0].level != "anonymous":
		// AuthenticationLevelHandler: no function key is known here.
		w.WriteHeader(http.StatusUnauthorized)
		return
	case r.ContentLength > h.limit:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	// Requests wait for the handler, but not for ever.
	ctx, cancel := context.WithTimeout(r.Context(), 4*h.worker.limit)
	err := h.Wait(ctx)
	cancel()
	if err != nil {
		http.Error(w, "Function host is not running.", http.StatusServiceUnavailable)
		return
	}
	// Kestrel reads and writes at once. net/http would take what is left of the
	// body from the proxy when the answer begins, and so cut both.
	_ = http.NewResponseController(w).EnableFullDuplex()
	r.Body = http.MaxBytesReader(w, r.Body, h.limit)
	h.proxy.ServeHTTP(w, r)
}

// newProxy streams both ways, as YARP does (DefaultHttpProxyService.
// StartForwarding): all headers but the hop-by-hop ones pass, the Host header
// included; redirects and cookies are the client's.
func (h *Host) newProxy() http.Handler {
	return &httputil.ReverseProxy{
		FlushInterval: -1,
		Transport:     retry{&http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}},
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: h.address()})
			p.Out.Host = p.In.Host
			// Go's proxy leaves these out, YARP's default does not.
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if v, ok := p.In.Header[name]; ok {
					p.Out.Header[name] = v
				}
			}
			invocation := guid()
			p.Out.Header.Set("X-Azure-Functions-InvocationId", invocation)
			p.Out.Header.Set("X-Azure-Functions-HostVersion", hostVersion)
			p.Out.Header.Set("x-ms-invocation-id", invocation)
			p.Out.Header.Set("Traceparent", continued(p.In.Header.Get("Traceparent")))
		},
		ModifyResponse: func(res *http.Response) error {
			h.allow(res.Header, res.Request)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			h.say(Error, "Failed to proxy request with ForwarderError: %v", err)
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// retry is RetryProxyHandler: ten attempts, 50 to 250 ms apart, as long as no
// answer has come. A body that was sent cannot be sent again.
type retry struct{ next http.RoundTripper }

func (t retry) RoundTrip(r *http.Request) (*http.Response, error) {
	body := &sent{ReadCloser: r.Body}
	delay := 50 * time.Millisecond
	for attempt := 1; ; attempt++ {
		try := r.Clone(r.Context())
		if r.Body != nil && r.Body != http.NoBody {
			try.Body = body
		}
		res, err := t.next.RoundTrip(try)
		if err == nil || attempt == 10 || body.read || r.Context().Err() != nil {
			return res, err
		}
		select {
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-time.After(delay):
		}
		delay = min(2*delay, 250*time.Millisecond)
	}
}

// sent notices whether any of the body was read, and keeps it open between the
// attempts; the server closes it.
type sent struct {
	io.ReadCloser
	read bool
}

func (s *sent) Read(p []byte) (int, error) {
	s.read = true
	return s.ReadCloser.Read(p)
}

func (s *sent) Close() error { return nil }

var traceID = regexp.MustCompile(`^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$`)

// continued is the host's span in the trace of the caller, or in a new one (W3C
// Trace Context §3.2).
func continued(parent string) string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	trace := hex.EncodeToString(b[:16])
	if m := traceID.FindStringSubmatch(parent); m != nil {
		trace = m[1]
	}
	return "00-" + trace + "-" + hex.EncodeToString(b[16:]) + "-01"
}
