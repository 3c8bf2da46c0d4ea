package grants

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// userData is the user's tokens and personal data, which a row holds sealed.
type userData struct {
	Identity Identity
	Upstream Upstream
}

// sealedData is the plain text of the sealed part of a row.
type sealedData struct {
	Identity Identity `json:"id"`
	Upstream struct {
		RefreshToken    string    `json:"rt,omitempty"`
		APIToken        string    `json:"at,omitempty"`
		APITokenExpires time.Time `json:"exp,omitzero"`
	} `json:"up"`
}

// maxSealed is the longest plain text in bytes whose sealed form fits into a row
// beside the rest of a record.
const maxSealed = 44 << 10

// compressed begins a plain text that was too long and is compressed (RFC 1951).
const compressed = 1

var errTooLarge = errors.New("Entra's tokens are too large to be kept")

// seal fails with a server_error for tokens that are too large, and else with a
// 503. A set of tokens that is too large (users with very many groups or roles)
// is compressed, and if that is not enough kept without the access token, which
// the refresh token brings again when it is needed.
func (s *Service) seal(ctx context.Context, r record, user userData) (string, error) {
	plain, err := encodeUserData(user)
	if len(plain) > maxSealed && err == nil {
		user.Upstream.APIToken, user.Upstream.APITokenExpires = EntraAccessToken{}, time.Time{}
		plain, err = encodeUserData(user)
	}
	if err != nil {
		return "", err
	}
	if len(plain) > maxSealed {
		return "", oauth.New(oauth.ServerError, "The sign-in cannot be kept: the tokens from Entra are too large. An administrator can make them smaller by leaving groups out of them.").
			Because(fmt.Errorf("%w: %d bytes, at most %d", errTooLarge, len(plain), maxSealed))
	}
	sealed, err := s.ring.Seal(ctx, keyring.UpstreamTokens, r.rowKey(), plain)
	if err != nil {
		return "", unavailable(err)
	}
	return sealed, nil
}

func encodeUserData(user userData) ([]byte, error) {
	data := sealedData{Identity: user.Identity}
	data.Upstream.RefreshToken = user.Upstream.RefreshToken.Reveal()
	data.Upstream.APIToken = user.Upstream.APIToken.Reveal()
	data.Upstream.APITokenExpires = user.Upstream.APITokenExpires
	plain, err := json.Marshal(data)
	if err != nil || len(plain) <= maxSealed {
		return plain, err
	}
	var out bytes.Buffer
	out.WriteByte(compressed)
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// maxUserData bounds what is made of a compressed text, in bytes.
const maxUserData = 1 << 20

func decodeUserData(plain []byte) (sealedData, error) {
	var data sealedData
	if len(plain) > 0 && plain[0] == compressed {
		var err error
		if plain, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(plain[1:])), maxUserData)); err != nil {
			return data, err
		}
	}
	return data, json.Unmarshal(plain, &data)
}

// unseal fails with errRevoked if the key epoch was retired that sealed the row,
// and else with a 503: that we cannot read what we have sealed says nothing
// against the client.
func (s *Service) unseal(ctx context.Context, r record) (userData, error) {
	plain, err := s.ring.Open(ctx, keyring.UpstreamTokens, r.rowKey(), r.Sealed)
	if errors.Is(err, keyring.ErrRetired) {
		return userData{}, errRevoked
	}
	if err != nil {
		return userData{}, unavailable(fmt.Errorf("open the sealed part of grant %s: %w", r.id, err))
	}
	data, err := decodeUserData(plain)
	if err != nil {
		return userData{}, unavailable(fmt.Errorf("read the sealed part of grant %s: %w", r.id, err))
	}
	return userData{data.Identity, Upstream{
		RefreshToken:    EntraRefreshToken{secret.New(data.Upstream.RefreshToken)},
		APIToken:        EntraAccessToken{secret.New(data.Upstream.APIToken)},
		APITokenExpires: data.Upstream.APITokenExpires,
	}}, nil
}

// unsealFor is unseal for a request with a code or a refresh token.
func (s *Service) unsealFor(ctx context.Context, purpose keyring.Purpose, r record) (userData, error) {
	if r.unsealed != nil {
		return *r.unsealed, nil
	}
	user, err := s.unseal(ctx, r)
	if ended(err) {
		err = invalidGrant(purpose, err)
	}
	return user, err
}
