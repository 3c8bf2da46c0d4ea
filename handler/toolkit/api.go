package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// OnBehalfOf gets tokens for other APIs on behalf of the signed-in user.
type OnBehalfOf interface {
	// Token returns a token for scopes of one API, such as
	// "https://graph.microsoft.com/User.Read". An *entra.Error says what the
	// user or the administrator can do, with ConsentURL where consent is
	// missing.
	Token(ctx context.Context, grant grants.Grant, scopes ...string) (entra.APIToken, error)
	// Refused says that the API did not accept token, so that the next call gets
	// another one.
	Refused(grant grants.Grant, token entra.APIToken, scopes ...string)
}

// CanCallAPIs reports whether this server can get tokens for other APIs: its app
// registration must expose a scope (ENTRA_API_SCOPE).
func (c *Caller) CanCallAPIs() bool { return c.server.api != nil }

// Token returns Entra's token for scopes of one API, on behalf of the caller. A scope
// without a URI, such as User.Read, is Microsoft Graph's, as everywhere in Entra;
// that of another API is written in full: api://…/Files.Read. The definition must
// name each with CallAPI, and the client must have been granted it. An *entra.Error
// with ConsentURL says that consent at Entra is missing: return it, and the user is
// asked.
//
// The token must be sent to that API only. HTTPClient and GetJSON ensure that.
func (c *Caller) Token(ctx context.Context, scopes ...string) (entra.APIToken, error) {
	var none entra.APIToken
	full, err := c.apiScopes(ctx, scopes)
	if err != nil {
		return none, err
	}
	grant, err := c.signIn(ctx)
	if err != nil {
		return none, err
	}
	token, err := c.server.api.Token(ctx, grant, full...)
	if e, ok := errors.AsType[*entra.Error](err); ok && e.Kind == entra.ConsentNeeded && !e.AdminOnly && c.server.consentLink != nil {
		link, failed := c.server.consentLink(ctx, grant, full)
		if failed != nil {
			return none, Fail("You cannot be asked for your consent now. Try again in a minute.", failed)
		}
		asked := *e
		asked.ConsentURL, asked.NextStep = link, "Open the link, agree there, and come back."
		return none, &asked
	}
	return token, err
}

// apiScopes are scopes in full, if this caller and definition may use them.
func (c *Caller) apiScopes(ctx context.Context, scopes []string) ([]string, error) {
	if !c.CanCallAPIs() {
		return nil, Fail("This server is not set up to call other services for you.", nil)
	}
	if c.GrantID == "" && c.access.Assertion.IsZero() {
		return nil, Fail("This works only for users who have signed in to this server, not for "+c.Kind.String()+" callers.", nil)
	}
	var full []string
	for _, scope := range scopes {
		if !c.definition.api.Has(scope) {
			return nil, unexpected(ctx, fmt.Errorf("toolkit: %s uses the scope %s without the rule CallAPI", c.definition.name, scope))
		}
		if !c.Scopes.Has(scope) {
			return nil, Fail("This needs the scope "+scope+". Connect again and grant it.", nil)
		}
		full = append(full, c.server.apiScope(scope))
	}
	if len(full) == 0 || slices.ContainsFunc(full, func(s string) bool { return audienceOf(s) != audienceOf(full[0]) }) {
		return nil, unexpected(ctx, fmt.Errorf("toolkit: %s asks for one token with the scopes %q", c.definition.name, scopes))
	}
	return full, nil
}

// apiScope is scope in full, as Entra requires it.
func (s *Server) apiScope(scope string) string {
	if strings.Contains(scope, "/") {
		return scope
	}
	return s.graphURL + "/" + scope
}

// audienceOf is the API that a scope belongs to.
func audienceOf(scope string) string {
	if i := strings.LastIndexByte(scope, '/'); i > 0 {
		return scope[:i]
	}
	return scope
}

// APIOrigin says where the API with an identifier such as api://… is served, for tools
// that call it: https://host. Those whose identifier is an https URL need none.
func APIOrigin(identifier, origin string) Rule {
	return func(d *definition) {
		u, err := url.Parse(origin)
		if err != nil || !mayCarryToken(u) {
			d.refuse("the rule APIOrigin: %q is not an https origin", origin)
		}
		if d.origins == nil {
			d.origins = map[string]string{}
		}
		d.origins[identifier] = originOf(u)
	}
}

func originOf(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }

// mayCarryToken allows https, and plain http to this computer, where the simulated
// Graph is.
func mayCarryToken(u *url.URL) bool {
	return u.Scheme == "https" && u.Host != "" || u.Scheme == "http" && oauth.Loopback(u.Hostname())
}

// HTTPClient calls the API that scopes belong to, as the user. It sends the token to
// that API's origin only, over https, and does not send it with a redirect. If the
// API refuses the token (401), it asks Entra for another and tries once more. Its Do
// also fails with the errors of Token.
func (c *Caller) HTTPClient(scopes ...string) *http.Client {
	return &http.Client{Timeout: c.server.client.Timeout, Transport: &asUser{caller: c, scopes: scopes}}
}

// asUser adds the token of the caller to requests for one origin.
type asUser struct {
	caller *Caller
	scopes []string
}

func (t *asUser) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.caller.server.client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	if r.Response != nil { // a redirect brought us here
		return next.RoundTrip(r)
	}
	ctx := r.Context()
	full, err := t.caller.apiScopes(ctx, t.scopes)
	if err != nil {
		return nil, err
	}
	if want := t.origin(full[0]); originOf(r.URL) != want || !mayCarryToken(r.URL) {
		return nil, unexpected(ctx, fmt.Errorf("toolkit: the token for %s does not go to %s", audienceOf(full[0]), originOf(r.URL)))
	}
	for attempt := 0; ; attempt++ {
		token, err := t.caller.Token(ctx, t.scopes...)
		if err != nil {
			return nil, err
		}
		sent := r.Clone(ctx)
		if attempt > 0 && r.Body != nil && r.Body != http.NoBody {
			if sent.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		sent.Header.Set("Authorization", "Bearer "+token.Reveal())
		resp, err := next.RoundTrip(sent)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			return resp, err
		}
		grant, err := t.caller.signIn(ctx)
		if err == nil {
			t.caller.server.api.Refused(grant, token, full...)
		}
		if attempt > 0 || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
			return resp, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAPIError))
		_ = resp.Body.Close()
	}
}

// origin is where the API of a scope is served.
func (t *asUser) origin(scope string) string {
	audience := audienceOf(scope)
	if origin, ok := t.caller.definition.origins[audience]; ok {
		return origin
	}
	u, err := url.Parse(audience)
	if err != nil {
		return ""
	}
	return originOf(u)
}

// APIError is an error that another API answered.
type APIError struct {
	// Status is the HTTP status, 0 if there was no answer.
	Status int
	// Code is the API's error code, such as Graph's "ResourceNotFound".
	Code       string
	RetryAfter time.Duration
	host       string
	cause      error
}

// Error is in words for the user.
func (e *APIError) Error() string {
	switch {
	case e.Status == http.StatusForbidden:
		return e.host + " refused: the scope is granted, but your account may not do this. Ask an administrator of that service."
	case e.Status == http.StatusNotFound:
		return e.host + " has no such thing."
	case e.Status == http.StatusTooManyRequests && e.RetryAfter > 0:
		return fmt.Sprintf("%s is asked too often. Try again in %s.", e.host, e.RetryAfter)
	case e.Status >= 400 && e.Status < 500 && e.Status != http.StatusTooManyRequests:
		return fmt.Sprintf("%s refused the request: status %d %s.", e.host, e.Status, shortened(e.Code))
	}
	return e.host + " does not answer now. Try again in a minute."
}

// Unwrap returns the cause if there was no answer of the API.
func (e *APIError) Unwrap() error { return e.cause }

const (
	maxAPIError  = 64 << 10
	maxAPIAnswer = 4 << 20
)

// GetJSON reads what is at address, as the user, into a value that decodes from JSON.
// A path such as /v1.0/me is Microsoft Graph's. Errors are those of Token, and
// *APIError, with a text that says what the user can do. Answers of more than 4 MiB
// are errors.
func (c *Caller) GetJSON(ctx context.Context, address string, into any, scopes ...string) error {
	if strings.HasPrefix(address, "/") {
		address = c.server.graphURL + address
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return unexpected(ctx, err)
	}
	req.Header.Set("Accept", "application/json")
	failed := func(cause error) error { return &APIError{host: req.URL.Hostname(), cause: cause} }
	resp, err := c.HTTPClient(scopes...).Do(req)
	if err != nil {
		if outside := new(url.Error); errors.As(err, &outside) && !spoken(err) {
			return failed(err)
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return apiError(resp, req.URL.Hostname())
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIAnswer+1))
	if err == nil && len(body) > maxAPIAnswer {
		err = errors.New("the answer is too large")
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// spoken reports whether err has words of ours for the user.
func spoken(err error) bool {
	var own *userError
	var upstream *entra.Error
	var protocol *oauth.Error
	return errors.As(err, &own) || errors.As(err, &upstream) || errors.As(err, &protocol)
}

// apiError reads Graph's form of an error, which other APIs of Microsoft share.
// https://learn.microsoft.com/graph/errors
func apiError(resp *http.Response, host string) *APIError {
	e := &APIError{Status: resp.StatusCode, host: host}
	if d, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil && d > 0 {
		e.RetryAfter = d
	}
	var answer struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if body, err := io.ReadAll(io.LimitReader(resp.Body, maxAPIError)); err == nil && json.Unmarshal(body, &answer) == nil {
		e.Code = answer.Error.Code
	}
	return e
}
