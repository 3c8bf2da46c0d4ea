package tenant

import (
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// TokenExchange is the audience of federated credentials in the public cloud.
const TokenExchange = "api://AzureADTokenExchange"

// ManagedIdentity is a user-assigned identity.
type ManagedIdentity struct {
	ClientID  string
	Principal string // object id: the subject of its tokens
	Header    string // the value of IDENTITY_HEADER
}

// Federation is the credential that makes an app trust the identity.
func (t *Tenant) Federation(id ManagedIdentity) FederatedCredential {
	return FederatedCredential{Issuer: t.issuer(Contoso), Subject: id.Principal, Audience: TokenExchange}
}

// ManagedIdentity serves IDENTITY_ENDPOINT of App Service and Functions
// (azure-docs: overview-managed-identity, "REST endpoint reference", api
// version 2019-08-01). It belongs on an address of its own.
func (t *Tenant) ManagedIdentity(id ManagedIdentity) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		refuse := func(status int, message string) {
			writeJSON(w, status, map[string]any{"statusCode": status, "message": message})
		}
		if t.fail(w, r) {
			return
		}
		switch {
		case subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Identity-Header")), []byte(id.Header)) != 1:
			refuse(http.StatusUnauthorized, "The X-IDENTITY-HEADER is missing or wrong.") // against SSRF
		case r.Method != http.MethodGet:
			refuse(http.StatusMethodNotAllowed, "Use GET.")
		case q.Get("api-version") != "2019-08-01":
			refuse(http.StatusBadRequest, "The api-version is not supported.")
		case q.Get("resource") == "":
			refuse(http.StatusBadRequest, "The resource is missing.")
		case !strings.EqualFold(q.Get("client_id"), id.ClientID):
			refuse(http.StatusBadRequest, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.")
		default:
			t.identityToken(w, id, q.Get("resource"))
		}
	})
}

func (t *Tenant) identityToken(w http.ResponseWriter, id ManagedIdentity, audience string) {
	const life = 24 * time.Hour // as App Service's tokens live
	t.mu.Lock()
	target, known := t.resource(audience)
	if !known {
		target = resource{id: audience, app: &App{TokenVersion: 2}}
	}
	claims := t.appClaims(principal{Contoso, id.ClientID, id.Principal, "2"}, target, life)
	token, err := t.sign(claims, false)
	expires := t.at().Add(life).Unix()
	t.mu.Unlock()
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]any{"statusCode": 500, "message": "signing failed"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token": token, "client_id": id.ClientID, "resource": audience, "token_type": "Bearer",
		"expires_on": strconv.FormatInt(expires, 10),
	})
}
