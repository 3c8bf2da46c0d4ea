// Package middleware is what every request passes before its route: headers, the
// base path, deadlines, and limits for requests without a valid token.
package middleware

import (
	"context"
	"io"
	"net/http"
	"time"
)

// refusedBody is how long the rest of a body is waited for once the request has
// been refused. What has arrived by then leaves the connection usable.
const refusedBody = time.Second

// BodyDeadline gives the body of each request until limit to arrive, whether
// next reads it or not: the server itself reads what next leaves, and would wait
// for ever. Once next refuses the request, the body has a second at most.
func BodyDeadline(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		// The server lifts it before the next request of the connection. What
		// has no connection, as in a test, has no deadline.
		if control.SetReadDeadline(time.Now().Add(limit)) != nil {
			next.ServeHTTP(w, r)
			return
		}
		body := &timedBody{ReadCloser: r.Body, control: control}
		r.Body = body
		next.ServeHTTP(&refusingWriter{ResponseWriter: w, body: body}, r)
	})
}

// timedBody lifts the deadline once it has been read to its end, so that an
// answer may take longer.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	ended   bool
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.ended {
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// refusingWriter shortens the deadline when a request is refused whose body has
// not been read. The server reads the rest before it answers, and closes the
// connection if that fails.
type refusingWriter struct {
	http.ResponseWriter
	body *timedBody
}

func (w *refusingWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest && !w.body.ended {
		_ = w.body.control.SetReadDeadline(time.Now().Add(refusedBody))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *refusingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush serves code that asserts http.Flusher instead of using a controller.
func (w *refusingWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Timeout bounds what next does for one request.
func Timeout(limit time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
