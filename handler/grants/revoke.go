package grants

import (
	"context"
	"errors"
	"log/slog"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"

	"golang.org/x/sync/errgroup"
)

// Revoke ends the grant behind a refresh or access token of clientID (RFC 7009).
// Either kind ends the whole grant: a user who revokes means the connection, and
// an access token whose grant lives on would be replaced by the next refresh.
// Refresh tokens are dead when Revoke returns, access tokens within MaxStale on
// every instance.
//
// A token that is unknown, malformed, expired or revoked already is no error
// (§2.2). One that was issued to another client is invalid_grant, and nothing
// happens to it (§2.1). Revoke can be repeated: it finishes what it finds begun.
//
// It answers 503 when ctx ends, and at the latest after revocationLimit, which
// covers everything that it reads and writes. What it has begun goes on until
// then.
func (s *Service) Revoke(ctx context.Context, token, clientID string) error {
	s.noteRequest()
	done := make(chan error, 1)
	whole, cancel := detached(ctx, revocationLimit)
	go func() {
		defer cancel()
		done <- s.revokeToken(whole, token, clientID)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

func (s *Service) revokeToken(ctx context.Context, token, clientID string) error {
	subject, id, owner, err := s.locate(ctx, token)
	if err != nil {
		return ignoreInvalid(err)
	}
	r, err := s.read(ctx, subject, id)
	switch {
	case errors.Is(err, errNoGrant) && owner == tokenClientID(clientID) && !s.revoked.has(id):
		// The grant is gone, and its access tokens can still be valid.
		return s.announce(ctx, announcement{Subject: subject, Grant: id, Reason: byClient.reason})
	case errors.Is(err, errNoGrant):
		return nil
	case err != nil:
		return err
	case r.ClientID != clientID:
		s.log.LogAttrs(ctx, slog.LevelWarn, "revocation by another client refused",
			slog.Any("grant", r.grant(Identity{})), slog.String("presented_by", clientID))
		return oauth.New(oauth.InvalidGrant, "The token was issued to another client.").Because(errWrongClient)
	}
	return s.revokeGrantWithin(ctx, r, byClient, clientID)
}

// revocationCause is why a grant is revoked. The reason goes into the row and the
// event; it is one of a few fixed texts. Without an event, the caller audits who did
// it.
type revocationCause struct {
	event  observe.EventName
	reason string
}

var (
	byClient = revocationCause{observe.GrantRevoked, "revoked by the client"}
	byUser   = revocationCause{observe.Disconnected, "disconnected by the user"}
	// byAdministrator is somebody who manages connections.
	byAdministrator = revocationCause{"", "revoked by an administrator"}
)

// locate finds the grant that a refresh or access token belongs to, and for an
// access token the client as it names it.
func (s *Service) locate(ctx context.Context, token string) (subject Subject, id, owner string, err error) {
	h, err := s.openLive(ctx, keyring.RefreshHandle, token)
	if err == nil {
		return h.subjectID(), h.grantID(), "", nil
	}
	if ignoreInvalidGrant(err) != nil {
		return "", "", "", err
	}
	access, err := s.parse(ctx, token)
	if err != nil {
		return "", "", "", err
	}
	return access.Subject, access.GrantID, access.ClientID, nil
}

// ignoreInvalid turns invalid_token into success: there is nothing to revoke. An
// outage stays an error.
func ignoreInvalid(err error) error {
	if oauth.ErrorCode(err) == oauth.InvalidToken {
		return nil
	}
	return err
}

// ignoreInvalidGrant turns invalid_grant into success. An outage stays an error.
func ignoreInvalidGrant(err error) error {
	if oauth.ErrorCode(err) == oauth.InvalidGrant {
		return nil
	}
	return err
}

// revokeGrant revokes r in two writes: first the row that every instance's list picks
// up, then the mark on the grant, which ends it at once. In between, the first
// row is the intent: any instance that has it in its list refuses access tokens,
// and completes the second write when the grant is used; at the latest the sweep
// does, before it removes the row. The other order could lose the first half for
// good, because nobody looks at a grant that is marked.
func (s *Service) revokeGrant(ctx context.Context, r record, why revocationCause, presenter string) error {
	ctx, cancel := detached(ctx, revocationLimit)
	defer cancel()
	return s.revokeGrantWithin(ctx, r, why, presenter)
}

// revokeGrantWithin is revokeGrant with the limit of ctx, which outlives the request.
func (s *Service) revokeGrantWithin(ctx context.Context, r record, why revocationCause, presenter string) error {
	if !r.Revoked.IsZero() {
		return nil
	}
	level := slog.LevelWarn
	if why == byClient || why == byUser || why == byAdministrator {
		level = slog.LevelInfo
	}
	s.log.LogAttrs(ctx, level, "grant revoked", slog.Any("grant", r.grant(Identity{})),
		slog.String("reason", why.reason), slog.String("presented_by", presenter))
	if why.event != "" {
		e := r.event(why.event, Identity{})
		e.Reason = why.reason
		observe.Audit(ctx, s.log, e)
	}
	if err := s.announce(ctx, announcement{Subject: r.subject, Grant: r.id, Reason: why.reason}); err != nil {
		return err
	}
	return s.markRevoked(ctx, r, why.reason)
}

const writeAttempts = 8

// markRevoked makes the grant row say that it is revoked, and forgets the user's
// tokens and data. The row stays while access tokens may be about, so that a
// late use is still recognized and logged for what it is.
func (s *Service) markRevoked(ctx context.Context, r record, reason string) error {
	var err error
	id, subject := r.id, r.subject
	for range writeAttempts {
		if !r.Revoked.IsZero() {
			s.revoked.setMarked(r.id)
			return nil
		}
		r.Revoked, r.Reason = s.now().UTC(), reason
		r.Sealed, r.Code, r.Rotations = "", nil, nil
		r.expires = r.Revoked.Add(s.accessLifetime + leeway + margin)
		if _, err = s.replace(ctx, r); err == nil {
			s.revoked.setMarked(r.id)
			return nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			break
		}
		if r, err = s.read(ctx, subject, id); errors.Is(err, errNoGrant) {
			s.revoked.setMarked(id)
			return nil
		} else if err != nil {
			return err
		}
	}
	return unavailable(err)
}

// completeRevocation marks the grant of a revocation, if that has not been done.
func (s *Service) completeRevocation(ctx context.Context, subject Subject, id, reason string) error {
	r, err := s.read(ctx, subject, id)
	if errors.Is(err, errNoGrant) {
		s.revoked.setMarked(id)
		return nil
	}
	if err != nil {
		return err
	}
	return s.markRevoked(ctx, r, reason)
}

// CompleteRevocations marks the grants of revocations whose author ended between
// its two writes. The sweep calls it with expired rows of RevocationPrefix and
// LegacyRevocationPartition before it removes them. An error means that the rows
// must stay.
func (s *Service) CompleteRevocations(ctx context.Context, rows []store.Row) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for _, row := range rows {
		v, err := decodeAnnouncement(row)
		if err != nil {
			s.log.LogAttrs(ctx, slog.LevelError, "a revocation cannot be read", slog.Any("cause", err))
			continue
		}
		if v.Grant == "" || !v.IssuedBefore.IsZero() {
			continue
		}
		group.Go(func() error { return s.completeRevocation(ctx, v.Subject, v.Grant, v.Reason) })
	}
	return group.Wait()
}
