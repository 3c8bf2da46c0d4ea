package tenant

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// graphRoutes are the calls of Microsoft Graph that the simulation answers,
// with Graph's own errors (graph docs: errors). Each needs its least delegated
// permission.
func (t *Tenant) graphRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /oidc/userinfo", t.userinfo)
	m.HandleFunc("GET /v1.0/me", t.graph("User.Read", func(c graphCall) { c.answer(profile(c.user)) }))
	m.HandleFunc("GET /v1.0/me/manager", t.graph("User.Read.All", func(c graphCall) {
		if u := t.userByID(c.user.Manager); u != nil {
			c.answer(profile(u))
			return
		}
		c.refuse(http.StatusNotFound, "Request_ResourceNotFound", "Resource 'manager' does not exist or one of its queried reference-property objects are not present.")
	}))
	m.HandleFunc("GET /v1.0/me/messages", t.graph("Mail.Read", func(c graphCall) { c.page("messages", messagesOf(c.user)) }))
	m.HandleFunc("GET /v1.0/users", t.graph("User.ReadBasic.All", func(c graphCall) {
		var all []map[string]any
		for _, u := range t.users {
			if u.Home == Contoso || u.GuestIn == Contoso {
				all = append(all, profile(u))
			}
		}
		c.page("users", all)
	}))
	m.HandleFunc("GET /v1.0/users/{id}", t.graph("User.ReadBasic.All", func(c graphCall) {
		id := c.r.PathValue("id")
		u := t.userByID(id)
		if u == nil {
			u = t.user(id)
		}
		if u == nil {
			c.refuse(http.StatusNotFound, "Request_ResourceNotFound", fmt.Sprintf("Resource '%s' does not exist or one of its queried reference-property objects are not present.", id))
			return
		}
		c.answer(profile(u))
	}))
}

// graphCall is a request that Graph admits. The tenant's mutex is held.
type graphCall struct {
	t    *Tenant
	w    http.ResponseWriter
	r    *http.Request
	user *User
}

// graph admits requests with a token for Graph that has the permission, or one
// that includes it.
func (t *Tenant) graph(permission string, answer func(graphCall)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		u, claims, ok := t.bearer(w, r)
		if !ok {
			return
		}
		scopes, _ := claims["scp"].(string)
		if !slices.ContainsFunc(strings.Fields(scopes), func(s string) bool { return s == permission || slices.Contains(includes[permission], s) }) {
			if strings.HasPrefix(permission, "Mail.") {
				graphError(w, http.StatusForbidden, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
				return
			}
			graphError(w, http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		answer(graphCall{t, w, r, u})
	}
}

// includes are permissions that give more than the least.
var includes = map[string][]string{
	"User.Read":          {"User.Read.All", "Directory.Read.All"},
	"User.ReadBasic.All": {"User.Read.All", "Directory.Read.All"},
	"User.Read.All":      {"Directory.Read.All"},
}

func (c graphCall) answer(body map[string]any) { writeJSON(c.w, http.StatusOK, body) }

func (c graphCall) refuse(status int, code, message string) { graphError(c.w, status, code, message) }

// page answers with $top of all from $skiptoken on, ten by default (graph docs:
// paging).
func (c graphCall) page(of string, all []map[string]any) {
	top, skip := 10, 0
	for name, into := range map[string]*int{"$top": &top, "$skiptoken": &skip} {
		if v := c.r.URL.Query().Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 || (name == "$top" && (n < 1 || n > 999)) {
				c.refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Invalid value for the query option '"+name+"'.")
				return
			}
			*into = n
		}
	}
	skip = min(skip, len(all))
	end := min(skip+top, len(all))
	body := map[string]any{"@odata.context": graphURI + "/v1.0/$metadata#" + of, "value": all[skip:end]}
	if end < len(all) {
		next := *c.r.URL
		q := next.Query()
		q.Set("$skiptoken", strconv.Itoa(end))
		next.RawQuery = q.Encode()
		body["@odata.nextLink"] = c.t.base + next.RequestURI()
	}
	c.answer(body)
}

// profile is a user as graph docs: user-get returns it by default.
func profile(u *User) map[string]any {
	first, last, _ := strings.Cut(u.Name, " ")
	return map[string]any{
		"@odata.context": graphURI + "/v1.0/$metadata#users/$entity",
		"id":             u.ObjectID, "displayName": u.Name, "userPrincipalName": u.Username, "mail": nullable(u.Email),
		"givenName": first, "surname": nullable(last), "jobTitle": nullable(u.JobTitle),
		"mobilePhone": nil, "officeLocation": nil, "preferredLanguage": nil, "businessPhones": []string{},
	}
}

// messagesOf are a few made-up messages.
func messagesOf(u *User) []map[string]any {
	var list []map[string]any
	for i, subject := range []string{"Welcome to Contoso", "Lunch on Friday?", "Your travel request was approved"} {
		list = append(list, map[string]any{
			"id": DerivedID("message", u.ObjectID, strconv.Itoa(i)), "subject": subject, "isRead": i > 0,
			"receivedDateTime": fmt.Sprintf("2026-11-2%dT09:0%d:00Z", i, i), "bodyPreview": subject + ". This message is made up.",
			"from":         map[string]any{"emailAddress": map[string]string{"name": "Contoso", "address": "noreply@contoso.example"}},
			"toRecipients": []any{map[string]any{"emailAddress": map[string]string{"name": u.Name, "address": u.Username}}},
		})
	}
	return list
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
	case t.faults.graphThrottled > 0:
		t.faults.graphThrottled--
		w.Header().Set("Retry-After", "1")
		graphError(w, http.StatusTooManyRequests, "TooManyRequests", "Please retry again later.")
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
