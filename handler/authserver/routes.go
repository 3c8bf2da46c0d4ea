package authserver

import (
	"net/http"

	"entramcp/handler/cors"
)

// Route is one method on one path. Path is a pattern of net/http without the
// method.
type Route struct {
	Method, Path string
	// Member is the member of the metadata document that announces the
	// route, if one does.
	Member  string
	Handler http.Handler
}

// The paths that clients fall back to when they find no metadata (MCP
// 2025-03-26, "Fallbacks for Servers without Metadata Discovery") are
// /authorize, /token and /register at the root; so they are these.
const (
	authorizePath  = "/authorize"
	consentPath    = "/consent"
	tokenPath      = "/token"
	registerPath   = "/register"
	revokePath     = "/revoke"
	introspectPath = "/introspect"
)

// Routes is everything the server serves. The metadata document is generated
// from it, so that nothing is announced that is not served.
func (s *Server) Routes() []Route { return s.routes }

// AppPaths are those of Routes that only apps use.
func (s *Server) AppPaths() []string {
	return []string{tokenPath, registerPath, revokePath, introspectPath}
}

func (s *Server) table() []Route {
	routes := []Route{
		{"GET", authorizePath, "authorization_endpoint", http.HandlerFunc(s.authorize)},
		{"POST", authorizePath, "", http.HandlerFunc(s.authorize)},
		{"POST", consentPath, "", http.HandlerFunc(s.consent)},
		{"GET", s.CallbackPath, "", http.HandlerFunc(s.callback)},
	}
	for _, e := range []struct {
		path, member string
		handle       http.HandlerFunc
	}{
		{tokenPath, "token_endpoint", s.token},
		{registerPath, "registration_endpoint", s.register},
		{revokePath, "revocation_endpoint", s.revoke},
		{introspectPath, "introspection_endpoint", s.introspect},
	} {
		routes = append(routes, s.crossOrigin("POST", e.path, e.member, e.handle)...)
	}
	for _, path := range s.metadataPaths() {
		// No redirects here: clients refuse to follow them.
		routes = append(routes, s.crossOrigin("GET", path, "", s.metadata)...)
		routes = append(routes, s.crossOrigin("GET", path+"/{$}", "", s.metadata)...)
	}
	return routes
}

// crossOrigin is a route that MCP clients in a browser call from another
// origin. No cookie plays a part in it, so any origin may. In Azure the platform
// answers CORS.
func (s *Server) crossOrigin(method, path, member string, handler http.HandlerFunc) []Route {
	if s.InAzure {
		return []Route{{method, path, member, handler}}
	}
	return []Route{
		{method, path, member, cors.AnyOrigin(handler)},
		{"OPTIONS", path, "", cors.AnyOriginPreflight(method + ", OPTIONS")},
	}
}
