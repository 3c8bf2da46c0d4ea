package tenant

import "net/http"

// discovery serves the OpenID configuration. For organizations and common the
// issuer is Entra's template with {tenantid} left in, which no generic OIDC
// library accepts (entra-docs: v2-protocols-oidc).
func (t *Tenant) discovery(w http.ResponseWriter, r *http.Request) {
	realm, ok := realmOf(r.PathValue("tenant"))
	if !ok {
		t.writeRefusal(w, r, refuse(90002, r.PathValue("tenant")))
		return
	}
	at := t.base + "/" + r.PathValue("tenant")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                t.issuer(realm.tenant),
		"authorization_endpoint":                at + "/oauth2/v2.0/authorize",
		"token_endpoint":                        at + "/oauth2/v2.0/token",
		"end_session_endpoint":                  at + "/oauth2/v2.0/logout",
		"jwks_uri":                              at + "/discovery/v2.0/keys",
		"userinfo_endpoint":                     t.base + "/oidc/userinfo",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"request_uri_parameter_supported":       false,
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"claims_supported": []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce",
			"preferred_username", "name", "tid", "ver", "email"},
		"tenant_region_scope":   nil,
		"cloud_instance_name":   "simulated",
		"cloud_graph_host_name": "graph.microsoft.com",
		"msgraph_host":          "graph.microsoft.com",
	})
}
