package grants

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"
)

// ErrSignInOver says that Entra no longer accepts the sign-in behind a grant:
// the user was disabled, removed, or has to sign in again.
var ErrSignInOver = errors.New("grants: the upstream sign-in is over")

// Renewal is Entra's answer to a refresh. Without a new refresh token the old one
// remains valid (RFC 6749 §6). Identity is nil if the answer has no ID token;
// otherwise it replaces names and roles.
type Renewal struct {
	Upstream Upstream
	Identity *Identity
}

// Renew asks Entra whether the sign-in still holds, and for new tokens. An error
// that is ErrSignInOver ends the grant; any other leaves all as it was. It must
// be bounded in time, and may be called again with tokens it was given before.
type Renew func(context.Context, Upstream, Identity) (Renewal, error)

var (
	errOtherUser = errors.New("renewal is for another user")
	errNoRenew   = errors.New("Renew is not set")
)

// renewUser asks Entra about the sign-in behind r and returns user as Entra now
// describes them.
func (s *Service) renewUser(ctx context.Context, r record, user userData) (userData, error) {
	renewal, err := s.renew(ctx, user.Upstream, user.Identity)
	if err != nil {
		return userData{}, err
	}
	if renewal.Identity != nil {
		if SubjectOf(renewal.Identity.TenantID, renewal.Identity.ObjectID) != r.subject {
			return userData{}, errOtherUser
		}
		user.Identity = *renewal.Identity
	}
	user.Upstream = renewal.Upstream.replacing(user.Upstream)
	return user, nil
}

// Refresh exchanges a refresh token for the next one (RFC 6749 §6, rotation of
// OAuth 2.1 §4.3.1). scopes narrows the access token, never the grant; nil is
// all that was granted.
//
// Clients refresh in parallel, come late and lose answers. Requests with one
// token share one rotation on one instance, and the conditional write decides
// between instances. A client that presents a token that was current within the grace
// gets a handle of the current generation, and nothing changes. A token that was
// used longer ago is known to two parties, and the grant is revoked. So that the
// grant can keep every rotation within the grace, a generation younger than a
// fifteenth of it is answered as it is; the first, which only the redemption of
// the code issues, is always rotated.
//
// A token presented by another client than its own is refused and logged, and
// the grant stays: the client that presents it cannot use it, and ending the
// grant would let strangers log the user out.
//
// Nothing is written unless Entra confirms the sign-in or [Renew] fails with
// ErrSignInOver. Other errors of Renew that are not an *oauth.Error, and every fault
// of storage or keys, are 503. No answer asks a client to wait for longer than half
// of the grace.
func (s *Service) Refresh(ctx context.Context, token RefreshToken, clientID string, scopes oauth.Scopes) (Tokens, error) {
	tokens, err := s.refresh(ctx, token, clientID, scopes)
	if e, ok := errors.AsType[*oauth.Error](err); ok && e.RetryAfter > s.refreshGrace/2 {
		capped := *e
		capped.RetryAfter = s.refreshGrace / 2
		return tokens, &capped
	}
	return tokens, err
}

func (s *Service) refresh(ctx context.Context, token RefreshToken, clientID string, scopes oauth.Scopes) (Tokens, error) {
	s.noteRequest()
	h, err := s.openLive(ctx, keyring.RefreshHandle, token.Reveal())
	if err != nil {
		return Tokens{}, err
	}
	// A grant whose revocation was announced and not marked yet must not be
	// served, also by an instance that has been idle.
	if err := s.ensureCurrent(ctx); err != nil {
		return Tokens{}, err
	}
	r, err := s.rotateShared(ctx, h, clientID)
	if err != nil {
		return Tokens{}, err
	}
	user, err := s.unsealFor(ctx, keyring.RefreshHandle, r)
	if err != nil {
		return Tokens{}, err
	}
	return s.mint(ctx, r, user.Identity, s.narrow(r.Scopes, scopes))
}

// CheckRefreshToken fails as Refresh does for a token that was not issued by
// this server or has expired. No storage I/O.
func (s *Service) CheckRefreshToken(ctx context.Context, token RefreshToken) error {
	_, err := s.openLive(ctx, keyring.RefreshHandle, token.Reveal())
	return err
}

// rotateShared lets equal requests that overlap share one rotation.
func (s *Service) rotateShared(ctx context.Context, h handle, clientID string) (record, error) {
	key := fmt.Sprintf("%x %q", h.encode(), clientID)
	result := s.rotations.DoChan(key, func() (any, error) {
		ctx, cancel := detached(ctx, rotationLimit)
		defer cancel()
		return s.rotate(ctx, h, clientID)
	})
	select {
	case <-ctx.Done():
		return record{}, unavailable(ctx.Err())
	case done := <-result:
		r, _ := done.Val.(record)
		return r, done.Err
	}
}

// rotate brings the grant to the generation after h, unless it is there already
// or was brought to h just now, and returns it.
func (s *Service) rotate(ctx context.Context, h handle, clientID string) (record, error) {
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
	if r.Generation > 1 && s.now().Sub(r.RotatedAt) < s.refreshGrace/(maxRotations-1) {
		return r, nil
	}
	user, err := s.unseal(ctx, r)
	if ended(err) {
		return s.signInOver(ctx, h, err)
	}
	if err != nil {
		return record{}, err
	}
	user, err = s.renewUser(ctx, r, user)
	if errors.Is(err, ErrSignInOver) {
		return s.signInOver(ctx, h, err)
	}
	if err != nil {
		return record{}, renewFailed(err)
	}
	if r.TenantHash == "" { // a row of an earlier version
		r.TenantHash = partyHash(user.Identity.TenantID)
	}
	sealed, err := s.seal(ctx, r, user)
	if err != nil {
		return record{}, err
	}
	return s.writeNext(ctx, h, r, sealed, user)
}

// writeNext writes the next generation. When the write fails, the row says what
// has happened. The request that wrote a later generation, this one included if its
// answer was lost: h was current when the request began, so it gets a successor.
func (s *Service) writeNext(ctx context.Context, h handle, r record, sealed string, user userData) (record, error) {
	const attempts = 4
	var cause error
	for range attempts {
		next := r.advanced(s.now().UTC())
		next.Sealed, next.expires = sealed, next.RotatedAt.Add(s.refreshLifetime)
		next.Confirmed, next.Asking = next.RotatedAt, time.Time{}
		if next.RotatedAt.Sub(next.Created) > CodeLifetime+leeway {
			next.Code = nil
		}
		var err error
		if next, err = s.replace(ctx, next); err == nil {
			observe.Audit(ctx, s.log, next.event(observe.TokenRefreshed, user.Identity))
			s.graceAnswers.Remove(next.id)
			next.unsealed = &user
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
	if s.inGrace(r, h.generation) {
		s.auditRepeated(ctx, r)
		return r, nil
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "a rotated refresh token was used again after the grace",
		slog.String("grant_id", r.id), slog.Uint64("generation", h.generation), slog.Uint64("of", r.Generation))
	if err := s.revokeGrant(ctx, r, revocationCause{observe.TokenReused, "refresh token reuse"}, clientID); err != nil {
		return record{}, err
	}
	return record{}, invalidGrant(keyring.RefreshHandle, errReused)
}

// manyRepeats is the number of answers within the grace, without a rotation in
// between, that is suspicious: a client that has stored the answer has no reason to
// use the old token again.
const manyRepeats = 10

// auditRepeated says that a token was used again within the grace, and warns when
// that happens many times in a row on this instance.
func (s *Service) auditRepeated(ctx context.Context, r record) {
	observe.Audit(ctx, s.log, r.event(observe.TokenRepeated, Identity{}))
	n, _ := s.graceAnswers.Get(r.id)
	s.graceAnswers.Add(r.id, n+1)
	if n+1 == manyRepeats {
		s.log.LogAttrs(ctx, slog.LevelWarn, "a rotated refresh token is used repeatedly within the grace: a client may be losing every answer, or two parties may have its tokens",
			slog.Any("grant", r.grant(Identity{})), slog.Int("in_a_row", n+1))
	}
}

// inGrace reports whether generation ended within the grace. Another instance's
// clock may be ahead of ours: what ended in the future ended just now.
func (s *Service) inGrace(r record, generation uint64) bool {
	at, known := r.rotatedAt(generation)
	return known && s.now().Sub(at) <= s.refreshGrace
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
	s.log.LogAttrs(ctx, slog.LevelInfo, "the sign-in cannot be renewed", slog.Any("grant", r.grant(Identity{})), slog.Any("cause", cause))
	if err := s.revokeGrant(ctx, r, revocationCause{observe.RefreshRefused, refusalReason(cause)}, r.ClientID); err != nil {
		return record{}, err
	}
	return record{}, invalidGrant(keyring.RefreshHandle, cause)
}

// refusalReason is why the sign-in behind a grant is over, as Entra gives it if it
// was asked.
func refusalReason(cause error) string {
	var said interface{ AuditReason() string }
	if errors.As(cause, &said) {
		return said.AuditReason()
	}
	return "sign-in is over"
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

// narrow is the scopes of an access token for which a client asks. Whatever was
// not granted is ignored, known to the server or not, as at the authorization
// endpoint: the response says which scopes the token has (RFC 6749 §3.3, §5.1).
// The required scopes are kept, since no call is accepted without them. A request
// of nothing that was granted is a request of everything.
func (s *Service) narrow(granted, asked oauth.Scopes) oauth.Scopes {
	kept := granted.Intersect(asked)
	if len(kept) == 0 {
		return granted
	}
	return kept.Union(granted.Intersect(s.required))
}
