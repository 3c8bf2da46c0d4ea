package resource

import (
	"net/http"

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

// MetadataPaths are the paths to serve Metadata at.
func (g *Guard) MetadataPaths() []string { return []string{wellKnown, g.metadataPath} }

// Metadata serves the protected resource metadata, for any web page to read. It
// is the same at every path.
func (g *Guard) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if !g.inAzure {
			h.Set("Access-Control-Allow-Origin", "*")
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			h.Set("Cache-Control", "public, max-age=300")
			oauth.WriteJSON(w, http.StatusOK, g.metadata)
		case http.MethodOptions:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			if !g.inAzure {
				h.Set("Access-Control-Allow-Methods", "GET, HEAD")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version")
				h.Set("Access-Control-Max-Age", "600")
			}
			w.WriteHeader(http.StatusNoContent)
		default:
			h.Set("Allow", "GET, HEAD, OPTIONS")
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
}
