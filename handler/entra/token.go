package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// tokenResponse is a successful answer of the token endpoint (RFC 6749 §5.1).
type tokenResponse struct {
	TokenType    string  `json:"token_type"`
	AccessToken  string  `json:"access_token"`
	RefreshToken string  `json:"refresh_token"`
	IDToken      string  `json:"id_token"`
	ExpiresIn    seconds `json:"expires_in"`
	Scope        string  `json:"scope"`
}

// seconds are a JSON number, whole or not, or a string that holds one: Entra's
// v1.0 endpoint and some proxies write "3599".
type seconds time.Duration

func (s *seconds) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	if err != nil || n < 0 || n > 1e9 {
		return fmt.Errorf("expires_in is not a number of seconds")
	}
	*s = seconds(time.Duration(n) * time.Second)
	return nil
}

// quickRepeat is how long at most a request that Entra refused for a moment waits
// before it is sent once more. With a Retry-After of more than twice that it is not:
// the client waits. Some clients take any error of a renewal for the end of the
// sign-in.
const quickRepeat = 500 * time.Millisecond

// requestTokens posts form to tenant's token endpoint with our credential, and once
// more if Entra refused it for a moment and ctx leaves the time. Every error is an
// *Error. Code, refresh and on-behalf-of requests all pass here, so each is
// authenticated and explained the same way. The caller bounds ctx.
func (c *Client) requestTokens(ctx context.Context, tenant string, form url.Values) (tokenResponse, error) {
	m, err := c.metadata.get(ctx)
	if err != nil {
		return tokenResponse{}, unreachable("metadata", err)
	}
	endpoint := strings.Replace(m.TokenEndpoint, "/"+c.cfg.Tenant+"/", "/"+tenant+"/", 1)
	form.Set("client_id", c.cfg.ClientID)
	t, e := c.postTokens(ctx, endpoint, form)
	if e != nil && repeatable(form, e) && waits(ctx, quickRepeat/2+mathrand.N(quickRepeat/2)) {
		t, e = c.postTokens(ctx, endpoint, form)
	}
	c.secretRefused.Store(e != nil && e.AADSTS == secretExpired)
	if e == nil {
		return t, nil
	}
	c.refine(e, m)
	c.deps.Log.LogAttrs(ctx, slog.LevelWarn, "Entra refused a token request",
		slog.String("grant_type", form.Get("grant_type")), slog.Any("failure", e))
	return tokenResponse{}, e
}

// repeatable reports whether sending form once more can help and cannot harm. A code
// can be used once: its request is repeated only if Entra certainly has not used it.
func repeatable(form url.Values, e *Error) bool {
	if e.Kind != Unavailable || e.RetryAfter > 2*quickRepeat && e.retryAfterNamed {
		return false
	}
	var dial *net.OpError
	notSent := errors.As(e.cause, &dial) && dial.Op == "dial"
	return e.refused || notSent || form.Get("grant_type") != "authorization_code"
}

// waits reports whether d passed with as much time left in ctx.
func waits(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < 2*d {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (c *Client) postTokens(ctx context.Context, endpoint string, form url.Values) (tokenResponse, *Error) {
	if err := c.credential.authenticate(ctx, form, endpoint); err != nil {
		return tokenResponse{}, AsError(err)
	}
	id := uuid.NewString()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return tokenResponse{}, unreachable("token request", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	// Entra adopts this as its correlation id, so that our log and its sign-in
	// log name the same event even when the answer is lost.
	req.Header.Set("client-request-id", id)
	req.Header.Set("return-client-request-id", "true")
	t, e := c.doTokens(req)
	if e != nil && e.CorrelationID == "" {
		e.CorrelationID = id
	}
	return t, e
}

func (c *Client) doTokens(req *http.Request) (tokenResponse, *Error) {
	res, err := c.http.Do(req)
	if err != nil {
		return tokenResponse{}, unreachable("token endpoint", err)
	}
	defer res.Body.Close()
	c.observeClock(req.Context(), res.Header)
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return tokenResponse{}, unreachable("token endpoint", err)
	}
	if len(body) > maxBody {
		return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("the answer is longer than %d bytes", maxBody))
	}
	t, e := decodeTokens(res.StatusCode, body)
	if e != nil && e.Kind == Unavailable {
		if wait, ok := retryAfter(res.Header.Get("Retry-After"), c.deps.Now(), c.cfg.MaxRetryAfter); ok {
			e.RetryAfter, e.retryAfterNamed = wait, true
		}
	}
	return t, e
}

// decodeTokens trusts an OAuth error only with the statuses of RFC 6749 §5.2 and
// Entra: an answer of a proxy or of a failing server must not end a sign-in.
func decodeTokens(status int, body []byte) (tokenResponse, *Error) {
	switch {
	case status == http.StatusOK:
		var t tokenResponse
		if err := json.Unmarshal(body, &t); err != nil {
			return tokenResponse{}, unreachable("token endpoint", err)
		}
		if t.AccessToken == "" || !strings.EqualFold(t.TokenType, "Bearer") || t.ExpiresIn <= 0 {
			return tokenResponse{}, unreachable("token endpoint", errors.New("the answer holds no bearer token"))
		}
		return t, nil
	case status == http.StatusTooManyRequests || status >= 500:
		e := unreachable("token endpoint", fmt.Errorf("status %d: %s", status, summaryOf(body)))
		e.refused = status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
		return tokenResponse{}, e
	case status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden:
		var a errorResponse
		if err := json.Unmarshal(body, &a); err != nil || a.Error == "" {
			return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("status %d without an OAuth error", status))
		}
		e := a.explain()
		e.refused = true
		return tokenResponse{}, e
	}
	return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("status %d", status))
}

// summaryOf is Entra's own text in a body that may be a proxy's HTML page.
func summaryOf(body []byte) string {
	var a errorResponse
	if json.Unmarshal(body, &a) != nil || a.Error == "" {
		return "no OAuth error"
	}
	return a.Error + " " + a.Description
}

// retryAfter reads Retry-After (RFC 9110 §10.2.3), no less than a second and no
// more than longest.
func retryAfter(value string, now time.Time, longest time.Duration) (time.Duration, bool) {
	var wait time.Duration
	if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	} else {
		return 0, false
	}
	return min(max(wait, time.Second), longest), true
}

// refine corrects e by what is known here and not from the answer.
func (c *Client) refine(e *Error, m metadata) {
	c.nameCredential(e)
	switch {
	case e.AADSTS == 53003 && e.Claims == "":
		// Conditional Access looks at where a request comes from, and this one
		// came from the server. Another sign-in succeeds in the browser and
		// fails here again.
		e.Kind, e.OAuth = PolicyBlocked, explanations[53003].OAuth
		e.Summary = "An access policy of your organization blocked the request that this server made for you."
		e.NextStep = "An administrator has to act: Conditional Access must allow the network addresses from which this server calls Microsoft Entra ID. Signing in again does not help."
	case e.AADSTS == 700082 && m.external():
		e.Summary = "The sign-in was not used for too long: in this kind of organization it ends after 12 hours without use."
	case e.Kind == ConsentNeeded && m.external():
		e.AdminOnly = true // users of an external tenant cannot consent
	}
}
