package grants

import (
	"context"
	"errors"
	"log/slog"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

// Approval is a finished sign-in: what the user approved, who they are, and what
// Entra gave us for them. Challenge is the client's S256 code challenge.
type Approval struct {
	ClientID    string
	RedirectURI string
	Challenge   string
	Scopes      oauth.Scopes
	Identity    Identity
	Upstream    Upstream
}

// Create inserts a grant at generation 0 and returns its code, which can be
// redeemed once within CodeLifetime. One write. If it fails there is no grant a
// client could reach: a row whose code nobody was given is swept.
func (s *Service) Create(ctx context.Context, a Approval) (Code, error) {
	if !oauth.ValidChallenge(a.Challenge) {
		return Code{}, oauth.New(oauth.InvalidRequest, "The code_challenge is not an S256 challenge.")
	}
	now := s.now().UTC()
	r := record{
		subject: SubjectOf(a.Identity.TenantID, a.Identity.ObjectID), id: oauth.RandomID(),
		expires:  now.Add(CodeLifetime + margin),
		ClientID: a.ClientID, Scopes: a.Scopes, Created: now, LastUsed: now,
		Code: &bindings{RedirectURI: a.RedirectURI, Challenge: a.Challenge},
	}
	var err error
	if r.Sealed, err = s.seal(ctx, r, userData{a.Identity, a.Upstream}); err != nil {
		return Code{}, unavailable(err)
	}
	code, err := s.sealHandle(ctx, keyring.CodeHandle, r, CodeLifetime)
	if err != nil {
		return Code{}, unavailable(err)
	}
	row, err := r.row()
	if err != nil {
		return Code{}, err
	}
	if _, err := s.table.Insert(ctx, row); err != nil {
		return Code{}, unavailable(err)
	}
	return Code{secret.New(code)}, nil
}

// Redemption is what a client presents together with a code.
type Redemption struct {
	ClientID    string // as authenticated
	RedirectURI string
	Verifier    string
}

var (
	errWrongClient   = errors.New("issued to another client")
	errWrongRedirect = errors.New("redirect_uri differs from the authorization request's")
	errWrongVerifier = errors.New("code_verifier does not match the code_challenge")
	errReused        = errors.New("used before")
	errLost          = errors.New("the grant changed in a way no other request explains")
)

// Redeem exchanges a code for the first tokens (RFC 6749 §4.1.3, RFC 7636 §4.6):
// one read and one conditional write, which clears what the code was bound to.
//
// A presenter who cannot prove the bindings is refused and changes nothing:
// somebody who has seen a code cannot end the sign-in of the client that can
// redeem it, and a verifier cannot be guessed. A code that was redeemed and is
// presented again is known to two parties: the grant is revoked (OAuth 2.1
// §4.1.3), and that includes the losers of a parallel redemption. After CodeLifetime a code has no effect at all, so
// one that is found in a log ends nobody's sign-in.
//
// When the outcome of the write is unknown the answer is 503. Should the write
// have happened, the client's retry is a second redemption and refused as one.
func (s *Service) Redeem(ctx context.Context, code Code, by Redemption) (Tokens, error) {
	s.noteRequest()
	h, err := s.openHandle(ctx, keyring.CodeHandle, code.Reveal())
	if err != nil {
		return Tokens{}, err
	}
	if h.expired(s.now()) {
		return Tokens{}, invalidGrant(keyring.CodeHandle, errExpired)
	}
	r, err := s.unredeemed(ctx, h, by)
	if err != nil {
		return Tokens{}, err
	}
	if err := r.Code.match(r, by); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "code refused", slog.Any("grant", r.grant(Identity{})),
			slog.String("presented_by", by.ClientID), slog.Any("cause", err))
		return Tokens{}, invalidGrant(keyring.CodeHandle, err)
	}
	user, err := s.unseal(ctx, r)
	if err != nil {
		return Tokens{}, err
	}
	now := s.now().UTC()
	r.Generation, r.Code = 1, nil
	r.LastUsed, r.RotatedAt, r.expires = now, now, now.Add(s.refreshLifetime)
	// Everything that can fail for our own reasons comes before the write
	// that consumes the code.
	tokens, err := s.mint(ctx, r, user.Identity, r.Scopes)
	if err != nil {
		return Tokens{}, err
	}
	r, err = s.replace(ctx, r)
	switch {
	case err == nil:
		tokens.Grant.etag = r.etag
		return tokens, nil
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		if _, err := s.unredeemed(ctx, h, by); err != nil {
			return Tokens{}, err
		}
		return Tokens{}, unavailable(errLost)
	}
	return Tokens{}, unavailable(err)
}

// unredeemed returns the grant while its code can be redeemed. If it was redeemed
// already, this is a replay and ends the grant.
func (s *Service) unredeemed(ctx context.Context, h handle, by Redemption) (record, error) {
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	switch {
	case ended(err):
		return record{}, invalidGrant(keyring.CodeHandle, err)
	case err != nil:
		return record{}, err
	case r.Generation == 0 && r.Code != nil:
		return r, nil
	}
	if err := s.end(ctx, r, "authorization code used twice", by.ClientID); err != nil {
		return record{}, err
	}
	return record{}, invalidGrant(keyring.CodeHandle, errReused)
}

// match compares byte by byte: OAuth 2.1 §4.1.3 asks for the redirect_uri of
// the authorization request, loopback port included.
func (b *bindings) match(r record, by Redemption) error {
	switch {
	case r.ClientID != by.ClientID:
		return errWrongClient
	case by.RedirectURI != "" && b.RedirectURI != by.RedirectURI:
		return errWrongRedirect
	case !oauth.VerifierMatches(by.Verifier, b.Challenge):
		return errWrongVerifier
	}
	return nil
}
