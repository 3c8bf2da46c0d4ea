package authserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
)

// claimsLifetime is how long a claims challenge waits for the user's next
// sign-in.
const claimsLifetime = 24 * time.Hour

// ClaimsPrefix begins the partitions of claims challenges, one for each
// subject, with a single row.
const ClaimsPrefix = "ch-"

const claimsKey = "claims"

// KeepClaimsChallenge keeps a claims challenge for the next sign-in of subject.
// Entra answers with one where a policy asks for more than the sign-in so far
// has shown, and does so again and again until a sign-in carries it.
// https://learn.microsoft.com/entra/identity-platform/claims-challenge
func (s *Server) KeepClaimsChallenge(ctx context.Context, subject grants.Subject, claims string) error {
	row := store.Row{Partition: claimsPartition(subject), Key: claimsKey,
		Expires: s.Now().UTC().Truncate(time.Second).Add(claimsLifetime)}
	sealed, err := s.Ring.Seal(ctx, keyring.Transaction, []byte(row.Partition), []byte(claims))
	if err != nil {
		return keysUnavailable(err)
	}
	row.Value = []byte(sealed)
	_, err = s.Table.Insert(ctx, row)
	if errors.Is(err, store.ErrExists) {
		err = s.overwrite(ctx, row)
	}
	if err != nil {
		return storageUnavailable(err)
	}
	return nil
}

// overwrite replaces an older challenge. One that came at the same time is as
// good as ours.
func (s *Server) overwrite(ctx context.Context, row store.Row) error {
	old, err := s.Table.Get(ctx, row.Partition, row.Key)
	if err != nil {
		return err
	}
	row.ETag = old.ETag
	if _, err = s.Table.Replace(ctx, row); errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}

// claimsChallenge is the one that subject has to meet, or empty. One that cannot
// be read counts as none: Entra repeats it.
func (s *Server) claimsChallenge(ctx context.Context, subject grants.Subject) (string, error) {
	row, err := s.Table.Get(ctx, claimsPartition(subject), claimsKey)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", storageUnavailable(err)
	}
	if !s.Now().Before(row.Expires) {
		return "", nil
	}
	claims, err := s.Ring.Open(ctx, keyring.Transaction, []byte(row.Partition), string(row.Value))
	if errors.Is(err, keyring.ErrNotOurs) {
		s.Log.WarnContext(ctx, "a claims challenge cannot be read and is taken as none", "subject", string(subject), "cause", err)
		return "", nil
	}
	if err != nil {
		return "", keysUnavailable(err)
	}
	return string(claims), nil
}

// dropClaimsChallenge removes one that was met. If that fails, the next sign-in
// takes one step more, and nothing else.
func (s *Server) dropClaimsChallenge(ctx context.Context, subject grants.Subject) {
	row, err := s.Table.Get(ctx, claimsPartition(subject), claimsKey)
	if err == nil {
		err = s.Table.Delete(ctx, row.Partition, row.Key, row.ETag)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		s.Log.WarnContext(ctx, "a claims challenge that was met is still there", "cause", err)
	}
}

// answerClaimsChallenge sends a user who has just signed in back to Entra, to
// meet claims. Only now it is known who the user is; with the session that Entra
// has, they see no more than the step that was missing.
func (s *Server) answerClaimsChallenge(r *http.Request, t transaction, claims, username string) answer {
	next := newTransaction(newState(s.Now().Add(consentLifetime)), t.request, t.browser)
	next.claims, next.loginHint, next.approver, next.remember = claims, username, t.approver, t.remember
	to, err := s.startAtEntra(r.Context(), next)
	if err != nil {
		return s.answerError(r, t, err)
	}
	return answer{To: to, Next: next.state.Reveal()}
}

func claimsPartition(subject grants.Subject) string { return ClaimsPrefix + string(subject) }
