package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// tokenResponse is a successful answer of the token endpoint (RFC 6749 §5.1).
type tokenResponse struct {
	TokenType    string `json:"token_type"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope"`
}

// requestTokens posts form to tenant's token endpoint with our credential.
// Every error is a *Failure. Code, refresh and on-behalf-of requests all pass here,
// so each is authenticated and explained the same way. The caller bounds ctx.
func (c *Client) requestTokens(ctx context.Context, tenant string, form url.Values) (tokenResponse, error) {
	m, err := c.metadata.get(ctx)
	if err != nil {
		return tokenResponse{}, unreachable("metadata", err)
	}
	endpoint := strings.Replace(m.TokenEndpoint, "/"+c.cfg.Tenant+"/", "/"+tenant+"/", 1)
	form.Set("client_id", c.cfg.ClientID)
	if err := c.credential.authenticate(ctx, form, endpoint); err != nil {
		return tokenResponse{}, AsFailure(err)
	}
	id, err := c.requestID()
	if err != nil {
		return tokenResponse{}, unreachable("random numbers", err)
	}
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

	t, failure := c.readTokens(c.http.Do(req))
	if failure == nil {
		return t, nil
	}
	if failure.CorrelationID == "" {
		failure.CorrelationID = id
	}
	c.explainCredential(failure)
	c.deps.Log.LogAttrs(ctx, slog.LevelWarn, "Entra refused a token request",
		slog.String("grant_type", form.Get("grant_type")), slog.Any("failure", failure))
	return tokenResponse{}, failure
}

func (c *Client) readTokens(res *http.Response, err error) (tokenResponse, *Failure) {
	if err != nil {
		return tokenResponse{}, unreachable("token endpoint", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return tokenResponse{}, unreachable("token endpoint", err)
	}
	if len(body) > maxBody {
		return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("the answer is longer than %d bytes", maxBody))
	}

	t, f := decodeTokens(res.StatusCode, body)
	if f != nil && f.Kind == Unavailable {
		if wait := retryAfter(res.Header.Get("Retry-After"), c.deps.Now()); wait > 0 {
			f.RetryAfter = wait
		}
	}
	return t, f
}

// decodeTokens trusts an OAuth error only with the statuses that RFC 6749 §5.2
// and Entra give it: what a proxy or a failing server says ends no sign-in.
func decodeTokens(status int, body []byte) (tokenResponse, *Failure) {
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
		return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("status %d: %s", status, summaryOf(body)))
	case status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden:
		var a answer
		if err := json.Unmarshal(body, &a); err != nil || a.Error == "" {
			return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("status %d without an OAuth error", status))
		}
		return tokenResponse{}, a.failure()
	}
	return tokenResponse{}, unreachable("token endpoint", fmt.Errorf("status %d", status))
}

// summaryOf is Entra's own text in a body that may be a proxy's HTML page.
func summaryOf(body []byte) string {
	var a answer
	if json.Unmarshal(body, &a) != nil || a.Error == "" {
		return "no OAuth error"
	}
	return a.Error + " " + a.Description
}

// retryAfter reads Retry-After (RFC 9110 §10.2.3), no less than a second and no
// more than five minutes.
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	} else {
		return 0
	}
	return min(max(wait, time.Second), 5*time.Minute)
}

// requestID is a random UUID (RFC 9562 §5.4).
func (c *Client) requestID() (string, error) { return newUUID(c.deps.Rand) }

func newUUID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
