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

// ErrSignInOver says that Entra no longer honours the sign-in behind a grant:
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
// RefreshGrace because the answer was lost. Past that, a used token is in two
// hands, and the grant is revoked.
//
// A token presented by another client than its own is refused and logged, and
// the grant lives on: the client that shows it cannot use it, and ending the
// grant would only hand strangers a way to log the user out.
//
// Nothing is written unless renew succeeds or says ErrSignInOver. Errors of
// renew that are no *oauth.Error, and every fault of storage or keys, are 503.
func (s *Service) Refresh(ctx context.Context, token RefreshToken, clientID string, scopes oauth.Scopes, renew Renew) (Tokens, error) {
	s.seen()
	h, err := s.openHandle(ctx, keyring.RefreshHandle, string(token))
	if err != nil {
		return Tokens{}, err
	}
	if h.expired(s.now()) {
		return Tokens{}, refused(keyring.RefreshHandle, errExpired)
	}
	r, err := s.share(ctx, h, clientID, scopes, renew)
	if err != nil {
		return Tokens{}, err
	}
	narrowed, err := s.narrow(r.Scopes, scopes)
	if err != nil {
		return Tokens{}, err
	}
	secret, err := s.unseal(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	return s.mint(ctx, r, secret.Identity, narrowed)
}

// share lets equal requests that overlap share one advance.
func (s *Service) share(ctx context.Context, h handle, clientID string, scopes oauth.Scopes, renew Renew) (record, error) {
	key := fmt.Sprintf("%x %q %q", h.encode(), clientID, scopes.String())
	result := s.rotations.DoChan(key, func() (any, error) {
		ctx, cancel := detached(ctx)
		defer cancel()
		return s.advance(ctx, h, clientID, scopes, renew)
	})
	select {
	case <-ctx.Done():
		return record{}, unavailable(ctx.Err())
	case done := <-result:
		r, _ := done.Val.(record)
		return r, done.Err
	}
}

// advance brings the grant to the generation after h and returns it.
func (s *Service) advance(ctx context.Context, h handle, clientID string, scopes oauth.Scopes, renew Renew) (record, error) {
	r, err := s.found(ctx, h)
	if err != nil {
		return record{}, err
	}
	if r.ClientID != clientID {
		s.log.LogAttrs(ctx, slog.LevelWarn, "refresh token of another client refused",
			slog.Any("grant", r.grant(Identity{})), slog.String("presented_by", clientID))
		return record{}, refused(keyring.RefreshHandle, errWrongClient)
	}
	if h.generation != r.Generation {
		return s.successor(ctx, h, r, clientID)
	}
	if _, err := s.narrow(r.Scopes, scopes); err != nil {
		return record{}, err
	}
	secret, err := s.unseal(ctx, r)
	if err != nil {
		return record{}, err
	}
	renewal, err := renew(ctx, secret.Upstream, secret.Identity)
	if errors.Is(err, ErrSignInOver) {
		return s.signInOver(ctx, h, err)
	}
	if err == nil && renewal.Identity != nil && SubjectOf(renewal.Identity.TenantID, renewal.Identity.ObjectID) != r.subject {
		err = errOtherUser
	}
	if err != nil {
		return record{}, renewFailed(err)
	}
	secret.Upstream = renewal.Upstream.over(secret.Upstream)
	if renewal.Identity != nil {
		secret.Identity = *renewal.Identity
	}
	sealed, err := s.seal(ctx, r, secret)
	if err != nil {
		return record{}, unavailable(err)
	}
	return s.rotate(ctx, h, r, sealed)
}

// rotate writes the next generation. Whatever goes wrong with the write, the
// row then says what has happened: whoever moved it on, be it ourselves with an
// answer that was lost, h was current when this request began, so its successor
// is due to it.
func (s *Service) rotate(ctx context.Context, h handle, r record, sealed string) (record, error) {
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
		if r, err = s.found(ctx, h); err != nil {
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

// successor decides about a handle that is not of the current generation.
func (s *Service) successor(ctx context.Context, h handle, r record, clientID string) (record, error) {
	if s.inGrace(h, r) {
		return r, nil
	}
	reason := "refresh token reuse, generation " + strconv.FormatUint(h.generation, 10) +
		" of " + strconv.FormatUint(r.Generation, 10)
	if err := s.end(ctx, r, reason, clientID); err != nil {
		return record{}, err
	}
	return record{}, refused(keyring.RefreshHandle, errReused)
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
	r, err := s.found(ctx, h)
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
	return record{}, refused(keyring.RefreshHandle, cause)
}

// found is the live grant of a refresh handle, or invalid_grant, or 503.
func (s *Service) found(ctx context.Context, h handle) (record, error) {
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	if dead(err) {
		return record{}, refused(keyring.RefreshHandle, err)
	}
	return r, err
}

// renewFailed keeps what upstream's adapter wants the client to be told.
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
