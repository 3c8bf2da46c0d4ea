package authserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// challengeLifetime is how long a claims challenge waits for the user's next
// sign-in.
const challengeLifetime = 24 * time.Hour

const challengeKey = "claims"

// Remember keeps a claims challenge for the next sign-in of subject. Entra
// answers with one where a policy asks for more than the sign-in so far has
// shown, and does so again and again until a sign-in carries it.
// https://learn.microsoft.com/entra/identity-platform/claims-challenge
func (s *Server) Remember(ctx context.Context, subject grants.Subject, claims string) error {
	row := store.Row{Partition: challengePartition(subject), Key: challengeKey,
		Expires: s.Now().UTC().Truncate(time.Second).Add(challengeLifetime)}
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

// pending is the claims challenge that subject has to meet, or empty.
func (s *Server) pending(ctx context.Context, subject grants.Subject) (string, error) {
	row, err := s.Table.Get(ctx, challengePartition(subject), challengeKey)
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
		return "", oauth.New(oauth.ServerError, "What the last sign-in left behind cannot be read.").Because(err)
	}
	if err != nil {
		return "", keysUnavailable(err)
	}
	return string(claims), nil
}

// forget removes a challenge that was met. If that fails, the next sign-in
// takes one step more, and nothing else.
func (s *Server) forget(ctx context.Context, subject grants.Subject) {
	row, err := s.Table.Get(ctx, challengePartition(subject), challengeKey)
	if err == nil {
		err = s.Table.Delete(ctx, row.Partition, row.Key, row.ETag)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) {
		s.Log.WarnContext(ctx, "a claims challenge that was met is still there", "cause", err)
	}
}

// again sends a user who has just signed in back to Entra, to meet claims. Only
// now it is known who the user is; with the session that Entra has, they see
// no more than the step that was missing.
func (s *Server) again(w http.ResponseWriter, r *http.Request, t transaction, claims, username string) {
	to, state, err := s.begin(r.Context(), transaction{Request: t.Request, Claims: claims, LoginHint: username})
	if err == nil {
		err = s.bind(w, r, state)
	}
	if err != nil {
		s.refuse(w, r, t.Request, err)
		return
	}
	s.redirect(w, r, t.Request, to)
}

// ChallengePrefix begins the partitions of claims challenges, one for each user.
const ChallengePrefix = "ch-"

func challengePartition(subject grants.Subject) string { return ChallengePrefix + string(subject) }
