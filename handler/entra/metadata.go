package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds every document and response read from Entra, in bytes. Its
// key sets are some 20 KiB.
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

// tenantID is the GUID of the tenant that the metadata is of, or empty when it
// is of many.
func (m metadata) tenantID() string {
	for segment := range strings.SplitSeq(m.Issuer, "/") {
		if isGUID(segment) {
			return strings.ToLower(segment)
		}
	}
	return ""
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

// readMetadata reads the document past every cache, with the header it came with.
func (c *Client) readMetadata(ctx context.Context) (metadata, http.Header, error) {
	var m metadata
	header, err := c.getJSONHeader(ctx, c.metadataURL(), &m)
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
// operator configured.
func (c *Client) sameHost(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	own, err := url.Parse(c.cfg.Authority)
	return err == nil && u.Scheme == own.Scheme && u.Host == own.Host && u.RawQuery == "" && u.Fragment == ""
}

func (c *Client) getJSON(ctx context.Context, address string, v any) error {
	_, err := c.getJSONHeader(ctx, address, v)
	return err
}

func (c *Client) getJSONHeader(ctx context.Context, address string, v any) (http.Header, error) {
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
