package authserver

import (
	"net/http"
	"slices"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
)

// metadataPaths are where clients look for the metadata of an issuer without a
// path (RFC 8414 §3), and, before protected-resource metadata existed, of one
// with the path of the MCP endpoint: in front of that path (RFC 8414 §3.1) or,
// as OpenID Connect Discovery has it, after it. No form of openid-configuration
// is among them: this is not an OpenID provider, and clients that find none go
// on to these.
//
// Where the issuer has a path, the first two have it inserted (RFC 8414 §3.1),
// beside those that a client finds below it.
func (s *Server) metadataPaths() []string {
	const wellKnown = "/.well-known/oauth-authorization-server"
	paths := []string{wellKnown, wellKnown + "/mcp", "/mcp" + wellKnown}
	if s.base != "" {
		paths = append(paths, wellKnown+s.base, wellKnown+s.base+"/mcp")
	}
	return paths
}

// serverMetadata is the metadata of RFC 8414 §2. Access tokens are opaque to
// clients, so there is no jwks_uri.
type serverMetadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint,omitempty"`
	Token         string `json:"token_endpoint,omitempty"`
	Registration  string `json:"registration_endpoint,omitempty"`
	Revocation    string `json:"revocation_endpoint,omitempty"`
	Introspection string `json:"introspection_endpoint,omitempty"`

	Scopes             oauth.Scopes `json:"scopes_supported"`
	ResponseTypes      []string     `json:"response_types_supported"`
	ResponseModes      []string     `json:"response_modes_supported"`
	GrantTypes         []string     `json:"grant_types_supported"`
	ChallengeMethods   []string     `json:"code_challenge_methods_supported"`
	TokenAuth          []string     `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs      []string     `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuth     []string     `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAlgs     []string     `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuth  []string     `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgs  []string     `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	ClientMetadata     bool         `json:"client_id_metadata_document_supported"`
	ResponseIssuer     bool         `json:"authorization_response_iss_parameter_supported"`
	RequestParameter   bool         `json:"request_parameter_supported"`
	RequestURI         bool         `json:"request_uri_parameter_supported"`
	ProtectedResources []string     `json:"protected_resources"`
}

func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	methods, algorithms := clients.AuthMethods(), clients.AssertionAlgorithms()
	confidential := slices.DeleteFunc(slices.Clone(methods), func(m string) bool { return m == clients.AuthNone })
	// Five minutes, so that a changed configuration reaches clients soon.
	w.Header().Set("Cache-Control", "public, max-age=300")
	oauth.WriteJSON(w, http.StatusOK, serverMetadata{
		Issuer:             s.Issuer,
		Authorization:      s.endpoint("authorization_endpoint"),
		Token:              s.endpoint("token_endpoint"),
		Registration:       s.endpoint("registration_endpoint"),
		Revocation:         s.endpoint("revocation_endpoint"),
		Introspection:      s.endpoint("introspection_endpoint"),
		Scopes:             s.knownScopes(),
		ResponseTypes:      []string{"code"},
		ResponseModes:      []string{"query"},
		GrantTypes:         clients.GrantTypes(),
		ChallengeMethods:   []string{"S256"},
		TokenAuth:          methods,
		TokenAuthAlgs:      algorithms,
		RevocationAuth:     methods,
		RevocationAlgs:     algorithms,
		IntrospectionAuth:  confidential,
		IntrospectionAlgs:  algorithms,
		ClientMetadata:     s.ClientMetadata,
		ResponseIssuer:     true,
		ProtectedResources: []string{string(s.Resource)},
	})
}

// endpoint is the URL of the route that member announces, empty if none does.
func (s *Server) endpoint(member string) string {
	for _, r := range s.routes {
		if r.Member == member {
			return s.Issuer + r.Path
		}
	}
	return ""
}

// knownScopes are all a client can be granted. offline_access belongs here and
// not in the protected-resource metadata: it is about this server.
func (s *Server) knownScopes() oauth.Scopes {
	return s.Required.Union(s.Optional).Union(oauth.Scopes{"offline_access"})
}
