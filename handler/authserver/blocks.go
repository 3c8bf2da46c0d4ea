package authserver

import (
	"context"
	"log/slog"
	"net/http"

	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// parties are those of an authorization request who can be blocked. The host of
// a document follows from the client's id.
func (req request) parties() grants.Parties {
	return grants.Parties{ClientID: req.ClientID, DocumentHost: grants.HostOf(req.ClientID), RedirectHost: grants.HostOf(req.RedirectURI)}
}

// checkBlocks refuses a request of blocked parties. No storage I/O while the
// list is current.
func (s *Server) checkBlocks(r *http.Request, req request, p grants.Parties) error {
	block, err := s.Grants.Blocked(r.Context(), p)
	if err != nil || block == nil {
		return err
	}
	s.audit(r.Context(), req, observe.Event{Name: observe.BlockEnforced, Subject: string(p.Subject), Tenant: p.TenantID, Target: string(block.Kind)})
	return newPageError(pages.Blocked, oauth.AccessDenied, "This app, account or organization is blocked at this server.")
}

// checkClientBlock is checkBlocks for the endpoints that clients call themselves.
func (s *Server) checkClientBlock(r *http.Request, client clients.Client) error {
	req := request{ClientID: client.ID, ClientName: client.Name}
	if err := s.checkBlocks(r, req, req.parties()); err != nil {
		if oauth.ErrorCode(err) == oauth.AccessDenied {
			return oauth.New(oauth.UnauthorizedClient, "This client is blocked at this server.")
		}
		return err
	}
	return nil
}

// RegistrationCheck compares registrations with the blocks: its Check is Refuse of
// [clients.Options].
type RegistrationCheck struct {
	Grants *grants.Service
	Log    *slog.Logger
}

// Check refuses a registration for a client or a redirect host that is blocked. The
// id is empty for one that will be random.
func (c RegistrationCheck) Check(ctx context.Context, id string, redirectURIs []string) error {
	for _, uri := range redirectURIs {
		req := request{ClientID: id, RedirectURI: uri}
		switch block, err := c.Grants.Blocked(ctx, req.parties()); {
		case err != nil:
			return err
		case block != nil:
			audit(ctx, c.Log, req, observe.Event{Name: observe.BlockEnforced, Target: string(block.Kind)})
			return oauth.New(oauth.InvalidRedirectURI, "This client is blocked at this server.")
		}
	}
	return nil
}
