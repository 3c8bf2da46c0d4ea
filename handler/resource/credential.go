package resource

import (
	"net/http"
	"net/url"
	"strings"

	"entramcp/handler/oauth"
)

// maxToken bounds what is looked at; our tokens are below 1 KiB.
const maxToken = 8 << 10

// credential reads the bearer token (RFC 6750 §2.1). It is "" if there is none
// or if another scheme is used; an error if the request is malformed. A token
// in the query is never taken: URLs end up in logs and histories (MCP
// authorization, "Token Requirements"). A token in a form body is never looked
// for.
func credential(r *http.Request) (string, error) {
	if r.URL.RawQuery != "" {
		// ParseQuery returns what it understood together with its error.
		if query, _ := url.ParseQuery(r.URL.RawQuery); query.Has("access_token") {
			return "", oauth.New(oauth.InvalidRequest, "Send the access token in the Authorization header, never in the URL.")
		}
	}
	lines := r.Header.Values("Authorization")
	if len(lines) == 0 {
		return "", nil
	}
	if len(lines) > 1 {
		return "", oauth.New(oauth.InvalidRequest, "There is more than one Authorization header.")
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(lines[0]), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	token = strings.TrimSpace(token)
	if len(token) > maxToken || strings.ContainsAny(token, " \t,") {
		return "", oauth.New(oauth.InvalidRequest, "The Authorization header holds no single access token.")
	}
	return token, nil
}
