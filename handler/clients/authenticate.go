package clients

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Authenticate identifies the client that sends a request to the token, revocation or
// introspection endpoint, by one of the methods none, client_secret_post,
// client_secret_basic (RFC 6749 §2.3.1) or private_key_jwt (RFC 7523 §2.2). No
// parameter of form may be repeated. The caller checks the rest of the request and
// then calls Consume, before it does anything for the client.
//
// A client that registered for one way to send its secret may use the other:
// libraries try both. Errors: invalid_client for an unknown client, a missing
// or wrong proof, and a secret from a client that has none; invalid_request for
// more than one method in a request; slow_down; temporarily_unavailable. Where
// [UsedBasic], an invalid_client answer carries WWW-Authenticate: Basic.
func (r *Registry) Authenticate(ctx context.Context, header http.Header, form url.Values) (Client, error) {
	cred, err := readCredentials(header, form)
	if err != nil {
		return Client{}, err
	}
	c, err := r.Lookup(ctx, cred.clientID)
	if err != nil {
		return Client{}, err
	}
	switch {
	case cred.assertion != "":
		if !slices.Contains(c.AuthMethods, AuthPrivateKeyJWT) {
			return Client{}, oauth.New(oauth.InvalidClient, "This client is not registered for private_key_jwt.")
		}
		if err := r.verifyAssertion(ctx, &c, cred.assertion); err != nil {
			return Client{}, err
		}
	case !cred.secret.IsZero():
		if !c.record.accepts(cred.secret, r.now()) {
			return Client{}, oauth.New(oauth.InvalidClient, "The client secret is wrong.")
		}
	case !c.Public():
		return Client{}, oauth.New(oauth.InvalidClient, "This client must authenticate with "+strings.Join(c.AuthMethods, " or ")+".")
	}
	return c, nil
}

// UsedBasic reports whether the request tried HTTP Basic authentication, so
// that a refusal must name it in WWW-Authenticate (RFC 6749 §5.2).
func UsedBasic(header http.Header) bool {
	return slices.ContainsFunc(header.Values("Authorization"), func(v string) bool {
		_, ok := basicToken(v)
		return ok
	})
}

// credentials are what a request claims. An empty secret counts as no secret (RFC
// 6749 §2.3.1).
type credentials struct {
	clientID  string
	secret    Secret
	assertion string
}

func readCredentials(header http.Header, form url.Values) (credentials, error) {
	cred := credentials{
		clientID:  form.Get("client_id"),
		secret:    Secret{secret.New(form.Get("client_secret"))},
		assertion: form.Get("client_assertion"),
	}
	methods := 0
	for _, used := range []bool{!cred.secret.IsZero(), cred.assertion != "", UsedBasic(header)} {
		if used {
			methods++
		}
	}
	if methods > 1 {
		return credentials{}, oauth.New(oauth.InvalidRequest, "Use one client authentication method, not two.")
	}
	if UsedBasic(header) {
		if err := cred.readBasic(header.Values("Authorization")); err != nil {
			return credentials{}, err
		}
	}
	if cred.assertion != "" {
		if err := cred.readAssertion(form.Get("client_assertion_type")); err != nil {
			return credentials{}, err
		}
	}
	if cred.clientID == "" {
		return credentials{}, oauth.New(oauth.InvalidClient, "The request does not say which client it comes from.")
	}
	return cred, nil
}

// readBasic decodes form-urlencoded parts (RFC 6749 §2.3.1). Clients that do not
// encode them, such as the TypeScript SDK, get the same result: our ids and secrets
// contain no character that the encoding changes.
func (c *credentials) readBasic(values []string) error {
	if len(values) != 1 {
		return oauth.New(oauth.InvalidRequest, "The Authorization header is repeated.")
	}
	malformed := oauth.New(oauth.InvalidClient, "The Authorization header is malformed.")
	token, _ := basicToken(values[0])
	plain, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return malformed
	}
	id, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return malformed
	}
	id = formDecode(id)
	if c.clientID != "" && c.clientID != id {
		return oauth.New(oauth.InvalidRequest, "client_id differs from the client in the Authorization header.")
	}
	c.clientID, c.secret = id, Secret{secret.New(formDecode(password))}
	return nil
}

func basicToken(authorization string) (token string, ok bool) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Basic")
}

func formDecode(s string) string {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}
