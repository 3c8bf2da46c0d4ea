package tenant

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticate finds the client and checks its credential: a secret in the
// body or by Basic, a certificate assertion or a federated one (entra-docs:
// v2-oauth2-auth-code-flow). The caller holds mu.
func (t *Tenant) authenticate(r *http.Request, at realm) (*App, string, *refusal) {
	form := r.PostForm
	clientID, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		// RFC 6749 §2.3.1: both parts are form-encoded first.
		id, err1 := url.QueryUnescape(user)
		value, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || (clientID != "" && clientID != id) {
			return nil, "", refuse(9002313)
		}
		clientID, secret = id, value
	}
	if clientID == "" {
		return nil, "", refuse(900144, "client_id")
	}
	app := t.app(clientID)
	if app == nil || (app.SignInAudience == SingleTenant && at.tenant != "" && at.tenant != Contoso) {
		return nil, "", refuse(700016, clientID, at.name)
	}
	switch {
	case form.Get("client_assertion") != "":
		if form.Get("client_assertion_type") != assertionType {
			return nil, "", refuse(90100, "client_assertion_type")
		}
		return app, "2", t.checkAssertion(app, form.Get("client_assertion"), r.PathValue("tenant"))
	case secret != "":
		return app, "1", t.checkSecret(app, secret)
	}
	return nil, "", refuse(7000218)
}

func (t *Tenant) checkSecret(app *App, secret string) *refusal {
	for _, s := range app.Secrets {
		if subtle.ConstantTimeCompare([]byte(s.Value), []byte(secret)) != 1 {
			continue
		}
		if !s.Expires.IsZero() && !t.at().Before(s.Expires) {
			return refuse(7000222, app.ClientID)
		}
		return nil
	}
	return refuse(7000215, app.ClientID)
}

// checkAssertion tells the two kinds apart by the header: a certificate's
// names it by thumbprint, a federated token does not. The caller holds mu.
func (t *Tenant) checkAssertion(app *App, raw, path string) *refusal {
	claims := jwt.MapClaims{}
	token, _, err := jwt.NewParser().ParseUnverified(raw, claims)
	if err != nil {
		return refuse(700027, "the assertion is not a JWT")
	}
	issuer, _ := claims.GetIssuer()
	if strings.EqualFold(issuer, app.ClientID) {
		return t.checkCertificate(app, token, raw, path)
	}
	return t.checkFederated(app, raw, claims)
}

// checkCertificate verifies what entra-docs: certificate-credentials demands.
func (t *Tenant) checkCertificate(app *App, unverified *jwt.Token, raw, path string) *refusal {
	i := slices.IndexFunc(app.Certificates, func(c *x509.Certificate) bool { return hasThumbprint(c, unverified.Header) })
	if i < 0 {
		return refuse(700027, "no registered certificate has the thumbprint of the assertion")
	}
	certificate := app.Certificates[i]
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256", "PS256"}), jwt.WithoutClaimsValidation()).
		ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return certificate.PublicKey, nil })
	if err != nil {
		return refuse(700027, "the signature does not match the certificate")
	}
	if subject, _ := claims.GetSubject(); !strings.EqualFold(subject, app.ClientID) {
		return refuse(700027, "sub is not the client id")
	}
	audience, _ := claims.GetAudience()
	accepted := []string{t.base + "/" + path + "/oauth2/v2.0/token", t.base + "/" + Contoso + "/oauth2/v2.0/token"}
	if !slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(accepted, a) }) {
		return refuse(700027, "aud is not the token endpoint")
	}
	now := t.at()
	if now.After(certificate.NotAfter) || now.Before(certificate.NotBefore) {
		return refuse(700027, "the certificate is not within its validity")
	}
	if !withinTime(claims, now) {
		return refuse(700024)
	}
	jti, _ := claims["jti"].(string)
	if jti == "" {
		return refuse(700027, "jti is missing")
	}
	// Entra does not document that it refuses a repeated jti; MSAL reuses an
	// assertion until it expires, so this does not either.
	return nil
}

// hasThumbprint accepts x5t#S256 and the older x5t. RFC 7515 says base64url;
// MSAL for Go writes standard base64, which Entra accepts.
func hasThumbprint(c *x509.Certificate, header map[string]any) bool {
	if s, ok := header["x5t#S256"].(string); ok {
		sum := sha256.Sum256(c.Raw)
		return sameBytes(s, sum[:])
	}
	if s, ok := header["x5t"].(string); ok {
		sum := sha1.Sum(c.Raw)
		return sameBytes(s, sum[:])
	}
	return false
}

func sameBytes(text string, sum []byte) bool {
	url := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return url == base64.RawURLEncoding.EncodeToString(sum)
}

// withinTime demands exp, and honours nbf, with the five minutes of leeway
// that Entra's own validation libraries use.
func withinTime(claims jwt.MapClaims, now time.Time) bool {
	const leeway = 5 * time.Minute
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil || !now.Before(expires.Add(leeway)) {
		return false
	}
	from, err := claims.GetNotBefore()
	return err == nil && (from == nil || !now.Before(from.Add(-leeway)))
}

// checkFederated matches issuer, subject and audience against the app's
// credentials, case-sensitively and in that order, then verifies the token.
// Only the tenant's own issuer can be verified here: managed identities.
func (t *Tenant) checkFederated(app *App, raw string, claims jwt.MapClaims) *refusal {
	if len(app.Federated) == 0 {
		return refuse(70021)
	}
	issuer, _ := claims.GetIssuer()
	subject, _ := claims.GetSubject()
	audience, _ := claims.GetAudience()
	byIssuer := filter(app.Federated, func(f FederatedCredential) bool { return f.Issuer == issuer })
	if len(byIssuer) == 0 {
		return refuse(700211, issuer)
	}
	bySubject := filter(byIssuer, func(f FederatedCredential) bool { return f.Subject == subject })
	if len(bySubject) == 0 {
		return refuse(700213, subject)
	}
	if len(filter(bySubject, func(f FederatedCredential) bool { return slices.Contains(audience, f.Audience) })) == 0 {
		return refuse(700212, strings.Join(audience, " "))
	}
	verified, err := t.parse(raw)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired) || errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse(700024)
	case err != nil:
		return refuse(700027, "the signature does not match a key of the issuer")
	case verified["idtyp"] != "app":
		return refuse(700229)
	}
	return nil
}

func filter[T any](list []T, keep func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return !keep(x) })
}

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
