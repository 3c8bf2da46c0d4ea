package grants

import (
	"context"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
)

// Unredeemed reports whether code can still be redeemed: false for one that has
// been redeemed or has expired, and for everything that is not a code. One read;
// an error is a 503.
func (s *Service) Unredeemed(ctx context.Context, code Code) (bool, error) {
	h, err := s.openHandle(ctx, keyring.CodeHandle, code.Reveal())
	switch {
	case oauth.ErrorCode(err) == oauth.InvalidGrant, err == nil && h.expired(s.now()):
		return false, nil
	case err != nil:
		return false, err
	}
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	switch {
	case ended(err):
		return false, nil
	case err != nil:
		return false, err
	}
	return r.Generation == 0, nil
}
