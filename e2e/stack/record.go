package stack

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
)

// Exchange is a request to an endpoint other than the MCP one, with its answer.
type Exchange struct {
	Method, Path string
	Form         url.Values // of /token and /revoke
	// ClientID is who the request says it comes from, in its form or by
	// Basic authentication.
	ClientID string
	Status   int
	Body     []byte // the answer's
}

// Seen are the exchanges with path so far, oldest first.
func (l *Local) Seen(path string) []Exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Exchange
	for _, e := range l.seen {
		if e.Path == path {
			found = append(found, e)
		}
	}
	return found
}

// record notes exchanges. The MCP endpoint streams, so it stays as it is.
func (l *Local) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mcp" {
			next.ServeHTTP(w, r)
			return
		}
		e := Exchange{Method: r.Method, Path: r.URL.Path, Status: http.StatusOK}
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			e.Form, _ = url.ParseQuery(string(body)) // a registration is JSON and has none
		}
		e.ClientID = e.Form.Get("client_id")
		if name, _, ok := r.BasicAuth(); ok {
			e.ClientID, _ = url.QueryUnescape(name)
		}
		seen := &witness{ResponseWriter: w, exchange: &e}
		next.ServeHTTP(seen, r)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.seen = append(l.seen, e)
	})
}

type witness struct {
	http.ResponseWriter
	exchange *Exchange
}

func (w *witness) WriteHeader(status int) {
	w.exchange.Status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(b []byte) (int, error) {
	w.exchange.Body = append(w.exchange.Body, b...)
	return w.ResponseWriter.Write(b)
}
