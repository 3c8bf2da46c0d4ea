package grants

import (
	"context"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
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
	if !validChallenge(a.Challenge) {
		return "", oauth.New(oauth.InvalidRequest, "The code_challenge is not an S256 challenge.")
	}
	id, err := s.newID()
	if err != nil {
		return "", unavailable(err)
	}
	now := s.now().UTC()
	r := record{
		subject: SubjectOf(a.Identity.TenantID, a.Identity.ObjectID), id: id,
		expires:  now.Add(CodeLifetime + margin),
		ClientID: a.ClientID, Scopes: a.Scopes, Created: now, LastUsed: now,
		Code: &bindings{RedirectURI: a.RedirectURI, Challenge: a.Challenge},
	}
	if r.Sealed, err = s.seal(ctx, r, secrets{a.Identity, a.Upstream}); err != nil {
		return "", unavailable(err)
	}
	code, err := s.sealHandle(ctx, keyring.CodeHandle, r, CodeLifetime)
	if err != nil {
		return "", unavailable(err)
	}
	row, err := r.row()
	if err != nil {
		return "", err
	}
	if _, err := s.table.Insert(ctx, row); err != nil {
		return "", unavailable(err)
	}
	return Code(code), nil
}
