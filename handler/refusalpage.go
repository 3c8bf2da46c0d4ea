package handler

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"entramcp/handler/config"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// refusalPages adds a page to refusals that a browser gets at an address without a
// page: one that does not exist, or one for apps. Status, challenge and all other
// headers are the same as for an app.
func (s *Server) refusalPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		opened := r.Method == http.MethodGet || r.Method == http.MethodHead
		if opened && pages.Accepted(r.Header.Values("Accept"), "text/html") {
			w = &refusalWriter{ResponseWriter: w, server: s, request: r}
		}
		next.ServeHTTP(w, r)
	})
}

// refusalWriter replaces a refusal that is not a page by one.
type refusalWriter struct {
	http.ResponseWriter
	server  *Server
	request *http.Request
	shown   bool
}

func (w *refusalWriter) WriteHeader(status int) {
	if w.shown || !isRefusal(status) || strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.shown = true
	w.Header().Del("Content-Length")
	s, ctx := w.server, w.request.Context()
	problem := s.problemAt(w.request.URL.Path, status)
	s.deps.Log.LogAttrs(ctx, slog.LevelInfo, "address without a page opened in a browser", slog.String("path", w.request.URL.Path), slog.Int("status", status))
	page := pages.NewErrorPage(pages.WordsFor(problem), observe.CorrelationID(ctx), s.deps.Now())
	page.ReturnTo, page.HomePage = s.cfg.Issuer+"/", true
	s.pages.Render(w.ResponseWriter, status, page)
}

// isRefusal reports whether status is a refusal for which a browser gets a page.
func isRefusal(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// Write drops the body for an app.
func (w *refusalWriter) Write(p []byte) (int, error) {
	if w.shown {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *refusalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// problemAt is the problem of a browser that opens path.
func (s *Server) problemAt(path string, status int) pages.Problem {
	switch {
	case status == http.StatusNotFound:
		return pages.NoPage
	case strings.TrimSuffix(path, "/") == config.MCPPath, slices.Contains(s.as.AppPaths(), path):
		return pages.AppAddress
	}
	return pages.NotOpened
}
