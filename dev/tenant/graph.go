package tenant

import (
	"net/http"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// me is GET /v1.0/me of Microsoft Graph: the profile of the token's user, for
// a token to Graph with User.Read (graph docs: user-get).
func (t *Tenant) me(w http.ResponseWriter, r *http.Request) {
	u, claims, ok := t.bearer(w, r)
	if !ok {
		return
	}
	scopes, _ := claims["scp"].(string)
	if !slices.Contains(strings.Fields(scopes), "User.Read") {
		graphError(w, http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"@odata.context": graphURI + "/v1.0/$metadata#users/$entity",
		"id":             u.ObjectID, "displayName": u.Name, "userPrincipalName": u.Username, "mail": nullable(u.Email),
		"givenName": strings.Fields(u.Name)[0], "surname": nullable(strings.Join(strings.Fields(u.Name)[1:], " ")),
		"jobTitle": nil, "mobilePhone": nil, "officeLocation": nil, "preferredLanguage": nil, "businessPhones": []string{},
	})
}

// userinfo is the OIDC endpoint, which in the public cloud is Graph's.
func (t *Tenant) userinfo(w http.ResponseWriter, r *http.Request) {
	u, claims, ok := t.bearer(w, r)
	if !ok {
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"sub": claims["sub"], "name": u.Name, "email": nullable(u.Email)})
}

// bearer accepts only tokens whose audience is Graph.
func (t *Tenant) bearer(w http.ResponseWriter, r *http.Request) (*User, jwt.MapClaims, bool) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty.")
		return nil, nil, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	claims, err := t.parse(raw)
	audience, _ := claims.GetAudience()
	objectID, _ := claims["oid"].(string)
	u := t.userByID(objectID)
	switch {
	case err != nil:
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure.")
	case !slices.Contains(audience, graphURI):
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience.")
	case u == nil || u.Disabled:
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The user is not active.")
	default:
		copied := *u
		return &copied, claims, true
	}
	return nil, nil, false
}

func graphError(w http.ResponseWriter, status int, code, message string) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="", client_id="`+graphID+`"`)
	}
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "innerError": map[string]string{}}})
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}
