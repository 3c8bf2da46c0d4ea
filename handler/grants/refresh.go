package grants

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// ErrSignInOver says that Entra no longer accepts the sign-in behind a grant:
// the user was disabled, removed, or has to sign in again.
var ErrSignInOver = errors.New("grants: the upstream sign-in is over")

// Renewal is what Entra answered to a refresh. Without a new refresh token the
// old one stays good (RFC 6749 §6). Identity is nil if Entra said nothing new
// about the user; otherwise it replaces names and roles.
type Renewal struct {
	Upstream Upstream
	Identity *Identity
}

// Renew asks Entra whether the sign-in still holds, and for new tokens. An error
// that is ErrSignInOver ends the grant; any other leaves all as it was. It must
// be bounded in time, and may be called again with tokens it was given before.
type Renew func(context.Context, Upstream, Identity) (Renewal, error)

var errOtherUser = errors.New("renewal is for another user")

// Refresh exchanges a refresh token for the next one (RFC 6749 §6, rotation of
// OAuth 2.1 §4.3.1). scopes narrows the access token, never the grant; nil is
// all that was granted.
//
// Parallel requests with one token on one instance share one rotation, and those
// on different instances are settled by the conditional write: all of them get
// a handle of the same next generation. So does whoever repeats a request within
// RefreshGrace because the answer was lost. After that, two parties have the
// token, and the grant is revoked.
//
// A token presented by another client than its own is refused and logged, and
// the grant stays: the client that presents it cannot use it, and ending the
// grant would let strangers log the user out.
//
// Nothing is written unless renew succeeds or says ErrSignInOver. Errors of
// renew that are not an *oauth.Error, and every fault of storage or keys, are 503.
func (s *Service) Refresh(ctx context.Context, token RefreshToken, clientID string, scopes oauth.Scopes, renew Renew) (Tokens, error) {
	s.noteRequest()
	h, err := s.openHandle(ctx, keyring.RefreshHandle, token.Reveal())
	if err != nil {
		return Tokens{}, err
	}
	if h.expired(s.now()) {
		return Tokens{}, invalidGrant(keyring.RefreshHandle, errExpired)
	}
	r, err := s.rotateShared(ctx, h, clientID, scopes, renew)
	if err != nil {
		return Tokens{}, err
	}
	narrowed, err := s.narrow(r.Scopes, scopes)
	if err != nil {
		return Tokens{}, err
	}
	user, err := s.unseal(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	return s.mint(ctx, r, user.Identity, narrowed)
}

// rotateShared lets equal requests that overlap share one rotation.
func (s *Service) rotateShared(ctx context.Context, h handle, clientID string, scopes oauth.Scopes, renew Renew) (record, error) {
	key := fmt.Sprintf("%x %q %q", h.encode(), clientID, scopes.String())
	result := s.rotations.DoChan(key, func() (any, error) {
		ctx, cancel := detached(ctx)
		defer cancel()
		return s.rotate(ctx, h, clientID, scopes, renew)
	})
	select {
	case <-ctx.Done():
		return record{}, unavailable(ctx.Err())
	case done := <-result:
		r, _ := done.Val.(record)
		return r, done.Err
	}
}

// rotate brings the grant to the generation after h and returns it.
func (s *Service) rotate(ctx context.Context, h handle, clientID string, scopes oauth.Scopes, renew Renew) (record, error) {
	r, err := s.liveForRefresh(ctx, h)
	if err != nil {
		return record{}, err
	}
	if r.ClientID != clientID {
		s.log.LogAttrs(ctx, slog.LevelWarn, "refresh token of another client refused",
			slog.Any("grant", r.grant(Identity{})), slog.String("presented_by", clientID))
		return record{}, invalidGrant(keyring.RefreshHandle, errWrongClient)
	}
	if h.generation != r.Generation {
		return s.answerOld(ctx, h, r, clientID)
	}
	if _, err := s.narrow(r.Scopes, scopes); err != nil {
		return record{}, err
	}
	user, err := s.unseal(ctx, r)
	if err != nil {
		return record{}, err
	}
	renewal, err := renew(ctx, user.Upstream, user.Identity)
	if errors.Is(err, ErrSignInOver) {
		return s.signInOver(ctx, h, err)
	}
	if err == nil && renewal.Identity != nil && SubjectOf(renewal.Identity.TenantID, renewal.Identity.ObjectID) != r.subject {
		err = errOtherUser
	}
	if err != nil {
		return record{}, renewFailed(err)
	}
	user.Upstream = renewal.Upstream.replacing(user.Upstream)
	if renewal.Identity != nil {
		user.Identity = *renewal.Identity
	}
	sealed, err := s.seal(ctx, r, user)
	if err != nil {
		return record{}, unavailable(err)
	}
	return s.writeNext(ctx, h, r, sealed)
}

// writeNext writes the next generation. When the write fails, the row says what
// has happened. Whoever wrote a later generation, this request included if its
// answer was lost: h was current when the request began, so it gets a successor.
func (s *Service) writeNext(ctx context.Context, h handle, r record, sealed string) (record, error) {
	const attempts = 4
	var cause error
	for range attempts {
		next := r
		next.Sealed, next.Generation = sealed, h.generation+1
		next.RotatedAt = s.now().UTC()
		next.LastUsed, next.expires = next.RotatedAt, next.RotatedAt.Add(s.refreshLifetime)
		var err error
		if next, err = s.replace(ctx, next); err == nil {
			return next, nil
		}
		cause = err
		if r, err = s.liveForRefresh(ctx, h); err != nil {
			return record{}, err
		}
		if r.Generation > h.generation {
			return r, nil
		}
		if !errors.Is(cause, store.ErrConflict) {
			break
		}
		// The same generation with another ETag: only the upstream tokens
		// were replaced meanwhile. Ours are newer.
	}
	return record{}, unavailable(cause)
}

// answerOld decides about a handle that is not of the current generation.
func (s *Service) answerOld(ctx context.Context, h handle, r record, clientID string) (record, error) {
	if s.inGrace(h, r) {
		return r, nil
	}
	reason := "refresh token reuse, generation " + strconv.FormatUint(h.generation, 10) +
		" of " + strconv.FormatUint(r.Generation, 10)
	if err := s.end(ctx, r, reason, clientID); err != nil {
		return record{}, err
	}
	return record{}, invalidGrant(keyring.RefreshHandle, errReused)
}

// inGrace: h is of the generation before r's, and was until a moment ago.
// Another instance's clock may be ahead of ours: a rotation in the future
// happened just now.
func (s *Service) inGrace(h handle, r record) bool {
	return h.generation+1 == r.Generation && s.now().Sub(r.RotatedAt) <= RefreshGrace
}

// signInOver ends the grant, unless another request has renewed it with newer
// upstream tokens meanwhile.
func (s *Service) signInOver(ctx context.Context, h handle, cause error) (record, error) {
	r, err := s.liveForRefresh(ctx, h)
	if err != nil {
		return record{}, err
	}
	if r.Generation > h.generation {
		return r, nil
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "upstream refused to renew", slog.Any("grant", r.grant(Identity{})), slog.Any("cause", cause))
	if err := s.end(ctx, r, "upstream sign-in is over", r.ClientID); err != nil {
		return record{}, err
	}
	return record{}, invalidGrant(keyring.RefreshHandle, cause)
}

// liveForRefresh is the live grant of a refresh handle, or invalid_grant, or 503.
func (s *Service) liveForRefresh(ctx context.Context, h handle) (record, error) {
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	if ended(err) {
		return record{}, invalidGrant(keyring.RefreshHandle, err)
	}
	return r, err
}

// renewFailed keeps an *oauth.Error of renew; any other error is a 503.
func renewFailed(err error) error {
	if e, ok := errors.AsType[*oauth.Error](err); ok {
		return e
	}
	return oauth.Unavailable("The sign-in service did not answer. Try again.", retryAfter, err)
}

// narrow is RFC 6749 §6: no more than was granted. Scopes the server does not
// know, and offline_access, are ignored, because clients ask for them on every
// refresh; a request of nothing else is a request of everything.
func (s *Service) narrow(granted, asked oauth.Scopes) (oauth.Scopes, error) {
	var out oauth.Scopes
	for _, scope := range oauth.NewScopes(asked...) {
		switch {
		case granted.Has(scope):
			out = append(out, scope)
		case scope == "offline_access", len(s.known) > 0 && !s.known.Has(scope):
		default:
			return nil, oauth.New(oauth.InvalidScope, "The refresh asks for a scope that was not granted. Authorize again for more.")
		}
	}
	if len(out) == 0 {
		return granted, nil
	}
	return out, nil
}
