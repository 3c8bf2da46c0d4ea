package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
)

const (
	// maxKeys is the most keys of one set; those of clients in use have two.
	maxKeys = 8
	// maxCandidates is with how many keys at most a signature is checked: a client
	// that is changing its key has two. With more, the assertion must name its key.
	maxCandidates = 2
	// RSA is checked with keys of these sizes: a longer key or exponent makes
	// each check cost as much as its owner likes.
	minRSABits, maxRSABits = 2048, 4096
	maxRSAExponent         = 65537
	// keyRefetch is how long after a fetch a key set is not fetched again for an
	// assertion that names a key which is not in it.
	keyRefetch = 30 * time.Second
)

// keySource is where a client's public keys are: in its metadata, or at a URL.
type keySource struct {
	set json.RawMessage
	url string
}

type verificationKey struct {
	id         string
	algorithms []string
	key        jwt.VerificationKey
}

// keysFor returns the client's keys for signatures with alg: the one named kid, or
// all if the assertion names none.
func (r *Registry) keysFor(ctx context.Context, c *Client, kid, alg string) ([]jwt.VerificationKey, error) {
	if c.keys.url == "" {
		found, err := candidates(c.keys.set, kid, alg)
		if err == nil && len(found) == 0 {
			err = errNoKey
		}
		return found, err
	}
	// A key that is not in a copy may have been published since.
	for _, youngest := range []time.Duration{0, keyRefetch} {
		set, err := r.keySets.get(ctx, c.keys.url, youngest, checkKeys)
		if err != nil {
			return nil, err
		}
		found, err := candidates(set.body, kid, alg)
		if err != nil || len(found) > 0 {
			c.keySet = &set
			return found, err
		}
	}
	return nil, errNoKey
}

var errNoKey = oauth.New(oauth.InvalidClient, "the client has published no key for it.")

func candidates(set []byte, kid, alg string) ([]jwt.VerificationKey, error) {
	// A set that was accepted by an earlier version, and is not today, has no key.
	all, _ := parseKeys(set)
	var found []jwt.VerificationKey
	for _, k := range all {
		if (kid == "" || k.id == kid) && slices.Contains(k.algorithms, alg) {
			found = append(found, k.key)
		}
	}
	if len(found) > maxCandidates {
		return nil, oauth.New(oauth.InvalidClient, "it must name its key with kid.")
	}
	return found, nil
}

func checkKeys(body []byte) error {
	_, err := parseKeys(body)
	return err
}

// parseKeys reads a JWK set (RFC 7517). Keys of other kinds are ignored. A set with a
// private or symmetric key is refused: anybody who reads it could sign.
func parseKeys(text []byte) ([]verificationKey, error) {
	var set struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("it is not a JWK set")
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("it has too many keys")
	}
	var keys []verificationKey
	for _, j := range set.Keys {
		if j.D != "" || j.K != "" || j.P != "" || j.KTY == jwkset.KtyOct {
			return nil, errors.New("it contains a private or symmetric key")
		}
		// Certificates play no part, and a URL of one must never be fetched.
		j.X5U, j.X5C, j.X5T, j.X5TS256 = "", nil, "", ""
		parsed, err := jwkset.NewJWKFromMarshal(j, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil || (j.USE != "" && j.USE != jwkset.UseSig) {
			continue
		}
		algorithms := algorithmsOf(parsed.Key())
		if j.ALG != "" {
			algorithms = slices.DeleteFunc(algorithms, func(a string) bool { return a != string(j.ALG) })
		}
		if len(algorithms) > 0 {
			keys = append(keys, verificationKey{id: j.KID, algorithms: algorithms, key: parsed.Key()})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key for RS256, PS256, ES256 or EdDSA")
	}
	return keys, nil
}

func algorithmsOf(key any) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= minRSABits && bits <= maxRSABits && k.E <= maxRSAExponent {
			return []string{"RS256", "PS256"}
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return []string{"ES256"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}
