package grants

import (
	"context"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
)

// Introspection is the answer of RFC 7662 §2.2. Who the user is stays out of it.
type Introspection struct {
	Active    bool    `json:"active"`
	Scope     string  `json:"scope,omitempty"`
	ClientID  string  `json:"client_id,omitempty"`
	TokenType string  `json:"token_type,omitempty"`
	Expires   int64   `json:"exp,omitempty"`
	IssuedAt  int64   `json:"iat,omitempty"`
	Subject   Subject `json:"sub,omitempty"`
	Audience  string  `json:"aud,omitempty"`
	Issuer    string  `json:"iss,omitempty"`
	ID        string  `json:"jti,omitempty"`
}

// Introspect says whether a token of clientID is valid now; unlike Verify it
// asks the grant itself. Everything that is not a live access or refresh token
// of this client is inactive, whatever the reason (§2.2). An error is a 503.
func (s *Service) Introspect(ctx context.Context, token, clientID string) (Introspection, error) {
	s.noteRequest()
	if err := s.ensureCurrent(ctx); err != nil {
		return Introspection{}, err
	}
	h, err := s.openLive(ctx, keyring.RefreshHandle, token)
	switch {
	case err == nil:
		return s.introspectRefresh(ctx, h, clientID)
	case oauth.ErrorCode(err) != oauth.InvalidGrant:
		return Introspection{}, err
	}
	access, err := s.parse(ctx, token)
	if err != nil {
		return Introspection{}, ignoreInvalid(err)
	}
	if access.ClientID != tokenClientID(clientID) || s.revoked.hasToken(access.GrantID, access.Issued) || !s.named(access.parties.tenant) {
		return Introspection{}, nil
	}
	if _, err := s.live(ctx, access.Subject, access.GrantID); ended(err) {
		return Introspection{}, nil
	} else if err != nil {
		return Introspection{}, err
	}
	return Introspection{
		Active: true, Scope: access.Scopes.String(), ClientID: clientID, TokenType: "Bearer",
		Expires: access.Expires.Unix(), IssuedAt: access.Issued.Unix(), Subject: access.Subject,
		Audience: string(s.resource), Issuer: s.issuer, ID: access.ID,
	}, nil
}

func (s *Service) introspectRefresh(ctx context.Context, h handle, clientID string) (Introspection, error) {
	r, err := s.live(ctx, h.subjectID(), h.grantID())
	switch {
	case ended(err):
		return Introspection{}, nil
	case err != nil:
		return Introspection{}, err
	case r.ClientID != clientID || (h.generation != r.Generation && !s.inGrace(r, h.generation)),
		r.TenantHash != "" && !s.named(r.TenantHash):
		return Introspection{}, nil
	}
	return Introspection{
		Active: true, Scope: r.Scopes.String(), ClientID: r.ClientID,
		Expires: int64(h.expires), IssuedAt: r.Created.Unix(), Subject: r.subject, Issuer: s.issuer,
	}, nil
}
