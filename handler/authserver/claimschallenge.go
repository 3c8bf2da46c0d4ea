package authserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

// claimsLifetime is how long a claims challenge waits for the user's next
// sign-in.
const claimsLifetime = 24 * time.Hour

// ClaimsPrefix begins the partitions of claims challenges, one for each
// subject, with a single row.
const ClaimsPrefix = "ch-"

const claimsKey = "claims"

// claimsChallenge is the value of the claims parameter that a sign-in has to
// carry to Entra.
type claimsChallenge struct{ secret.Value }

// ClaimsChallenges keeps Entra's claims challenges until the next sign-in of
// their users. Entra answers with one where a policy asks for more than the
// sign-in so far has shown, and does so again and again until a sign-in carries
// it. It is safe for concurrent use.
// https://learn.microsoft.com/entra/identity-platform/claims-challenge
type ClaimsChallenges struct {
	Table store.Table
	Ring  *keyring.Ring
	Now   func() time.Time
	Log   *slog.Logger
}

// Keep stores claims for the next sign-in of subject, instead of what was
// kept before. An error is a 503.
func (c *ClaimsChallenges) Keep(ctx context.Context, subject grants.Subject, claims string) error {
	row := store.Row{Partition: claimsPartition(subject), Key: claimsKey,
		Expires: c.Now().UTC().Truncate(time.Second).Add(claimsLifetime)}
	sealed, err := c.Ring.Seal(ctx, keyring.ClaimsChallenge, []byte(row.Partition), []byte(claims))
	if err != nil {
		return keysUnavailable(err)
	}
	row.Value = []byte(sealed)
	if err := insertOrReplace(ctx, c.Table, row); err != nil {
		return storageUnavailable(err)
	}
	return nil
}

// read is the one that subject has to meet, or zero. One that cannot be read
// counts as none: Entra repeats it.
func (c *ClaimsChallenges) read(ctx context.Context, subject grants.Subject) (claimsChallenge, error) {
	row, err := c.Table.Get(ctx, claimsPartition(subject), claimsKey)
	if errors.Is(err, store.ErrNotFound) {
		return claimsChallenge{}, nil
	}
	if err != nil {
		return claimsChallenge{}, storageUnavailable(err)
	}
	if !c.Now().Before(row.Expires) {
		return claimsChallenge{}, nil
	}
	claims, err := c.open(ctx, row)
	if errors.Is(err, keyring.ErrNotOurs) {
		c.Log.WarnContext(ctx, "a claims challenge cannot be read and is ignored", "subject", string(subject), "cause", err)
		return claimsChallenge{}, nil
	}
	if err != nil {
		return claimsChallenge{}, keysUnavailable(err)
	}
	return claimsChallenge{secret.New(string(claims))}, nil
}

// open also reads what an earlier version has sealed, under the purpose of
// transactions. Such a version takes what this one has sealed as none.
func (c *ClaimsChallenges) open(ctx context.Context, row store.Row) ([]byte, error) {
	claims, err := c.Ring.Open(ctx, keyring.ClaimsChallenge, []byte(row.Partition), string(row.Value))
	if errors.Is(err, keyring.ErrNotOurs) {
		return c.Ring.Open(ctx, keyring.Transaction, []byte(row.Partition), string(row.Value))
	}
	return claims, err
}

// remove removes one that was met. If that fails, the next sign-in takes one
// step more, and nothing else.
func (c *ClaimsChallenges) remove(ctx context.Context, subject grants.Subject) {
	row, err := c.Table.Get(ctx, claimsPartition(subject), claimsKey)
	if err == nil {
		err = c.Table.Delete(ctx, row.Partition, row.Key, row.ETag)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		c.Log.WarnContext(ctx, "a claims challenge that was met could not be deleted", "cause", err)
	}
}

// answerClaimsChallenge sends a user who has just signed in back to Entra, to
// meet claims. Only now it is known who the user is; with the session that Entra
// has, they see no more than the step that was missing.
func (s *Server) answerClaimsChallenge(r *http.Request, t transaction, claims claimsChallenge, username string) answer {
	next := newTransaction(newState(s.Now().Add(consentLifetime)), t.request, t.browser)
	next.claims, next.loginHint, next.approver, next.remember = claims, username, t.approver, t.remember
	to, err := s.startAtEntra(r.Context(), next)
	if err != nil {
		return s.answerError(r, t, err)
	}
	return answer{To: to, Next: next.state.Reveal()}
}

func claimsPartition(subject grants.Subject) string { return ClaimsPrefix + string(subject) }

// insertOrReplace writes row whatever was there before. One that comes at the
// same time is as good as ours.
func insertOrReplace(ctx context.Context, table store.Table, row store.Row) error {
	_, err := table.Insert(ctx, row)
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	old, err := table.Get(ctx, row.Partition, row.Key)
	if err != nil {
		return err
	}
	row.ETag = old.ETag
	if _, err = table.Replace(ctx, row); errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
