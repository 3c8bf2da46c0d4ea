package grants

import (
	"context"
	"errors"
	"strings"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Get returns a live grant with the user's identity. It fails with invalid_token
// if the grant has ended, so that a tool's caller signs in again, or with 503.
func (s *Service) Get(ctx context.Context, subject Subject, grantID string) (Grant, error) {
	r, err := s.live(ctx, subject, grantID)
	if err != nil {
		return Grant{}, invalidIfEnded(err)
	}
	user, err := s.unseal(ctx, r)
	if err != nil {
		return Grant{}, invalidIfEnded(err)
	}
	return r.grant(user.Identity), nil
}

// invalidIfEnded is invalid_token for a grant that has ended; other errors stay.
func invalidIfEnded(err error) error {
	if !ended(err) {
		return err
	}
	return oauth.New(oauth.InvalidToken, "The sign-in behind this token has ended. Sign in again.").Because(err)
}

// Upstream opens Entra's tokens as they were when g was read. No storage I/O.
func (s *Service) Upstream(ctx context.Context, g Grant) (Upstream, error) {
	user, err := s.unseal(ctx, record{subject: g.Subject, id: g.ID, Sealed: g.sealed})
	return user.Upstream, invalidIfEnded(err)
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
		return Grant{}, invalidIfEnded(err)
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
	if err := s.ensureCurrent(ctx); err != nil {
		return nil, err
	}
	var out []Grant
	err := s.eachOf(ctx, subject, func(r record) error {
		if !s.connected(r) {
			return nil
		}
		user, err := s.unseal(ctx, r)
		if ended(err) {
			return nil
		}
		out = append(out, r.grant(user.Identity))
		return err
	})
	return out, err
}

// connected reports whether r is a sign-in that can be used.
func (s *Service) connected(r record) bool {
	_, blocked := s.blocks.Load().find(r.parties(), r.Created)
	return r.Generation > 0 && r.Revoked.IsZero() && !s.revoked.has(r.id) && !s.expired(r) && !blocked
}

// eachOf calls do with every row of a user's grants, whatever its state.
func (s *Service) eachOf(ctx context.Context, subject Subject, do func(record) error) error {
	for row, err := range store.Rows(ctx, s.table, store.Partition(subject.partition())) {
		if err != nil {
			return unavailable(err)
		}
		r, err := decodeRecord(row, subject)
		if err != nil {
			return unavailable(err)
		}
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

// Disconnect ends a grant on behalf of its user. One that has ended, or never
// was, is not an error.
func (s *Service) Disconnect(ctx context.Context, subject Subject, grantID string) error {
	return s.disconnect(ctx, subject, grantID, byUser)
}

// DisconnectForUser is Disconnect by an administrator, whose caller audits who
// that was.
func (s *Service) DisconnectForUser(ctx context.Context, subject Subject, grantID string) error {
	return s.disconnect(ctx, subject, grantID, byAdministrator)
}

func (s *Service) disconnect(ctx context.Context, subject Subject, grantID string, why revocationCause) error {
	r, err := s.read(ctx, subject, grantID)
	if errors.Is(err, errNoGrant) {
		return nil
	} else if err != nil {
		return err
	}
	return s.revokeGrant(ctx, r, why, "")
}

// DisconnectAll ends all grants of a user on their behalf, and returns how many
// there were. It goes on after an error, which it returns in the end; it can be
// repeated.
func (s *Service) DisconnectAll(ctx context.Context, subject Subject) (int, error) {
	n := 0
	var failed error
	err := s.eachOf(ctx, subject, func(r record) error {
		if !r.Revoked.IsZero() {
			return nil
		}
		if err := s.revokeGrant(ctx, r, byUser, ""); err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		n++
		return nil
	})
	return n, errors.Join(err, failed)
}

// Erase ends all grants of a user and removes their rows. What was revoked stays
// announced, without the user's name, for as long as access tokens can be valid.
func (s *Service) Erase(ctx context.Context, subject Subject) error {
	if _, err := s.DisconnectAll(ctx, subject); err != nil {
		return err
	}
	var rows []store.Row
	err := s.eachOf(ctx, subject, func(r record) error {
		rows = append(rows, store.Row{Partition: subject.partition(), Key: r.id, ETag: r.etag})
		return nil
	})
	for len(rows) > 0 && err == nil {
		n := min(len(rows), store.MaxDrop)
		if _, err = s.table.Drop(ctx, rows[:n]); err != nil {
			return unavailable(err)
		}
		rows = rows[n:]
	}
	return err
}

// A Connection is a grant as an administrator sees it: without the user's name
// and tokens.
type Connection struct {
	Grant
	// Connected says that it can be used. Others were revoked, have expired or
	// were never redeemed.
	Connected bool
}

// Filter selects connections. Empty fields select all.
type Filter struct {
	TenantID string
	ClientID string
	Subject  Subject
	// UnusedSince selects what was not used since then, CreatedBefore what was
	// connected before then.
	UnusedSince, CreatedBefore time.Time
}

func (f Filter) selects(r record) bool {
	return (f.TenantID == "" || partyHash(f.TenantID) == r.TenantHash) && (f.ClientID == "" || f.ClientID == r.ClientID) &&
		(f.UnusedSince.IsZero() || r.LastUsed.Before(f.UnusedSince)) && (f.CreatedBefore.IsZero() || r.Created.Before(f.CreatedBefore))
}

// Scan returns a page of the grants that f selects, and where to go on; an empty
// cursor begins and ends. It reads the grants of all users, at most store.MaxPage
// a page, or with a Subject those of one, and a page can be empty. It is for the
// command line and for administrators, never for a request of a client.
func (s *Service) Scan(ctx context.Context, f Filter, from store.Cursor) ([]Connection, store.Cursor, error) {
	var out []Connection
	next, err := s.scan(ctx, f, from, func(r record) error {
		out = append(out, Connection{Grant: r.grant(Identity{}), Connected: s.connected(r)})
		return nil
	})
	return out, next, err
}

// DisconnectPage ends the grants of a page of Scan, and returns how many there
// were and where to go on. It can be repeated. The caller audits who did it.
func (s *Service) DisconnectPage(ctx context.Context, f Filter, from store.Cursor) (n int, next store.Cursor, err error) {
	next, err = s.scan(ctx, f, from, func(r record) error {
		if !r.Revoked.IsZero() {
			return nil
		}
		n++
		return s.revokeGrant(ctx, r, byAdministrator, "")
	})
	return n, next, err
}

func (s *Service) scan(ctx context.Context, f Filter, from store.Cursor, do func(record) error) (store.Cursor, error) {
	if err := s.ensureCurrent(ctx); err != nil {
		return "", err
	}
	span := store.Prefix(GrantPrefix)
	if f.Subject != "" {
		span = store.Partition(f.Subject.partition())
	}
	page, err := s.table.List(ctx, span, from)
	if err != nil {
		return "", unavailable(err)
	}
	for _, row := range page.Rows {
		r, err := decodeRecord(row, Subject(strings.TrimPrefix(row.Partition, GrantPrefix)))
		if err != nil {
			return "", unavailable(err)
		}
		if !f.selects(r) {
			continue
		}
		if err := do(r); err != nil {
			return "", err
		}
	}
	return page.Next, nil
}
