package tenant

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
)

// SignIn does at an authorize URL what a person does in a browser: picks the
// account, approves the second factor, accepts the permissions, and returns to
// the application when refused. It returns the URL on which the application is
// called back, with a code or an error, and never follows a redirect. A
// session in the client's cookie jar signs in without asking, whoever it
// belongs to. A refusal that the application is not told of is an error.
func SignIn(ctx context.Context, client *http.Client, authorizeURL, username string) (string, error) {
	browser := *client
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if browser.Jar == nil {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return "", err
		}
		browser.Jar = jar
	}
	answers := url.Values{}
	for range 5 { // account, factor, consent, refusal: never more pages
		to, html, err := post(ctx, &browser, authorizeURL, answers)
		if err != nil || to != "" {
			return to, err
		}
		answers = url.Values{}
		switch {
		case strings.Contains(html, `name="return"`):
			answers.Set("return", "1")
		case strings.Contains(html, `name="mfa" value="approve"`):
			answers.Set("mfa", "approve")
		case strings.Contains(html, `name="consent" value="accept"`):
			answers.Set("consent", "accept")
		case strings.Contains(html, `name="user" value="`+username+`"`):
			answers.Set("user", username)
		default:
			return "", fmt.Errorf("simulated tenant: no way on for %s: %s", username, between(html, "AADSTS", "</p>"))
		}
	}
	return "", fmt.Errorf("simulated tenant: the pages do not end")
}

// Client reaches the tenant in this process, whatever its BaseURL, without a
// network.
func (t *Tenant) Client() *http.Client { return &http.Client{Transport: inProcess{t}} }

type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// ObjectID is that of an account, and empty if there is none of that name.
func (t *Tenant) ObjectID(username string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u := t.user(username); u != nil {
		return u.ObjectID
	}
	return ""
}

// Answer posts the given form fields at once, see the package comment, and
// returns the redirect that follows. Without fields it only looks, which
// succeeds when single sign-on or prompt=none needs no page.
func Answer(ctx context.Context, client *http.Client, authorizeURL string, fields url.Values) (string, error) {
	browser := *client
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	to, html, err := post(ctx, &browser, authorizeURL, fields)
	if err == nil && to == "" {
		err = fmt.Errorf("simulated tenant: a page, not a redirect: %s", between(html, "<h1>", "</h1>"))
	}
	return to, err
}

// post sends fields, or asks when there are none. It returns the redirect or
// the page.
func post(ctx context.Context, browser *http.Client, to string, fields url.Values) (location, html string, err error) {
	method := http.MethodGet
	if len(fields) > 0 {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(fields.Encode()))
	if err != nil {
		return "", "", err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := browser.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", "", err
	}
	return resp.Header.Get("Location"), string(body), nil
}

// between is what stands after start and before end, for an error text.
func between(text, start, end string) string {
	_, after, _ := strings.Cut(text, start)
	part, _, _ := strings.Cut(after, end)
	if start == "AADSTS" && part != "" {
		return start + part
	}
	return part
}
