package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// maxDocument bounds what is read of an answer, in bytes.
const maxDocument = 1 << 20

// Site is a server as clients see it. It never follows redirects, as most
// clients do not where they look for metadata.
type Site struct {
	Issuer, Resource string
	client           *http.Client
}

// Running is the server that answers at issuer.
func Running(issuer, resource string, timeout time.Duration) Site {
	return Site{issuer, resource, &http.Client{Timeout: timeout, CheckRedirect: stay}}
}

// InProcess is h, asked without a network.
func InProcess(issuer, resource string, h http.Handler) Site {
	return Site{issuer, resource, &http.Client{Transport: transport{h}, CheckRedirect: stay}}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s Site) get(ctx context.Context, address string) (answer, error) {
	return s.do(ctx, http.MethodGet, address, nil)
}

func (s Site) do(ctx context.Context, method, address string, body []byte, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	return answer{res.StatusCode, res.Header, text}, err
}

// document is a JSON object as a client reads it; the error says what the
// client would stumble over.
func (s Site) document(ctx context.Context, path string) (map[string]any, error) {
	a, err := s.get(ctx, s.Issuer+path)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	var object map[string]any
	switch {
	case a.status != http.StatusOK:
		return nil, &unexpected{path, a}
	case kind != "application/json":
		return nil, fmt.Errorf("%s has Content-Type %q", path, a.header.Get("Content-Type"))
	case json.Unmarshal(a.body, &object) != nil:
		return nil, fmt.Errorf("%s is not a JSON object", path)
	}
	return object, nil
}

// unexpected is a status that no client can use.
type unexpected struct {
	path string
	answer
}

func (u *unexpected) Error() string { return fmt.Sprintf("%s answers %d", u.path, u.status) }

// fix guesses from the status what is in front of the server.
func (u *unexpected) fix() string {
	switch {
	case u.status >= 300 && u.status < 400:
		return "Remove the redirect to " + hostOf(u.header.Get("Location")) + ": a proxy or the platform makes it, and clients do not follow it here."
	case u.status == http.StatusUnauthorized || u.status == http.StatusForbidden:
		return "Switch off App Service authentication, or whatever else in front of the server asks for a sign-in: the server does that itself."
	case u.status == http.StatusNotFound:
		return "Let every path through to the server: host.json needs an empty routePrefix, and a proxy must pass on /.well-known."
	case u.status == http.StatusBadGateway || u.status == http.StatusServiceUnavailable || u.status == http.StatusGatewayTimeout:
		return "Start the server behind it, and look at its log."
	}
	return "Look at the server's log."
}

func hostOf(location string) string {
	if _, rest, found := strings.Cut(location, "://"); found {
		host, _, _ := strings.Cut(rest, "/")
		return host
	}
	return "another path"
}

// transport hands requests to a handler.
type transport struct{ handler http.Handler }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	served := r.Clone(r.Context())
	served.RequestURI, served.Host, served.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "127.0.0.1:0"
	t.handler.ServeHTTP(w, served)
	return &http.Response{StatusCode: w.status, Header: w.header, Body: io.NopCloser(&w.body), Request: r}, nil
}

type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if !w.wrote {
		w.status, w.wrote = status, true
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.wrote = true
	return w.body.Write(p)
}

// Up reports whether this server answers at the site's address, and if it
// does, whether what it depends on is ready.
func (s Site) Up(ctx context.Context) (f Finding, answers bool) {
	const check = "running server"
	a, err := s.get(ctx, s.Issuer+"/healthz")
	if err != nil {
		return Unknown(check, s.Issuer+" does not answer; what clients would find was checked in this process instead",
			"Start the server. If it is running, set PUBLIC_URL to its address."), false
	}
	var health struct {
		Status string `json:"status"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &health) != nil || health.Status != "up" {
		u := &unexpected{"/healthz", a}
		return Wrong(check, fmt.Sprintf("something else answers at %s: %s; what clients would find was checked in this process instead", s.Issuer, u.Error()),
			u.fix()), false
	}
	if a, err = s.get(ctx, s.Issuer+"/readyz"); err != nil {
		return Wrong(check, s.Issuer+"/readyz does not answer in time", "Look at the server's log."), true
	}
	if a.status == http.StatusOK {
		return OK(check, s.Issuer+" is up; storage, keys and Entra are ready there"), true
	}
	return Wrong(check, s.Issuer+" is up, and not ready", "The line \"not ready\" of the server's log says which of storage, keys and Entra fails, and why."), true
}
