package authserver

import (
	"net/http"
	"slices"

	"entramcp/handler/clients"
	"entramcp/handler/oauth"
)

// metadataPaths are where clients look for the metadata of an issuer without a
// path, and, before protected-resource metadata existed, of one with the path
// of the MCP endpoint (RFC 8414 §3.1, OpenID Connect Discovery §4.1).
func metadataPaths() []string {
	return []string{
		"/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/mcp",
		"/.well-known/openid-configuration",
		"/.well-known/openid-configuration/mcp",
		"/mcp/.well-known/openid-configuration",
	}
}

// document is the metadata of RFC 8414 §2. The same one answers at the OpenID
// Connect locations, where some clients look for it. It leaves out what only
// OpenID providers have (jwks_uri, subject types, ID token algorithms): this
// server issues no ID tokens, its access tokens are opaque to clients, and
// RFC 8414 §3.2 forbids empty lists.
type document struct {
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
	oauth.WriteJSON(w, http.StatusOK, document{
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
