package tenant

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// refusal is an error in Entra's shape (entra-docs: reference-error-codes,
// "Handling error codes in your application").
type refusal struct {
	code     int // AADSTS number
	oauth    string
	text     string
	status   int    // of the token endpoint, if it is not 400 or 401
	suberror string // as MSAL reads it
	subcode  string // error_subcode on a redirect
	claims   string // what a new sign-in must carry
}

// refuse looks a code up in the catalogue and fills in its text.
func refuse(code int, args ...any) *refusal {
	entry, ok := catalogue[code]
	if !ok {
		entry = refusal{oauth: "server_error", text: "Unknown failure."}
	}
	entry.code = code
	if len(args) > 0 {
		entry.text = fmt.Sprintf(entry.text, args...)
	}
	return &entry
}

// as returns a copy with another OAuth error, for codes whose error depends on
// where they arise.
func (f *refusal) as(oauth string) *refusal {
	c := *f
	c.oauth = oauth
	return &c
}

// httpStatus follows RFC 6749 §5.2 where the catalogue says nothing.
func (f *refusal) httpStatus() int {
	if f.oauth == "invalid_client" {
		return http.StatusUnauthorized
	}
	return cmp.Or(f.status, http.StatusBadRequest)
}

// demanding returns a copy that carries a claims challenge.
func (f *refusal) demanding(claims string) *refusal {
	c := *f
	c.claims = claims
	return &c
}

// stamped is a refusal at one moment of one request.
type stamped struct {
	*refusal
	time               time.Time
	trace, correlation string
}

// stamp reuses the caller's client-request-id as the correlation id, as Entra
// does, so that both logs can be joined.
func (t *Tenant) stamp(f *refusal, r *http.Request) stamped {
	correlation := cmp.Or(r.Header.Get("client-request-id"), r.URL.Query().Get("client-request-id"), t.guid())
	s := stamped{f, t.now().UTC(), t.guid(), correlation}
	t.log.InfoContext(r.Context(), "simulated tenant refused", "aadsts", f.code, "error", f.oauth, "correlation_id", correlation)
	return s
}

func (s stamped) timestamp() string { return s.time.Format("2006-01-02 15:04:05Z") }

func (s stamped) description() string {
	return fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
		s.code, s.text, s.trace, s.correlation, s.timestamp())
}

// uri is the error look-up page of the authority.
func (t *Tenant) uri(f *refusal) string { return t.base + "/error?code=" + strconv.Itoa(f.code) }

// writeRefusal answers at the token endpoint.
func (t *Tenant) writeRefusal(w http.ResponseWriter, r *http.Request, f *refusal) {
	s := t.stamp(f, r)
	body := map[string]any{
		"error":             f.oauth,
		"error_description": s.description(),
		"error_codes":       []int{f.code},
		"timestamp":         s.timestamp(),
		"trace_id":          s.trace,
		"correlation_id":    s.correlation,
		"error_uri":         t.uri(f),
	}
	if f.suberror != "" {
		body["suberror"] = f.suberror
	}
	if f.claims != "" {
		body["claims"] = f.claims
	}
	writeJSON(w, f.httpStatus(), body)
}

// query is the same refusal for a redirect URI.
func (t *Tenant) query(s stamped, state string) url.Values {
	q := url.Values{"error": {s.oauth}, "error_description": {s.description()}, "error_uri": {t.uri(s.refusal)}}
	if s.subcode != "" {
		q.Set("error_subcode", s.subcode)
	}
	if s.claims != "" {
		q.Set("claims", s.claims)
	}
	if state != "" {
		q.Set("state", state)
	}
	return q
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client hung up: nothing left to tell it
}

// catalogue holds every AADSTS code the simulation answers with. The meaning
// of each is from entra-docs: reference-error-codes unless its line says
// otherwise; the texts are our own short ones, as Entra's change without
// notice and nobody may depend on them.
var catalogue = map[int]refusal{
	// The request.
	900144:  {oauth: "invalid_request", text: "The request must contain the parameter '%s'."},
	900561:  {oauth: "invalid_request", text: "The endpoint only accepts %s requests. Received a %s request.", status: http.StatusMethodNotAllowed},
	90002:   {oauth: "invalid_tenant", text: "Tenant '%s' was not found."},
	90100:   {oauth: "invalid_request", text: "The parameter '%s' is empty or not valid."},
	9010010: {oauth: "invalid_target", text: "The resource parameter in the request does not match the requested scopes, or is not an Application ID URI."}, // field: microsoft/azure-devops-mcp, anthropics/claude-code
	9002313: {oauth: "invalid_request", text: "Request is malformed or invalid."},
	9002326: {oauth: "invalid_request", text: "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. Request origin: '%s'."}, // rule in entra-docs: v2-oauth2-auth-code-flow, code from the field
	70003:   {oauth: "unsupported_grant_type", text: "The grant type '%s' is not supported."},
	70005:   {oauth: "unsupported_response_type", text: "The response type '%s' is not supported."},
	70007:   {oauth: "unsupported_response_mode", text: "The response mode '%s' is not supported."},
	700051:  {oauth: "unsupported_response_type", text: "response_type 'token' is not enabled for the application."}, // field
	700054:  {oauth: "unsupported_response_type", text: "response_type 'id_token' is not enabled for the application."},
	501491:  {oauth: "invalid_request", text: "The size of the code_challenge parameter is not valid."},
	9001023: {oauth: "invalid_request", text: "The grant type is not supported over the /common or /consumers endpoints."},

	// The application.
	50011:   {oauth: "invalid_request", text: "The redirect URI '%s' does not match the redirect URIs configured for the application '%s'."},
	50194:   {oauth: "invalid_request", text: "Application '%s' is not configured as a multi-tenant application. Use a tenant-specific endpoint."},
	700016:  {oauth: "unauthorized_client", text: "Application with identifier '%s' was not found in the directory '%s'."},
	9002332: {oauth: "invalid_request", text: "Application '%s' is configured for use by Microsoft Entra users only."},
	90009:   {oauth: "invalid_request", text: "Application '%s' is requesting a token for itself. This is supported only if the resource is specified using the GUID based app identifier."},

	// Scopes.
	28000:   {oauth: "invalid_request", text: "The scope is not valid because it contains more than one resource. Scope %s is not valid."}, // field: Earlybyte/aad_oauth
	28003:   {oauth: "invalid_request", text: "The scope cannot be empty when requesting an access token using the provided authorization code."},
	500011:  {oauth: "invalid_resource", text: "The resource principal named %s was not found in the tenant named %s."},
	650053:  {oauth: "invalid_client", text: "The application '%s' asked for scope '%s' that doesn't exist on the resource '%s'."}, // field
	70011:   {oauth: "invalid_scope", text: "The scope %s is not valid."},
	1002012: {oauth: "invalid_scope", text: "The scope %s is not valid. Client credential flows must have a scope value with /.default suffixed."}, // field

	// Client credentials.
	700024:  {oauth: "invalid_client", text: "Client assertion is not within its valid time range."}, // field
	700027:  {oauth: "invalid_client", text: "Client assertion failed signature validation: %s."},
	7000215: {oauth: "invalid_client", text: "Invalid client secret provided for app '%s'."},
	7000218: {oauth: "invalid_client", text: "The request body must contain the parameter 'client_assertion' or 'client_secret'."},
	7000222: {oauth: "invalid_client", text: "The provided client secret keys for app '%s' are expired."},
	70021:   {oauth: "invalid_client", text: "No matching federated identity record found for presented assertion."}, // field, as the next three
	700211:  {oauth: "invalid_client", text: "No matching federated identity record found for presented assertion issuer '%s'."},
	700212:  {oauth: "invalid_client", text: "No matching federated identity record found for presented assertion audience '%s'."},
	700213:  {oauth: "invalid_client", text: "No matching federated identity record found for presented assertion subject '%s'."},
	700229:  {oauth: "invalid_client", text: "Only app-only tokens can be used as federated identity credentials."},

	// Codes, refresh tokens and user assertions.
	50013:  {oauth: "invalid_grant", text: "Assertion failed validation: %s."},
	500112: {oauth: "invalid_grant", text: "The reply address '%s' does not match the one used when requesting the authorization code."}, // field
	500133: {oauth: "invalid_grant", text: "Assertion is not within its valid time range."},
	50148:  {oauth: "invalid_grant", text: "The code_verifier is missing, but a code_challenge was supplied in the authorization request."}, // field
	501481: {oauth: "invalid_grant", text: "The code_verifier does not match the code_challenge supplied in the authorization request."},
	50173:  {oauth: "invalid_grant", text: "The provided grant has expired due to it being revoked, a fresh auth token is needed.", suberror: "bad_token"},
	54005:  {oauth: "invalid_grant", text: "The authorization code was already redeemed."},
	70000:  {oauth: "invalid_grant", text: "The provided value for the parameter 'code' or 'refresh_token' is not valid."},
	700005: {oauth: "invalid_grant", text: "The authorization code is intended to be used against another tenant."},
	70008:  {oauth: "invalid_grant", text: "The provided authorization code or refresh token has expired."},
	700082: {oauth: "invalid_grant", text: "The refresh token has expired due to inactivity. It was issued on %s.", suberror: "bad_token"},

	// The user.
	50020:  {oauth: "access_denied", text: "User account '%s' does not exist in tenant '%s' and cannot access the application '%s' in that tenant."},
	50034:  {oauth: "invalid_grant", text: "The user account '%s' does not exist in the directory."},
	50057:  {oauth: "invalid_grant", text: "The user account is disabled."},
	50058:  {oauth: "login_required", text: "A silent sign-in request was sent but no user is signed in."},
	50074:  {oauth: "access_denied", text: "Strong authentication is required and the user did not pass the challenge."},
	50076:  {oauth: "interaction_required", text: "Due to a change made by your administrator you must use multi-factor authentication.", suberror: "basic_action"},
	50079:  {oauth: "interaction_required", text: "Due to a change made by your administrator you must enroll in multi-factor authentication.", suberror: "basic_action"},
	50105:  {oauth: "access_denied", text: "The application '%s' blocks users unless they are assigned access. The signed in user '%s' is not assigned to a role for it."},
	500208: {oauth: "access_denied", text: "The domain is not a valid login domain for the account type."},
	53003:  {oauth: "access_denied", text: "Access has been blocked by Conditional Access policies.", suberror: "message_only"},

	// Consent.
	65001: {oauth: "invalid_grant", text: "The user or administrator has not consented to use the application '%s'.", suberror: "consent_required"},
	65004: {oauth: "access_denied", text: "User declined to consent to access the app.", subcode: "cancel"},
	90094: {oauth: "access_denied", text: "The grant requires administrator permission."},
	90095: {oauth: "access_denied", text: "Admin consent is required; the user may request it."},

	// The service.
	90006: {oauth: "temporarily_unavailable", text: "The service is temporarily unavailable.", status: http.StatusServiceUnavailable},
	90055: {oauth: "temporarily_unavailable", text: "There are too many incoming requests.", status: http.StatusTooManyRequests},
}
