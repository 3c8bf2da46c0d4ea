package grants

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
)

// handle points to a grant at one generation. It is what a code or a refresh
// token holds, sealed under a purpose of its own, so that one can never be
// taken for the other and a foreign or expired one is refused without I/O.
type handle struct {
	subject    [32]byte
	grant      [16]byte
	generation uint64
	expires    uint64 // Unix seconds
}

const (
	handleVersion = 1
	handleSize    = 1 + 32 + 16 + 8 + 8
)

var errMalformed = errors.New("malformed handle")

// The encoding is fixed: version, subject, grant, generation, expiry. Every
// accepted encoding is the only one of its handle.
func (h handle) encode() []byte {
	b := make([]byte, 0, handleSize)
	b = append(b, handleVersion)
	b = append(b, h.subject[:]...)
	b = append(b, h.grant[:]...)
	b = binary.BigEndian.AppendUint64(b, h.generation)
	return binary.BigEndian.AppendUint64(b, h.expires)
}

func decodeHandle(b []byte) (handle, error) {
	var h handle
	if len(b) != handleSize || b[0] != handleVersion {
		return h, errMalformed
	}
	copy(h.subject[:], b[1:33])
	copy(h.grant[:], b[33:49])
	h.generation = binary.BigEndian.Uint64(b[49:57])
	h.expires = binary.BigEndian.Uint64(b[57:65])
	return h, nil
}

func (h handle) subjectID() Subject { return Subject(hex.EncodeToString(h.subject[:])) }
func (h handle) grantID() string    { return base64.RawURLEncoding.EncodeToString(h.grant[:]) }

func (h handle) expired(now time.Time) bool { return now.Unix() >= int64(h.expires) }

// sealHandle makes the text of a code or refresh token.
func (s *Service) sealHandle(ctx context.Context, purpose keyring.Purpose, r record, lifetime time.Duration) (string, error) {
	h := handle{generation: r.Generation, expires: uint64(s.now().Add(lifetime).Unix())}
	subject, err := hex.DecodeString(string(r.subject))
	if err != nil || copy(h.subject[:], subject) != len(h.subject) {
		return "", errMalformed
	}
	id, err := base64.RawURLEncoding.DecodeString(r.id)
	if err != nil || copy(h.grant[:], id) != len(h.grant) {
		return "", errMalformed
	}
	return s.ring.Seal(ctx, purpose, nil, h.encode())
}

// openHandle fails with invalid_grant for everything that is not a handle of
// ours for this purpose, and with 503 when the keys are out of reach.
func (s *Service) openHandle(ctx context.Context, purpose keyring.Purpose, text string) (handle, error) {
	plain, err := s.ring.Open(ctx, purpose, nil, text)
	switch {
	case errors.Is(err, keyring.ErrNotOurs):
		return handle{}, invalidGrant(purpose, err)
	case err != nil:
		return handle{}, unavailable(err)
	}
	h, err := decodeHandle(plain)
	if err != nil {
		return handle{}, invalidGrant(purpose, err)
	}
	// Generation 0 is the code's, all others are refresh tokens'.
	if (purpose == keyring.CodeHandle) != (h.generation == 0) {
		return handle{}, invalidGrant(purpose, errMalformed)
	}
	return h, nil
}

// invalidGrant is the one answer to every code or refresh token that is not
// valid. The cause goes to the log only.
func invalidGrant(purpose keyring.Purpose, cause error) error {
	what := "The refresh token is invalid, expired or revoked. Sign in again."
	if purpose == keyring.CodeHandle {
		what = "The authorization code is invalid or expired. Sign in again."
	}
	return oauth.New(oauth.InvalidGrant, what).Because(cause)
}

// openLive is openHandle for a handle that has not expired.
func (s *Service) openLive(ctx context.Context, purpose keyring.Purpose, text string) (handle, error) {
	h, err := s.openHandle(ctx, purpose, text)
	if err == nil && h.expired(s.now()) {
		err = invalidGrant(purpose, errExpired)
	}
	return h, err
}
