package entra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"entramcp/handler/oauth"
)

// The probes check the configuration and the app registration as far as that is
// possible without a sign-in. They get no token and use no cache.

// Discovery is a summary of what Entra publishes for the configured tenant.
type Discovery struct {
	// TenantID is empty where the endpoint stands for many tenants.
	TenantID string
	Issuer   string
	// Date is Entra's clock, zero if the answer had none.
	Date time.Time
	// External says that it is an external tenant (External ID).
	External bool
	// Keys is how many signing keys there are.
	Keys int
}

// Discover reads metadata and keys within Config.Timeout.
func (c *Client) Discover(ctx context.Context) (Discovery, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	m, header, err := c.readMetadata(ctx)
	if err != nil {
		return Discovery{}, err
	}
	d := Discovery{TenantID: m.tenantID(), Issuer: m.Issuer, External: m.external()}
	d.Date, _ = http.ParseTime(header.Get("Date")) // an unreadable Date counts as none
	set, err := c.keys.refresh(ctx)
	if err != nil {
		return Discovery{}, fmt.Errorf("signing keys: %w", err)
	}
	d.Keys = len(set)
	return d, nil
}

// Admits reports whether the setting lets users of the tenant sign in, given the
// tenant of a Discovery.
func (c *Client) Admits(d Discovery, tid string) bool {
	return c.listed(metadata{Issuer: d.Issuer}, tid)
}

// CredentialSetting is the environment variable that names the credential in
// use.
func (c *Client) CredentialSetting() string { return c.credential.setting() }

// CertificateExpiry is when the certificate in use ends; ok is false where the
// credential is another.
func (c *Client) CertificateExpiry(ctx context.Context) (expires time.Time, ok bool, err error) {
	credential, ok := c.credential.(*certificateCredential)
	if !ok {
		return time.Time{}, false, nil
	}
	cert, err := credential.current(ctx)
	return cert.expires, true, err
}

// APITokenVersion is the version of the last access token for our own API,
// "1.0" or "2.0", or empty if none was seen since the start.
func (c *Client) APITokenVersion() string {
	version, _ := c.apiTokenVersion.Load().(string)
	return version
}

// bogusCode is never a code of Entra's, which are long and start differently.
const bogusCode = "0.diagnose"

// malformedCode are the error numbers for a code that cannot be read, which sometimes
// come with invalid_request.
var malformedCode = []int{90023, 9002313}

// ProbeCredential redeems a code that cannot exist. It returns nil if Entra refused
// the code only, which means that it did not refuse the credential; an *Error says
// what is wrong with the client, or that it cannot be known. It is not documented in
// which order Entra checks the two, so only a refusal of the client is proof. A
// client_credentials request would prove both, but it obtains a token that nobody
// needs and fails at the endpoints that stand for many tenants.
func (c *Client) ProbeCredential(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	_, err := c.requestTokens(ctx, c.cfg.Tenant, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {bogusCode},
		"code_verifier": {oauth.NewVerifier()},
		"redirect_uri":  {c.cfg.RedirectURI},
		"scope":         {strings.Join(c.scopes, " ")},
	})
	if err == nil {
		return unreachable("credential probe", errors.New("a code that does not exist was redeemed"))
	}
	if e := AsError(err); e.code != "invalid_grant" && !slices.Contains(malformedCode, e.AADSTS) {
		return e
	}
	return nil
}

// errNoVerdict is for a redirect URI of which Entra's page does not say whether it is
// registered.
var errNoVerdict = errors.New("not observable from here: sign in once")

// ProbeRedirect starts a sign-in that may not show anything (prompt=none). Entra
// sends the browser back with login_required if it knows the callback, and shows an
// error page if it does not: then the error is an *Error. Any other error means that
// it cannot be known.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
func (c *Client) ProbeRedirect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	m, err := c.metadata.get(ctx)
	if err != nil {
		return err
	}
	location, page, err := c.silentSignIn(ctx, m)
	if err != nil {
		return err
	}
	if target, _, _ := strings.Cut(location, "?"); target == c.cfg.RedirectURI {
		return nil
	}
	for _, match := range aadstsPattern.FindAllStringSubmatch(page, -1) {
		number, err := strconv.Atoi(match[1])
		if meaning, ok := Explain(number); err == nil && ok && meaning.Kind == Misconfigured {
			return errorResponse{Error: "invalid_request", Codes: []int{number}}.explain()
		}
	}
	return errNoVerdict
}

// silentSignIn returns where Entra sends the browser, or the page it shows.
func (c *Client) silentSignIn(ctx context.Context, m metadata) (location, page string, err error) {
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
	text, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	return "", string(text), err
}
