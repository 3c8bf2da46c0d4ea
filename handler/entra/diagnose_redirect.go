package entra

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

var errMetPage = errors.New("no redirect")

// diagnoseRedirect starts a sign-in that may not show anything (prompt=none).
// Entra sends the browser back with login_required if it knows the callback,
// and shows an error page if it does not.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
func (c *Client) diagnoseRedirect(ctx context.Context, m metadata) Finding {
	const check = "redirect URI"
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	unknown := Finding{check, Unknown, "not observable from here: sign in once", ""}
	location, body, err := c.silentSignIn(ctx, m)
	if errors.Is(err, errMetPage) {
		for _, n := range aadstsPattern.FindAllStringSubmatch(body, -1) {
			number, _ := strconv.Atoi(n[1])
			if e, ok := Explain(number); ok && e.Kind == Misconfigured {
				return Finding{check, Wrong, e.Summary + " (AADSTS" + n[1] + ")", e.NextStep + " The URL is " + c.cfg.RedirectURI + "."}
			}
		}
		return unknown
	}
	if err != nil {
		unknown.Detail = err.Error()
		return unknown
	}
	if target, _, _ := strings.Cut(location, "?"); target == c.cfg.RedirectURI {
		return Finding{check, OK, c.cfg.RedirectURI + " is registered", ""}
	}
	return unknown
}

func (c *Client) silentSignIn(ctx context.Context, m metadata) (location, body string, err error) {
	q := url.Values{
		"client_id": {c.cfg.ClientID}, "response_type": {"code"}, "response_mode": {"query"}, "redirect_uri": {c.cfg.RedirectURI},
		"scope": {"openid"}, "prompt": {"none"}, "state": {"diagnose"}, "nonce": {"diagnose"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.AuthorizationEndpoint+"?"+q.Encode(), nil)
	if err != nil {
		return "", "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	if location := res.Header.Get("Location"); location != "" {
		return location, "", nil
	}
	page, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return "", "", err
	}
	return "", string(page), errMetPage
}
