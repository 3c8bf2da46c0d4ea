package handler

import (
	"net/http"
	"strings"
	"time"

	"entramcp/handler/account"
	"entramcp/handler/config"
	"entramcp/handler/mcphttp"
	"entramcp/handler/middleware"
	"entramcp/handler/observe"
)

const (
	// storageShare is what a request may spend on the table beside its call to
	// Entra. With the default TIMEOUT_SECONDS of 8 that makes 9.5 s: clients
	// that wait 10 s still get the 503 with its Retry-After, and repeat the
	// request.
	storageShare = 1500 * time.Millisecond
	// bodyTime is how long the body of a request may take to arrive, and
	// callBodyTime that of a call, which may have 4 MiB.
	bodyTime     = 10 * time.Second
	callBodyTime = 30 * time.Second

	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// routes is the whole route table. Requests without an access token are limited by
// address, on every route.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, path := range s.guard.MetadataPaths() {
		mux.Handle(path, s.guard.Metadata())
		mux.Handle(path+"/{$}", s.guard.Metadata())
	}
	for _, route := range s.as.Routes() {
		mux.Handle(route.Method+" "+route.Path, middleware.Timeout(s.cfg.Timeout+storageShare, route.Handler))
	}
	mux.Handle("/{$}", s.home)
	if s.accountPath() != "" {
		for pattern, page := range s.account.Routes() {
			mux.Handle(pattern, middleware.Timeout(s.cfg.Timeout+storageShare, page))
		}
	}
	for pattern, page := range s.connect.Routes() {
		mux.Handle(pattern, middleware.Timeout(s.cfg.Timeout+storageShare, page))
	}
	for path, document := range s.home.Routes() {
		mux.Handle("GET "+path, document)
	}
	mux.HandleFunc("GET "+healthPath, s.health.Up)
	mux.HandleFunc("GET "+readyPath, s.health.Ready)

	outer := http.NewServeMux()
	endpoint := s.guard.Protect(mcphttp.Handler(s.tools.Handler()))
	outer.Handle(config.MCPPath, endpoint)
	outer.Handle(config.MCPPath+"/{$}", endpoint) // a redirect would lose the body
	outer.Handle("GET "+healthPath, mux)
	outer.Handle("GET "+readyPath, s.anonymous.Slow(mux))
	outer.Handle("GET /{$}", s.anonymous.Slow(mux))
	for _, route := range s.as.Routes() {
		if route.Member == "token_endpoint" {
			outer.Handle(route.Method+" "+route.Path, s.limitTokens(mux))
		}
	}
	outer.Handle("/", s.anonymous.Limit(mux))
	return outer
}

// limitTokens limits requests to the token endpoint. Those with an unexpired refresh
// token of this server have budgets of their own: otherwise a flood of other requests
// would keep out every client whose access token expires meanwhile.
func (s *Server) limitTokens(next http.Handler) http.Handler {
	refreshes, others := s.refreshes.LimitUnlessServed(next), s.anonymous.LimitUnlessServed(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.as.HasRefreshToken(r) {
			refreshes.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// surrounded wraps the routes in what every request passes first; the last is outermost.
func (s *Server) surrounded(routes http.Handler) http.Handler {
	h := observe.Correlate(s.deps.Log, observe.CorrelateOptions{
		Hosted: s.cfg.Hosted, Proxies: observe.Proxies{Appended: s.cfg.InAzure, Trusted: s.cfg.TrustedProxies},
	}, s.deps.Telemetry.Middleware(routes))
	short, long := middleware.BodyDeadline(bodyTime, h), s.admission.Limit(middleware.BodyDeadline(callBodyTime, h))
	h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") == config.MCPPath {
			long.ServeHTTP(w, r)
			return
		}
		short.ServeHTTP(w, r)
	})
	h = middleware.BasePath(s.cfg.BasePath, h)
	return middleware.Headers(strings.HasPrefix(s.cfg.Issuer, "https:"), h)
}

// accountPath is the path of the page of connected apps. It is empty on a shared host,
// where other services could use the page's cookie.
func (s *Server) accountPath() string {
	if s.cfg.SharedHost {
		return ""
	}
	return s.cfg.BasePath + account.Path
}
