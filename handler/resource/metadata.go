package resource

import (
	"net/http"
	"slices"
	"strings"

	"entramcp/handler/cors"
	"entramcp/handler/oauth"
)

// wellKnown is where metadata is found: with the resource's own path after
// it, and alone (RFC 9728 §3.1).
const wellKnown = "/.well-known/oauth-protected-resource"

// metadata is the protected resource metadata (RFC 9728 §2). scopes_supported
// is the baseline and not the catalogue: clients without a challenge ask the
// user for all of it.
type metadata struct {
	Resource             oauth.Resource `json:"resource"`
	AuthorizationServers []string       `json:"authorization_servers"`
	ScopesSupported      oauth.Scopes   `json:"scopes_supported,omitempty"`
	BearerMethods        []string       `json:"bearer_methods_supported"`
	Name                 string         `json:"resource_name"`
	Documentation        string         `json:"resource_documentation"`
}

// MetadataPaths are the paths to serve Metadata at: after the host, with and
// without the path of the resource and of what is above it. A gateway that
// serves us below a path may take that away or not.
func (g *Guard) MetadataPaths() []string {
	own := g.endpoint.EscapedPath()
	above := own[:strings.LastIndexByte(own, '/')]
	last := own[len(above):]
	paths := []string{wellKnown, wellKnown + last, wellKnown + above, g.metadataPath}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Metadata serves the protected resource metadata, for any web page to read. It
// is the same at every path.
func (g *Guard) Metadata() http.Handler {
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			w.Header().Set("Cache-Control", "public, max-age=300")
			oauth.WriteJSON(w, http.StatusOK, g.metadata)
		case http.MethodOptions:
			w.Header().Set("Allow", metadataMethods)
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", metadataMethods)
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
	if g.inAzure {
		return serve
	}
	readable, preflight := cors.AnyOrigin(serve), cors.AnyOriginPreflight(metadataMethods)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			preflight.ServeHTTP(w, r)
			return
		}
		readable.ServeHTTP(w, r)
	})
}

const metadataMethods = "GET, HEAD, OPTIONS"
