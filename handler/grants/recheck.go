package grants

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"entramcp/handler/observe"
	"entramcp/handler/store"
)

const (
	// overdueAfter is how many intervals of the recheck after the last
	// confirmation a call waits for Entra's verdict. An outage of Entra is
	// tolerated for as long.
	overdueAfter = 3
	// recheckRetry is how long after an attempt that brought no verdict the
	// next one is made.
	recheckRetry = 10 * time.Second
	// recheckClaim is how long an instance has to ask Entra before another one
	// asks.
	recheckClaim = 30 * time.Second
	// confirmationPoll is how often the grant is read while another instance asks.
	// pollWait is no multiple of it, so that the last reading is not cut.
	confirmationPoll = 150 * time.Millisecond
	// confirmedGrants bounds the cache of confirmations.
	confirmedGrants = 8192
)

// confirmation is what an instance knows of a grant's last confirmation.
type confirmation struct {
	at      time.Time
	retryAt time.Time
}

// ensureConfirmed has Entra asked whether the sign-in behind a still holds, if
// that was last confirmed longer ago than the interval. It does so in the
// background, once for all calls, and conditional writes let one instance ask. A
// call that is overdue waits for the verdict: invalid_token if the sign-in is
// over, 503 if there is none.
func (s *Service) ensureConfirmed(ctx context.Context, a *Access) error {
	if s.recheck <= 0 {
		return nil
	}
	now := s.now()
	known, _ := s.confirmed.Get(a.GrantID)
	last := a.Issued
	if known.at.After(last) {
		last = known.at
	}
	age := now.Sub(last)
	overdue := age >= overdueAfter*s.recheck
	switch {
	case age < s.recheck:
		return nil
	case now.Before(known.retryAt) && overdue:
		return unavailable(errNotConfirmed)
	case now.Before(known.retryAt):
		return nil
	}
	verdict := s.rechecks.DoChan(a.GrantID, func() (any, error) {
		ctx, cancel := detached(ctx, rotationLimit)
		defer cancel()
		at, err := s.recheckGrant(ctx, a.Subject, a.GrantID)
		if err != nil && !ended(err) {
			s.log.LogAttrs(ctx, slog.LevelWarn, "a sign-in could not be checked again", slog.String("grant_id", a.GrantID), slog.Any("cause", err))
			s.confirmed.Add(a.GrantID, confirmation{at: last, retryAt: s.now().Add(recheckRetry)})
			return nil, err
		}
		s.confirmed.Add(a.GrantID, confirmation{at: at})
		return nil, err
	})
	if !overdue {
		return nil
	}
	select {
	case <-ctx.Done():
		return unavailable(ctx.Err())
	case v := <-verdict:
		switch {
		case ended(v.Err):
			return invalid(errRevoked)
		case v.Err != nil:
			return unavailable(v.Err)
		}
		return nil
	}
}

var errNotConfirmed = errors.New("Entra has not confirmed the sign-in for too long")

// recheckGrant returns when Entra last confirmed the grant, and asks it if that is
// too long ago. It fails with errRevoked and its like if the grant has ended, and
// otherwise leaves all as it was.
func (s *Service) recheckGrant(ctx context.Context, subject Subject, id string) (time.Time, error) {
	r, err := s.live(ctx, subject, id)
	if err != nil {
		return time.Time{}, err
	}
	now := s.now().UTC()
	if now.Sub(r.Confirmed) < s.recheck {
		return r.Confirmed, nil
	}
	if now.Sub(r.Asking) < recheckClaim {
		return s.awaitConfirmation(ctx, subject, id)
	}
	r.Asking = now
	switch r, err = s.replace(ctx, r); {
	case errors.Is(err, store.ErrConflict):
		return s.awaitConfirmation(ctx, subject, id)
	case err != nil:
		return time.Time{}, err
	}
	user, err := s.unseal(ctx, r)
	if ended(err) {
		return s.refusedAtRecheck(ctx, r, err)
	}
	if err != nil {
		return time.Time{}, err
	}
	confirmed, err := s.renewUser(ctx, r, user)
	if errors.Is(err, ErrSignInOver) {
		return s.refusedAtRecheck(ctx, r, err)
	}
	if err != nil {
		return time.Time{}, err
	}
	changed := !slices.Equal(slices.Sorted(slices.Values(user.Identity.Roles)), slices.Sorted(slices.Values(confirmed.Identity.Roles)))
	return s.storeConfirmation(ctx, r, confirmed, changed)
}

// awaitConfirmation waits a moment for the instance that is asking Entra.
func (s *Service) awaitConfirmation(ctx context.Context, subject Subject, id string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return time.Time{}, errNotConfirmed
		case <-time.After(confirmationPoll):
		}
		r, err := s.live(ctx, subject, id)
		if err != nil {
			return time.Time{}, err
		}
		if s.now().Sub(r.Confirmed) < s.recheck {
			return r.Confirmed, nil
		}
	}
}

// refusedAtRecheck ends the grant, unless it has changed since r was written. If Entra
// has confirmed it meanwhile, that counts; after any other change it is not known.
func (s *Service) refusedAtRecheck(ctx context.Context, r record, cause error) (time.Time, error) {
	current, err := s.live(ctx, r.subject, r.id)
	if err != nil {
		return time.Time{}, err
	}
	switch {
	case current.Confirmed.After(r.Confirmed):
		return current.Confirmed, nil
	case current.etag != r.etag:
		return time.Time{}, errNotConfirmed
	}
	if err := s.revokeGrant(ctx, r, revocationCause{observe.RefreshRefused, refusalReason(cause)}, ""); err != nil {
		return time.Time{}, err
	}
	return time.Time{}, errRevoked
}

// storeConfirmation writes what Entra has said. Changed roles revoke the access
// tokens that carry the old ones; the client refreshes and gets the new ones.
// Neither the generation nor LastUsed changes.
func (s *Service) storeConfirmation(ctx context.Context, r record, user userData, rolesChanged bool) (time.Time, error) {
	sealed, err := s.seal(ctx, r, user)
	if err != nil {
		return time.Time{}, err
	}
	now := s.now().UTC()
	if rolesChanged {
		v := announcement{Subject: r.subject, Grant: r.id, Reason: "roles changed", IssuedBefore: now.Truncate(time.Second)}
		if err := s.announce(ctx, v); err != nil {
			return time.Time{}, err
		}
	}
	for range writeAttempts {
		next := r
		next.Sealed, next.Confirmed, next.Asking = sealed, now, time.Time{}
		if _, err = s.replace(ctx, next); err == nil {
			return now, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			break
		}
		generation := r.Generation
		if r, err = s.live(ctx, r.subject, r.id); err != nil {
			return time.Time{}, err
		}
		if r.Generation != generation {
			return r.Confirmed, nil // a rotation has asked Entra later than we did
		}
	}
	return time.Time{}, err
}
