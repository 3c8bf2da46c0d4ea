package clients

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"
)

const (
	// maxAssertionLife bounds exp, and so how long a jti is kept.
	maxAssertionLife = 10 * time.Minute
	// clockLeeway is by how much a client's clock may differ from ours.
	clockLeeway     = 30 * time.Second
	maxAssertion    = 8 << 10
	assertionFailed = "The client assertion is refused: "
	// AssertionPrefix begins the names of the partitions of used assertions, followed
	// by two digits of the key: the SHA-256 of client_id and jti. The rows
	// have no value.
	AssertionPrefix = "j-"
)

// assertionAlgorithms are asymmetric only: with HS256 this server would have to know
// a secret, and "none" proves nothing.
var assertionAlgorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// AssertionAlgorithms are the values to advertise as
// token_endpoint_auth_signing_alg_values_supported (RFC 8414 §2).
func AssertionAlgorithms() []string { return slices.Clone(assertionAlgorithms) }

// readAssertion takes the client_id from the assertion where the parameter is
// absent, as RFC 7521 §4.2 permits. Nothing is trusted yet.
func (c *credentials) readAssertion(kind string) error {
	if kind != assertionType {
		return oauth.New(oauth.InvalidRequest, "client_assertion_type must be "+assertionType+".")
	}
	if len(c.assertion) > maxAssertion {
		return oauth.New(oauth.InvalidClient, assertionFailed+"it is too long.")
	}
	var claims jwt.RegisteredClaims
	if _, _, err := jwt.NewParser().ParseUnverified(c.assertion, &claims); err != nil {
		return oauth.New(oauth.InvalidClient, assertionFailed+"it is not a JWT.")
	}
	if c.clientID == "" {
		c.clientID = claims.Subject
	}
	return nil
}

// verifyAssertion checks an assertion by RFC 7523 §3, except whether it was used
// before: Consume does. Cheap checks come first: a stranger's assertion costs at most
// two checks of a signature, and refused assertions are limited by address.
func (r *Registry) verifyAssertion(ctx context.Context, c *Client, assertion string) error {
	client := observe.ClientKey(ctx)
	if wait := r.assertions.Take(client); wait > 0 {
		return slowDown("Too many client assertions were refused. Try again in a moment.", wait)
	}
	var claims jwt.RegisteredClaims
	var unavailable error
	parser := jwt.NewParser(jwt.WithValidMethods(assertionAlgorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(assertion, &claims, func(t *jwt.Token) (any, error) {
		if err := checkHeader(t, c.signingAlg); err != nil {
			return nil, err
		}
		if err := r.checkClaims(ctx, c.ID, claims); err != nil {
			return nil, err
		}
		kid, _ := t.Header["kid"].(string)
		keys, err := r.keysFor(ctx, c, kid, t.Method.Alg())
		if oauth.ErrorCode(err) == oauth.TemporarilyUnavailable || oauth.ErrorCode(err) == oauth.SlowDown {
			unavailable = err
		}
		return jwt.VerificationKeySet{Keys: keys}, err
	})
	switch {
	case unavailable != nil:
		r.assertions.Return(client)
		return unavailable
	case err != nil:
		return oauth.New(oauth.InvalidClient, assertionFailed+explainAssertion(err)).Because(err)
	}
	r.assertions.Return(client)
	c.assertion = &claims
	return nil
}

// checkHeader checks what the parser does not: typ (rfc7523bis §4), critical
// extensions, and the algorithm if the client has declared one.
func checkHeader(t *jwt.Token, declared string) error {
	if _, critical := t.Header["crit"]; critical {
		return oauth.New(oauth.InvalidClient, "its critical header parameters are not understood.") // RFC 7515 §4.1.11
	}
	if declared != "" && t.Method.Alg() != declared {
		return oauth.New(oauth.InvalidClient, "the client has declared the algorithm "+declared+".")
	}
	if typ, ok := t.Header["typ"]; ok {
		text, _ := typ.(string)
		if text = strings.ToLower(strings.TrimPrefix(text, "application/")); text != "jwt" && text != "client-authentication+jwt" {
			return oauth.New(oauth.InvalidClient, "its typ must be JWT or client-authentication+jwt.")
		}
	}
	return nil
}

// checkClaims checks what the client claims. An assertion that is also meant for
// another server could be sent here by that server, so the issuer has to be its only
// audience (rfc7523bis §4); the token endpoint, which RFC 7523 §3 suggests, is
// accepted unless the operator forbids it.
func (r *Registry) checkClaims(ctx context.Context, id string, claims jwt.RegisteredClaims) error {
	validator := jwt.NewValidator(jwt.WithTimeFunc(r.now), jwt.WithLeeway(clockLeeway),
		jwt.WithExpirationRequired(), jwt.WithIssuer(id), jwt.WithSubject(id))
	switch err := validator.Validate(claims); {
	case err != nil:
		return err
	case claims.ExpiresAt.After(r.now().Add(maxAssertionLife + clockLeeway)):
		return oauth.New(oauth.InvalidClient, "exp must be at most 10 minutes from now.")
	case claims.ID == "" || len(claims.ID) > maxText:
		return oauth.New(oauth.InvalidClient, "jti is missing or too long.")
	case len(claims.Audience) == 1 && claims.Audience[0] == r.issuer:
		return nil
	case len(claims.Audience) == 1 && r.tokenEndpoint != "" && claims.Audience[0] == r.tokenEndpoint:
		r.log.WarnContext(ctx, "client assertion is addressed to the token endpoint, not to the issuer", "client_id", id)
		return nil
	}
	return oauth.New(oauth.InvalidClient, "aud must be this server's issuer, "+r.issuer+", alone.")
}

// Consume marks the assertion with which c has authenticated as used, for all
// instances: a second insert of its jti fails. It does nothing for clients that have
// authenticated in another way. Errors: invalid_client if the assertion was used
// before; temporarily_unavailable if that cannot be known. The client then needs a
// new assertion, because this one may be marked.
func (r *Registry) Consume(ctx context.Context, c Client) error {
	if c.assertion == nil {
		return nil
	}
	sum := sha256.Sum256([]byte(c.ID + "\x00" + c.assertion.ID))
	key := hex.EncodeToString(sum[:])
	_, err := r.table.Insert(ctx, store.Row{
		Partition: AssertionPrefix + key[:2], Key: key,
		Expires: expiry(c.assertion.ExpiresAt.Time, clockLeeway+time.Second),
	})
	switch {
	case errors.Is(err, store.ErrExists):
		return oauth.New(oauth.InvalidClient, assertionFailed+"it has been used before.")
	case err != nil:
		return oauth.Unavailable("The client assertion could not be checked. Try again with a new one.", 2*time.Second, err)
	}
	return nil
}

// explainAssertion says what is wrong without repeating untrusted text.
func explainAssertion(err error) string {
	var refusal *oauth.Error
	switch {
	case errors.As(err, &refusal):
		return refusal.Description
	case errors.Is(err, jwt.ErrTokenExpired):
		return "it has expired."
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return "it is not valid yet."
	case errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenInvalidSubject):
		return "iss and sub must be the client_id."
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return "iss, sub and exp are required."
	}
	return "its signature or algorithm is not accepted."
}
