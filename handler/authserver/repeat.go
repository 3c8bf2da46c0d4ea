package authserver

import (
	"context"
	"net/http"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
)

// answerLifetime is how long the answer to a callback is repeated: as long as the
// code in it is valid.
const answerLifetime = grants.CodeLifetime

// defaultAnswerWaits are the pauses between looking for the answer that another
// callback is about to give: 5 s in all.
var defaultAnswerWaits = []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
	800 * time.Millisecond, 1500 * time.Millisecond, 2 * time.Second}

// errInterrupted: a sign-in was claimed and will not be answered any more.
var errInterrupted = newPageError(pages.Interrupted, oauth.InvalidRequest, "This sign-in was interrupted before it was finished.")

// repeatAnswer answers a callback whose transaction another one has claimed:
// with the answer of that one, which may take a moment.
func (s *Server) repeatAnswer(w http.ResponseWriter, r *http.Request, t transaction) {
	t, err := s.awaitAnswer(r.Context(), t)
	if err == nil {
		err = s.repeatable(r.Context(), *t.answer)
	}
	if err != nil {
		s.writeErrorPage(w, r, t.request.ClientID, err)
		return
	}
	s.writeAnswer(w, r, t, *t.answer)
}

// awaitAnswer reads t again until it is answered.
func (s *Server) awaitAnswer(ctx context.Context, t transaction) (transaction, error) {
	for _, wait := range s.answerWaits {
		if t.answer != nil {
			return t, nil
		}
		if !t.claimed.IsZero() && s.Now().Sub(t.claimed) > s.Timeout+clockSkew {
			break // the callback that claimed it would have been cut off by now
		}
		select {
		case <-ctx.Done():
			return t, storageUnavailable(ctx.Err())
		case <-time.After(wait):
		}
		found, err := s.readTransaction(ctx, t.state)
		if err != nil {
			return t, err
		}
		t = found
	}
	if t.answer == nil {
		return t, errInterrupted
	}
	return t, nil
}

// repeatable refuses an answer that is too old or has been used.
func (s *Server) repeatable(ctx context.Context, a answer) error {
	if s.Now().Sub(a.At) >= answerLifetime {
		return errNoTransaction
	}
	if a.Code == "" {
		return nil
	}
	unused, err := s.Grants.Unredeemed(ctx, grants.Code{Value: secret.New(a.Code)})
	if err == nil && !unused {
		err = errNoTransaction
	}
	return err
}
