package entra

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"time"
)

const (
	// refreshEvery is how often metadata and keys are read again; Entra rolls
	// keys about every six weeks but may do so at any moment.
	// https://learn.microsoft.com/entra/identity-platform/signing-key-rollover
	refreshEvery = time.Hour
	// unknownKeyEvery bounds what tokens with unknown key ids can make us fetch.
	unknownKeyEvery = 5 * time.Minute
)

// key is one signing key. MicahParks/jwkset would parse the set, but it drops
// Entra's "issuer" member, which says which tenants' tokens a key may sign, and
// offers neither an injected clock nor one fetch shared by callers that
// coincide; what is left of it for RSA keys is the function below.
type key struct {
	public *rsa.PublicKey
	// issuer is the only issuer the key signs for, possibly with the tenant
	// placeholder; empty means any.
	issuer string
}

// keySet maps a key id to its key.
type keySet map[string]key

type jwk struct {
	KeyType  string `json:"kty"`
	Use      string `json:"use"`
	KeyID    string `json:"kid"`
	Modulus  string `json:"n"`
	Exponent string `json:"e"`
	Issuer   string `json:"issuer"`
}

func (c *Client) fetchKeys(ctx context.Context) (keySet, error) {
	m, err := c.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	var published struct {
		Keys []jwk `json:"keys"`
	}
	if err := c.getJSON(ctx, m.JWKSURI, &published); err != nil {
		return nil, err
	}
	set := keySet{}
	for _, k := range published.Keys {
		if public, ok := k.rsa(); ok {
			set[k.KeyID] = key{public: public, issuer: k.Issuer}
		}
	}
	if len(set) == 0 {
		return nil, errors.New("the key set holds no RSA signing key")
	}
	return set, nil
}

// rsa reads an RSA signing key (RFC 7518 §6.3.1) of at least 2048 bits.
func (k jwk) rsa() (*rsa.PublicKey, bool) {
	if k.KeyType != "RSA" || (k.Use != "" && k.Use != "sig") || k.KeyID == "" {
		return nil, false
	}
	n, errN := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.Modulus, "="))
	e, errE := base64.RawURLEncoding.DecodeString(strings.TrimRight(k.Exponent, "="))
	if errN != nil || errE != nil || len(n) < 256 || len(e) == 0 || len(e) > 4 {
		return nil, false
	}
	exponent := int(new(big.Int).SetBytes(e).Int64())
	if exponent < 3 {
		return nil, false
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}, true
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

// Run keeps metadata and keys fresh until ctx ends. Reads that fail leave the
// last good copy in place.
func (c *Client) Run(ctx context.Context) {
	for {
		// Jitter keeps many instances that started together apart.
		wait := refreshEvery - time.Duration(mathrand.Int64N(int64(refreshEvery/4)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		c.refreshDocuments(ctx)
	}
}

func (c *Client) refreshDocuments(ctx context.Context) {
	if _, err := c.metadata.refresh(ctx); err != nil {
		c.deps.Log.WarnContext(ctx, "Entra metadata could not be read again; the last copy stays in use", "cause", err)
	}
	if _, err := c.keys.refresh(ctx); err != nil {
		c.deps.Log.WarnContext(ctx, "Entra signing keys could not be read again; the last copy stays in use", "cause", err)
	}
}
