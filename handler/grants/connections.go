package grants

import (
	"context"
	"errors"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Get returns a live grant with the user's identity. It fails with invalid_token
// if the grant has ended, so that a tool's caller signs in again, or with 503.
func (s *Service) Get(ctx context.Context, subject Subject, grantID string) (Grant, error) {
	r, err := s.live(ctx, subject, grantID)
	switch {
	case ended(err):
		return Grant{}, oauth.New(oauth.InvalidToken, "The sign-in behind this token has ended. Sign in again.").Because(err)
	case err != nil:
		return Grant{}, err
	}
	user, err := s.unseal(ctx, r)
	switch {
	case errors.Is(err, keyring.ErrRetired):
		return Grant{}, oauth.New(oauth.InvalidToken, "The sign-in behind this token has ended. Sign in again.").Because(err)
	case err != nil:
		return Grant{}, err
	}
	return r.grant(user.Identity), nil
}

// Upstream opens Entra's tokens as they were when g was read. No storage I/O.
func (s *Service) Upstream(ctx context.Context, g Grant) (Upstream, error) {
	user, err := s.unseal(ctx, record{subject: g.Subject, id: g.ID, Sealed: g.sealed})
	return user.Upstream, err
}

// UpdateUpstream stores tokens that were renewed outside Refresh, and returns
// the grant as it is then. If the grant has changed since g was read, that
// change stands and upstream is dropped: a rotation has brought newer tokens.
// Without a refresh token in it the one there is stays.
// Neither the generation nor LastUsed changes. It fails as Get.
func (s *Service) UpdateUpstream(ctx context.Context, g Grant, upstream Upstream) (Grant, error) {
	r, err := s.live(ctx, g.Subject, g.ID)
	switch {
	case ended(err), err == nil && r.etag != g.etag:
		return s.Get(ctx, g.Subject, g.ID)
	case err != nil:
		return Grant{}, err
	}
	user, err := s.unseal(ctx, r)
	if err != nil {
		return Grant{}, err
	}
	user.Upstream = upstream.replacing(user.Upstream)
	if r.Sealed, err = s.seal(ctx, r, user); err != nil {
		return Grant{}, err
	}
	r, err = s.replace(ctx, r)
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return s.Get(ctx, g.Subject, g.ID)
	case err != nil:
		return Grant{}, unavailable(err)
	}
	return r.grant(user.Identity), nil
}

// List returns the user's live grants: which apps are connected. It reads the
// whole of the user's partition.
func (s *Service) List(ctx context.Context, subject Subject) ([]Grant, error) {
	var out []Grant
	for cursor := store.Cursor(""); ; {
		page, err := s.table.List(ctx, store.Partition(subject.partition()), cursor)
		if err != nil {
			return nil, unavailable(err)
		}
		for _, row := range page.Rows {
			r, err := decodeRecord(row, subject)
			if err != nil {
				return nil, unavailable(err)
			}
			if r.Generation == 0 || !r.Revoked.IsZero() || s.revoked.has(r.id) || s.expired(r) {
				continue
			}
			user, err := s.unseal(ctx, r)
			if err != nil {
				return nil, err
			}
			out = append(out, r.grant(user.Identity))
		}
		if cursor = page.Next; cursor == "" {
			return out, nil
		}
	}
}

// Disconnect ends a grant on behalf of its user. One that has ended, or never
// was, is no error.
func (s *Service) Disconnect(ctx context.Context, subject Subject, grantID string) error {
	r, err := s.read(ctx, subject, grantID)
	if errors.Is(err, errNoGrant) {
		return nil
	} else if err != nil {
		return err
	}
	return s.end(ctx, r, revokedByUser, "")
}
