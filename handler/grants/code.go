package grants

import (
	"context"
	"errors"
	"log/slog"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

// Authorization is a finished sign-in: what the user approved, who they are, and what
// Entra gave us for them.
type Authorization struct {
	ClientID string
	// ClientName is what the client calls itself, and Verified says that the
	// name belongs to the host of its metadata document.
	ClientName  string
	Verified    bool
	RedirectURI string
	// CodeChallenge is the client's S256 code challenge. The caller decides which
	// clients may come without one.
	CodeChallenge string
	Scopes        oauth.Scopes
	Identity      Identity
	Upstream      Upstream
	// AuthorizationID ties the audit events of this authorization together.
	AuthorizationID string
}

// Create inserts a grant at generation 0 and returns its code, which can be redeemed
// within CodeLifetime. One write. If the answer of the write is lost, a row can exist
// whose code nobody has; it is swept. If Entra's tokens are too large to be stored,
// the error is a server_error.
func (s *Service) Create(ctx context.Context, a Authorization) (Code, error) {
	if a.CodeChallenge != "" && !oauth.ValidChallenge(a.CodeChallenge) {
		return Code{}, oauth.New(oauth.InvalidRequest, "The code_challenge is not an S256 challenge.")
	}
	now := s.now().UTC()
	r := record{
		subject: SubjectOf(a.Identity.TenantID, a.Identity.ObjectID), id: oauth.RandomID(),
		expires:  now.Add(CodeLifetime + margin),
		ClientID: a.ClientID, ClientName: a.ClientName, Verified: a.Verified, RedirectHost: HostOf(a.RedirectURI),
		TenantHash: partyHash(a.Identity.TenantID), Scopes: a.Scopes, Created: now, LastUsed: now, Confirmed: now,
		Code: &bindings{RedirectURI: a.RedirectURI, CodeChallenge: a.CodeChallenge},
	}
	var err error
	if r.Sealed, err = s.seal(ctx, r, userData{a.Identity, a.Upstream}); err != nil {
		return Code{}, err
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
	e := r.event(observe.SignedIn, a.Identity)
	e.AuthorizationID, e.Scopes = a.AuthorizationID, a.Scopes
	observe.Audit(ctx, s.log, e)
	return Code{secret.New(code)}, nil
}

// Unredeemed reports whether code can still be redeemed for the first time. One
// read; an error is a 503.
func (s *Service) Unredeemed(ctx context.Context, code Code) (bool, error) {
	h, err := s.openLive(ctx, keyring.CodeHandle, code.Reveal())
	if err != nil {
		return false, ignoreInvalidGrant(err)
	}
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	if ended(err) {
		return false, nil
	}
	return err == nil && r.Generation == 0, err
}

// CheckCode fails as Redeem does for a code that was not issued by this server or
// has expired. No storage I/O.
func (s *Service) CheckCode(ctx context.Context, code Code) error {
	_, err := s.openLive(ctx, keyring.CodeHandle, code.Reveal())
	return err
}

// Redemption is what a client presents together with a code.
type Redemption struct {
	ClientID string // as authenticated
	// RedirectURI is empty if the request has none, which a code with a
	// challenge allows (OAuth 2.1 §10.2).
	RedirectURI string
	Verifier    string
	// WithoutRefresh says that the client must not get a refresh token, because
	// it has not registered for that grant type.
	WithoutRefresh bool
}

var (
	errWrongClient   = errors.New("issued to another client")
	errWrongRedirect = errors.New("redirect_uri differs from the authorization request's")
	errWrongVerifier = errors.New("code_verifier does not match the code_challenge")
	errNoBindings    = errors.New("used before, and it is not known by whom")
	errReused        = errors.New("used before")
	errLost          = errors.New("the grant changed in a way no other request explains")
)

// Redeem exchanges a code for the first tokens (RFC 6749 §4.1.3, RFC 7636 §4.6):
// one read and one conditional write.
//
// A presenter who cannot prove what the code is bound to is refused and changes
// nothing, before and after redemption: somebody who has seen a code cannot end
// the sign-in of the client that can redeem it.
//
// A client that repeats a redemption within RepeatWindow, because the answer was
// lost, gets tokens of the grant's current generation. Later, until CodeLifetime
// is over, a code that its own client shows again is known to two parties, and
// the grant is revoked (OAuth 2.1 §4.1.3). After that a code has no effect. A
// code without a challenge is never repeated.
func (s *Service) Redeem(ctx context.Context, code Code, by Redemption) (Tokens, error) {
	s.noteRequest()
	h, err := s.openLive(ctx, keyring.CodeHandle, code.Reveal())
	if err != nil {
		return Tokens{}, err
	}
	if err := s.ensureCurrent(ctx); err != nil {
		return Tokens{}, err
	}
	r, err := s.liveForCode(ctx, h, by)
	if err != nil {
		return Tokens{}, err
	}
	if r.Generation > 0 {
		return s.repeatRedemption(ctx, r, by)
	}
	user, err := s.unsealFor(ctx, keyring.CodeHandle, r)
	if err != nil {
		return Tokens{}, err
	}
	next := r.advanced(s.now().UTC())
	next.expires = next.RotatedAt.Add(s.refreshLifetime)
	next.WithoutRefresh = by.WithoutRefresh || user.Upstream.RefreshToken.IsZero()
	if next.WithoutRefresh {
		next.expires = next.RotatedAt.Add(s.accessLifetime + margin)
	}
	// Everything that can fail for our own reasons comes before the write
	// that consumes the code.
	tokens, err := s.mint(ctx, next, user.Identity, next.Scopes)
	if err != nil {
		return Tokens{}, err
	}
	next, err = s.replace(ctx, next)
	switch {
	case err == nil:
		if next.WithoutRefresh && !by.WithoutRefresh {
			s.log.LogAttrs(ctx, slog.LevelWarn, "Entra gave no refresh token, so the client gets none: it has to sign in again when its access token expires",
				slog.Any("grant", next.grant(Identity{})))
		}
		tokens.Grant.etag = next.etag
		e := next.event(observe.CodeRedeemed, user.Identity)
		e.Scopes = tokens.Scopes
		observe.Audit(ctx, s.log, e)
		return tokens, nil
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		r, err := s.liveForCode(ctx, h, by)
		if err != nil {
			return Tokens{}, err
		}
		if r.Generation == 0 {
			return Tokens{}, unavailable(errLost)
		}
		return s.repeatRedemption(ctx, r, by)
	}
	return Tokens{}, unavailable(err)
}

// repeatRedemption answers a code that was redeemed before, for its own client.
func (s *Service) repeatRedemption(ctx context.Context, r record, by Redemption) (Tokens, error) {
	redeemed, known := r.rotatedAt(0)
	if !known || r.Code.CodeChallenge == "" || s.now().Sub(redeemed) > RepeatWindow {
		if err := s.revokeGrant(ctx, r, revocationCause{observe.CodeReused, "authorization code used twice"}, by.ClientID); err != nil {
			return Tokens{}, err
		}
		return Tokens{}, invalidGrant(keyring.CodeHandle, errReused)
	}
	user, err := s.unsealFor(ctx, keyring.CodeHandle, r)
	if err != nil {
		return Tokens{}, err
	}
	observe.Audit(ctx, s.log, r.event(observe.CodeRepeated, user.Identity))
	return s.mint(ctx, r, user.Identity, r.Scopes)
}

// liveForCode is the grant of a code whose bindings (client, redirect URI, verifier)
// by meets.
func (s *Service) liveForCode(ctx context.Context, h handle, by Redemption) (record, error) {
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	if ended(err) {
		return record{}, invalidGrant(keyring.CodeHandle, err)
	}
	if err != nil {
		return record{}, err
	}
	if err := r.Code.match(r, by); err != nil {
		s.log.LogAttrs(ctx, slog.LevelWarn, "code refused", slog.Any("grant", r.grant(Identity{})),
			slog.String("presented_by", by.ClientID), slog.Any("cause", err))
		return record{}, invalidGrant(keyring.CodeHandle, err)
	}
	return r, nil
}

// match compares byte by byte: OAuth 2.1 §4.1.3 asks for the redirect_uri of
// the authorization request, loopback port included.
func (b *bindings) match(r record, by Redemption) error {
	switch {
	case r.ClientID != by.ClientID:
		return errWrongClient
	case b == nil: // redeemed by a version that removes the bindings
		return errNoBindings
	case b.RedirectURI != by.RedirectURI && (by.RedirectURI != "" || b.CodeChallenge == ""):
		return errWrongRedirect
	case b.CodeChallenge == "" && by.Verifier != "":
		return errWrongVerifier // RFC 9700 §2.1.1: no downgrade
	case b.CodeChallenge != "" && !oauth.VerifierMatches(by.Verifier, b.CodeChallenge):
		return errWrongVerifier
	}
	return nil
}
