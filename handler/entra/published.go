package entra

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/sync/singleflight"
)

// published is a value that Entra publishes and changes now and then. The last good
// copy stays in use in an outage, however long: the keys and endpoints of an hour ago
// are better than no sign-in at all.
type published[T any] struct {
	fetch   func(context.Context) (T, error)
	now     func() time.Time
	timeout time.Duration

	flight singleflight.Group
	mu     sync.Mutex
	value  *T
	forced time.Time // when refreshRarely last fetched
	failed time.Time // when it last failed to
}

// get returns the last good copy, and fetches only if there is none yet.
func (d *published[T]) get(ctx context.Context) (T, error) {
	if v := d.last(); v != nil {
		return *v, nil
	}
	return d.refresh(ctx)
}

// refresh fetches a copy. Calls at the same time share one fetch.
func (d *published[T]) refresh(ctx context.Context) (T, error) {
	return shared(ctx, &d.flight, "", d.timeout, func(ctx context.Context) (T, error) {
		v, err := d.fetch(ctx)
		if err == nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.value = &v
		}
		return v, err
	})
}

// failedFor is how long a fetch that failed is not repeated for a token with an
// unknown key: anybody can send one.
const failedFor = 10 * time.Second

var errFailedRecently = errors.New("it could not be read a moment ago")

// refreshRarely refreshes unless an earlier call of it did so less than age
// ago; then it returns the last good copy.
func (d *published[T]) refreshRarely(ctx context.Context, age time.Duration) (T, error) {
	now := d.now()
	within := func(t time.Time, age time.Duration) bool { return !t.IsZero() && now.Sub(t) < age }
	d.mu.Lock()
	value, recent, failed := d.value, within(d.forced, age), within(d.failed, failedFor)
	d.mu.Unlock()
	var none T
	switch {
	case value != nil && recent:
		return *value, nil
	case failed:
		return none, errFailedRecently
	}
	v, err := d.refresh(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed = now
		return none, err
	}
	d.forced = now
	return v, nil
}

func (d *published[T]) last() *T {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value
}

// shared runs work once for all calls with key at the same time. The work ends after
// limit at the latest, and continues when a caller gives up.
func shared[T any](ctx context.Context, group *singleflight.Group, key string, limit time.Duration, work func(context.Context) (T, error)) (T, error) {
	done := group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		return work(ctx)
	})
	var none T
	select {
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case r := <-done:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	}
}

// maxBody is the largest answer of Entra's that is read, in bytes. Its key sets have
// some 20 KiB.
const maxBody = 1 << 20

// tenantPlaceholder stands for the token's tid in the issuer of the endpoints
// that serve many tenants.
// https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
const tenantPlaceholder = "{tenantid}"

// metadata is what we use of OpenID Connect Discovery §3.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
}

// tenantID is the GUID of the tenant of the metadata, or empty if they are for many.
func (m metadata) tenantID() string {
	for segment := range strings.SplitSeq(m.Issuer, "/") {
		if isGUID(segment) {
			return strings.ToLower(segment)
		}
	}
	return ""
}

// external reports whether the tenant is an external one (External ID). Its
// issuer is on a host of its own, which differs from the authority's:
// https://{tid}.ciamlogin.com/{tid}/v2.0.
func (m metadata) external() bool {
	u, err := url.Parse(m.Issuer)
	return err == nil && strings.HasSuffix(u.Hostname(), ".ciamlogin.com")
}

// issuerOf is the issuer that a token of tenant tid must carry.
func issuerOf(template, tid string) string {
	return strings.ReplaceAll(template, tenantPlaceholder, tid)
}

func (c *Client) metadataURL() string {
	return c.cfg.Authority + "/" + c.cfg.Tenant + "/v2.0/.well-known/openid-configuration"
}

func (c *Client) fetchMetadata(ctx context.Context) (metadata, error) {
	m, _, err := c.readMetadata(ctx)
	return m, err
}

// readMetadata reads the metadata from Entra, with the header of the answer.
func (c *Client) readMetadata(ctx context.Context) (metadata, http.Header, error) {
	var m metadata
	header, err := c.getJSON(ctx, c.metadataURL(), &m)
	if err != nil {
		return metadata{}, nil, err
	}
	if m.tenantID() == "" && !strings.Contains(m.Issuer, tenantPlaceholder) {
		return metadata{}, nil, errors.New("the metadata names no issuer for a tenant")
	}
	for name, endpoint := range map[string]string{
		"authorization_endpoint": m.AuthorizationEndpoint, "token_endpoint": m.TokenEndpoint, "jwks_uri": m.JWKSURI,
	} {
		if !c.sameHost(endpoint) {
			return metadata{}, nil, fmt.Errorf("the metadata's %s is not on the authority's host", name)
		}
	}
	return m, header, nil
}

// sameHost keeps our credential and the keys we trust on the host that the
// operator configured. An external tenant publishes other keys on
// login.microsoftonline.com, which must not be used.
func (c *Client) sameHost(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	own, err := url.Parse(c.cfg.Authority)
	return err == nil && u.Scheme == own.Scheme && strings.EqualFold(u.Host, own.Host) && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// getJSON reads the JSON at address into v.
func (c *Client) getJSON(ctx context.Context, address string, v any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	c.observeClock(ctx, res.Header)
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s", req.URL.Redacted(), res.Status)
	case len(body) > maxBody:
		return nil, fmt.Errorf("%s answered more than %d bytes", req.URL.Redacted(), maxBody)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("%s answered no usable JSON: %w", req.URL.Redacted(), err)
	}
	return res.Header, nil
}

// unknownKeyEvery is how often at most tokens with unknown key IDs cause a fetch.
const unknownKeyEvery = 5 * time.Minute

// key is one signing key.
type key struct {
	public *rsa.PublicKey
	// issuer is the only issuer the key signs for, possibly with the tenant
	// placeholder; empty means any.
	issuer string
}

// keySet maps a key id to its key.
type keySet map[string]key

// publishedKey is a JWK with Entra's own member, which says which tenants'
// tokens the key may sign.
type publishedKey struct {
	jwkset.JWKMarshal
	Issuer string `json:"issuer"`
}

func (c *Client) fetchKeys(ctx context.Context) (keySet, error) {
	m, err := c.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	var published struct {
		Keys []publishedKey `json:"keys"`
	}
	if _, err := c.getJSON(ctx, m.JWKSURI, &published); err != nil {
		return nil, err
	}
	set := keySet{}
	for _, k := range published.Keys {
		if public, ok := k.rsa(); ok {
			set[k.KID] = key{public: public, issuer: k.Issuer}
		}
	}
	if len(set) == 0 {
		return nil, errors.New("the key set holds no RSA signing key")
	}
	return set, nil
}

// rsa is the key if it is for RSA signatures (RFC 7518 §6.3.1) and of 2048 to 8192
// bits. Certificates in it are ignored.
func (k publishedKey) rsa() (*rsa.PublicKey, bool) {
	if k.KTY != jwkset.KtyRSA || (k.USE != "" && k.USE != jwkset.UseSig) || k.KID == "" {
		return nil, false
	}
	k.X5U, k.X5C, k.X5T, k.X5TS256 = "", nil, "", ""
	parsed, err := jwkset.NewJWKFromMarshal(k.JWKMarshal, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, false
	}
	public, ok := parsed.Key().(*rsa.PublicKey)
	if !ok || public.N.BitLen() < 2048 || public.N.BitLen() > 8192 || public.E < 3 {
		return nil, false
	}
	return public, true
}

var errUnknownKey = errors.New("the token is signed with a key that Entra does not publish")

// key finds the key of a token, reading the set again if it is not there.
func (c *Client) key(ctx context.Context, kid string) (key, error) {
	set, err := c.keys.get(ctx)
	if err != nil {
		return key{}, err
	}
	if k, ok := set[kid]; ok {
		return k, nil
	}
	if set, err = c.keys.refreshRarely(ctx, unknownKeyEvery); err != nil {
		return key{}, err
	}
	if k, ok := set[kid]; ok {
		return k, nil
	}
	return key{}, errUnknownKey
}
