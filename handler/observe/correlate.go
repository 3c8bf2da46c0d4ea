package observe

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"
)

// CorrelationHeader carries the correlation id on every answer.
const CorrelationHeader = "X-Correlation-Id"

type correlationKey struct{}

type ids struct{ id, trace, client string }

// CorrelationID is the id of the request in ctx, or "" outside of one. People
// read it on an error page, operators find it in the log.
func CorrelationID(ctx context.Context) string {
	c, _ := correlation(ctx)
	return c.id
}

func correlation(ctx context.Context) (ids, bool) {
	c, ok := ctx.Value(correlationKey{}).(ids)
	return c, ok
}

var (
	invocationID = regexp.MustCompile(`^[0-9A-Za-z-]{8,64}$`)
	// W3C Trace Context §3.2: version-traceid-parentid-flags.
	traceparent = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}`)
)

// CorrelateOptions say what is in front of the server.
type CorrelateOptions struct {
	// Hosted says that the Functions host is.
	Hosted  bool
	Proxies Proxies
}

// Correlate gives every request an id, logs how it ended, and turns a panic
// into a 500 that the process survives. Behind the Functions host the id is the
// host's invocation id, so that both logs can be joined; elsewhere that header
// is the client's to choose and is ignored. The query is never logged: it holds
// codes and state.
func Correlate(log *slog.Logger, o CorrelateOptions, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := ids{client: LimitKey(o.Proxies.Address(r))}
		if id := r.Header.Get("X-Ms-Invocation-Id"); o.Hosted && invocationID.MatchString(id) {
			c.id = id
		} else {
			c.id = rand.Text()
		}
		if m := traceparent.FindStringSubmatch(r.Header.Get("Traceparent")); m != nil {
			c.trace = m[1]
		}
		ctx := context.WithValue(r.Context(), correlationKey{}, c)
		w.Header().Set(CorrelationHeader, c.id)
		seen := &statusWriter{ResponseWriter: w}
		start := time.Now()
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				log.ErrorContext(ctx, "panic", "value", p, "stack", string(debug.Stack()))
				if seen.status != 0 {
					// The answer has begun. Ending it now would make it look
					// complete.
					panic(http.ErrAbortHandler)
				}
				http.Error(seen, "Internal error. Correlation id: "+c.id, http.StatusInternalServerError)
			}
			if !log.Enabled(ctx, slog.LevelDebug) {
				return
			}
			log.DebugContext(ctx, "request", "method", r.Method, "path", r.URL.Path, "status", seen.status, "took", time.Since(start).String())
		}()
		next.ServeHTTP(seen, r.WithContext(ctx))
	})
}

// statusWriter keeps the status; Unwrap lets http.ResponseController reach
// the flusher below, which streaming answers need.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush serves code that asserts http.Flusher instead of using a controller.
func (w *statusWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }
