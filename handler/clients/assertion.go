package clients

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

const (
	// maxAssertionLife bounds exp, and so how long a jti is remembered.
	maxAssertionLife = 10 * time.Minute
	// clockLeeway forgives the clocks of others.
	clockLeeway     = 30 * time.Second
	maxAssertion    = 8 << 10
	assertionFailed = "The client assertion is refused: "
)

// assertionAlgorithms are asymmetric only: with HS256 this server would have to
// know a secret, and none proves nothing.
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

// verifyAssertion checks an assertion as RFC 7523 §3 asks and consumes its jti.
func (r *Registry) verifyAssertion(ctx context.Context, c Client, assertion string) error {
	var claims jwt.RegisteredClaims
	parser := jwt.NewParser(
		jwt.WithValidMethods(assertionAlgorithms), jwt.WithTimeFunc(r.now), jwt.WithLeeway(clockLeeway),
		jwt.WithExpirationRequired(), jwt.WithIssuer(c.ID), jwt.WithSubject(c.ID), jwt.WithStrictDecoding(),
	)
	var unavailable error
	_, err := parser.ParseWithClaims(assertion, &claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical {
			return nil, errors.New("critical header parameters are not understood (RFC 7515 §4.1.11)")
		}
		kid, _ := t.Header["kid"].(string)
		keys, err := r.keysFor(ctx, c, kid, t.Method.Alg())
		if errors.Is(err, oauth.New(oauth.TemporarilyUnavailable, "")) || errors.Is(err, oauth.New(oauth.SlowDown, "")) {
			unavailable = err
		}
		return jwt.VerificationKeySet{Keys: keys}, err
	})
	switch {
	case unavailable != nil:
		return unavailable
	case err != nil:
		return oauth.New(oauth.InvalidClient, assertionFailed+explainAssertion(err)).Because(err)
	case !slices.ContainsFunc(claims.Audience, func(aud string) bool { return aud != "" && slices.Contains(r.audience, aud) }):
		return oauth.New(oauth.InvalidClient, assertionFailed+"aud must be this server's issuer or token endpoint.")
	case claims.ExpiresAt.After(r.now().Add(maxAssertionLife + clockLeeway)):
		return oauth.New(oauth.InvalidClient, assertionFailed+"exp must be at most 10 minutes from now.")
	case claims.ID == "" || len(claims.ID) > maxText:
		return oauth.New(oauth.InvalidClient, assertionFailed+"jti is missing or too long.")
	}
	return r.consume(ctx, c.ID, claims)
}

// AssertionPrefix begins the partitions of assertions that were used.
const AssertionPrefix = "j-"

// consume lets a jti be used once on all instances: the insert has one winner.
// An unknown outcome is a refusal, because the assertion may be spent.
func (r *Registry) consume(ctx context.Context, clientID string, claims jwt.RegisteredClaims) error {
	sum := sha256.Sum256([]byte(clientID + "\x00" + claims.ID))
	key := hex.EncodeToString(sum[:])
	_, err := r.table.Insert(ctx, store.Row{
		Partition: AssertionPrefix + key[:2], Key: key,
		Expires: expiry(claims.ExpiresAt.Time, clockLeeway+time.Second),
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
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "it is not a JWT."
	}
	return "its signature or algorithm is not accepted."
}
