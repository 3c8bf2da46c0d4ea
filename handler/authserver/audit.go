package authserver

import (
	"cmp"
	"context"
	"log/slog"

	"entramcp/handler/observe"
)

// audit writes an event of req's authorization.
func (s *Server) audit(ctx context.Context, req request, e observe.Event) { audit(ctx, s.Log, req, e) }

func audit(ctx context.Context, log *slog.Logger, req request, e observe.Event) {
	p := req.parties()
	e.Client = observe.AuditClient{ID: req.ClientID, Name: req.ClientName, Host: cmp.Or(p.DocumentHost, p.RedirectHost)}
	e.AuthorizationID = req.AuthorizationID
	if e.Scopes == nil {
		e.Scopes = req.Scopes
	}
	observe.Audit(ctx, log, e)
}
