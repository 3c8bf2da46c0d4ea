package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"entramcp/handler/oauth"
)

const (
	// maxDocument bounds a registration, a metadata document and a key set, in
	// bytes. Claude's document has been longer than the 5 KB that the draft
	// suggests.
	maxDocument = 16 << 10
	// maxRecord bounds what is stored of a registration, in bytes; those of
	// the clients in use are below 1 KB.
	maxRecord = 8 << 10
	// maxRedirectURIs bounds the list of one client; the longest seen has 5.
	maxRedirectURIs = 50
	maxText         = 256
	maxScope        = 2048
)

// metadata is what this server keeps of a client's metadata (RFC 7591 §2): what it
// uses, and what the client is told in return. Its JSON form is canonical: equal
// metadata has equal bytes. A client_id is a hash of it, so a new member must be left
// out where it is empty.
type metadata struct {
	Name            string          `json:"client_name,omitempty"`
	URI             string          `json:"client_uri,omitempty"`
	RedirectURIs    []string        `json:"redirect_uris"`
	AuthMethod      string          `json:"token_endpoint_auth_method"`
	GrantTypes      []string        `json:"grant_types"`
	ResponseTypes   []string        `json:"response_types"`
	ApplicationType string          `json:"application_type"`
	Scope           string          `json:"scope,omitempty"`
	SoftwareID      string          `json:"software_id,omitempty"`
	SoftwareVersion string          `json:"software_version,omitempty"`
	JWKSURI         string          `json:"jwks_uri,omitempty"`
	JWKS            json.RawMessage `json:"jwks,omitempty"`
	SigningAlg      string          `json:"token_endpoint_auth_signing_alg,omitempty"`
}

// fields is a JSON object whose members are read leniently: an unknown or null
// one is ignored (RFC 7591 §2), and so is a decorative one of the wrong type.
type fields map[string]json.RawMessage

func tooLong() error { return fmt.Errorf("it is longer than %d bytes", maxDocument) }

func readFields(body io.Reader) (fields, error) {
	text, err := io.ReadAll(io.LimitReader(body, maxDocument+1))
	if limit := new(http.MaxBytesError); errors.As(err, &limit) {
		return nil, tooLong()
	}
	if err != nil {
		return nil, errors.New("it could not be read completely") // the cause names our own address
	}
	return parseFields(text)
}

func parseFields(text []byte) (fields, error) {
	if len(text) > maxDocument {
		return nil, tooLong()
	}
	var f fields
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &f); err != nil || f == nil {
		return nil, errors.New("it is not a JSON object")
	}
	for name, value := range f {
		if string(value) == "null" {
			delete(f, name)
		}
	}
	return f, nil
}

// text is the member if it is a string of up to limit bytes, else empty.
func (f fields) text(name string, limit int) string {
	var s string
	if json.Unmarshal(f[name], &s) != nil || len(s) > limit {
		return ""
	}
	return s
}

// list is the member if it is an array of strings.
func (f fields) list(name string) (values []string, ok bool) {
	if json.Unmarshal(f[name], &values) != nil || values == nil {
		return nil, false
	}
	return values, true
}

// scope also takes the array that some clients send.
func (f fields) scope() string {
	s := f.text("scope", maxScope)
	if list, ok := f.list("scope"); ok {
		s = strings.Join(list, " ")
	}
	if s = oauth.ParseScopes(s).String(); len(s) > maxScope {
		return ""
	}
	return s
}

// webURL is the member if it is an absolute http or https URL.
func (f fields) webURL(name string) string {
	s := f.text(name, maxRedirectURI)
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || !validHost(u.Host) || u.String() != s {
		return ""
	}
	return s
}

// identifier is the member if it is printable ASCII.
func (f fields) identifier(name string) string {
	s := f.text(name, maxText)
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return s
}

// common reads what registrations and metadata documents share, and checks it.
func (f fields) common(policy RedirectPolicy) (metadata, error) {
	m := metadata{
		Name:            sanitizeName(f.text("client_name", maxDocument)),
		URI:             f.webURL("client_uri"),
		Scope:           f.scope(),
		SoftwareID:      f.identifier("software_id"),
		SoftwareVersion: f.identifier("software_version"),
	}
	uris, ok := f.list("redirect_uris")
	if !ok || len(uris) == 0 {
		return m, oauth.New(oauth.InvalidRedirectURI, "redirect_uris must be a list of at least one URI.")
	}
	if len(uris) > maxRedirectURIs {
		return m, oauth.New(oauth.InvalidRedirectURI, fmt.Sprintf("redirect_uris has more than %d entries.", maxRedirectURIs))
	}
	var refused error
	if m.RedirectURIs, refused = policy.Filter(uris); len(m.RedirectURIs) == 0 {
		return m, oauth.New(oauth.InvalidRedirectURI, capitalize(refused.Error())+".")
	}
	if m.GrantTypes, ok = f.supported("grant_types", GrantTypes()); !ok || !slices.Contains(m.GrantTypes, "authorization_code") {
		return m, oauth.New(oauth.InvalidClientMetadata, "grant_types must include authorization_code.")
	}
	if m.ResponseTypes, ok = f.supported("response_types", []string{"code"}); !ok {
		return m, oauth.New(oauth.InvalidClientMetadata, "response_types must include code.")
	}
	m.ApplicationType = f.applicationType(m.RedirectURIs)
	return m, nil
}

// readKeys takes jwks or jwks_uri, of which a client must not name both
// (RFC 7591 §2), and the one algorithm that it signs with, if it says so.
// permits decides which URLs may be fetched.
func (m *metadata) readKeys(f fields, permits func(url string) error) error {
	inline, uri := f["jwks"], f.text("jwks_uri", maxRedirectURI)
	switch {
	case inline != nil && f["jwks_uri"] != nil:
		return errors.New("it must not have both jwks and jwks_uri")
	case inline != nil:
		if err := checkKeys(inline); err != nil {
			return fmt.Errorf("its jwks cannot be used: %w", err)
		}
		m.JWKS = inline
	case uri != "":
		if err := permits(uri); err != nil {
			return fmt.Errorf("its jwks_uri cannot be used: %w", err)
		}
		m.JWKSURI = uri
	}
	m.SigningAlg = f.text("token_endpoint_auth_signing_alg", maxText)
	if m.SigningAlg != "" && !slices.Contains(assertionAlgorithms, m.SigningAlg) {
		return fmt.Errorf("its token_endpoint_auth_signing_alg must be one of %s", strings.Join(assertionAlgorithms, ", "))
	}
	return nil
}

func (m *metadata) hasKeys() bool { return m.JWKSURI != "" || m.JWKS != nil }

// supported is the part of a list that this server supports, or all it
// supports if the client names none: clients register for every server at
// once, with grants such as the device code that are not for this one.
func (f fields) supported(name string, all []string) ([]string, bool) {
	asked, ok := f.list(name)
	if !ok || len(asked) == 0 {
		return all, true
	}
	var some []string
	for _, value := range all {
		if slices.Contains(asked, value) {
			some = append(some, value)
		}
	}
	return some, len(some) > 0
}

// applicationType is inferred where a client omits it: the default of OpenID
// Connect, web, would be wrong for most MCP clients.
func (f fields) applicationType(redirects []string) string {
	if t := f.text("application_type", maxText); t == "native" || t == "web" {
		return t
	}
	if slices.ContainsFunc(redirects, func(uri string) bool { return !isNative(uri) }) {
		return "web"
	}
	return "native"
}

func capitalize(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
