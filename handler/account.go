package handler

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"entramcp/handler/account"
	"entramcp/handler/authserver"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/toolkit"
)

// newAccount makes the page of connected apps. Its sign-ins start and end at the
// authorization server.
func (s *Server) newAccount(words map[string]string) *account.Account {
	const kind = "account"
	page := account.New(account.Options{
		Grants: s.grants, Ring: s.ring, Issuer: s.cfg.Issuer, Pages: s.pages, Tenant: s.cfg.Entra.TenantID,
		SignIn: func(w http.ResponseWriter, r *http.Request) {
			s.as.BeginPageSignIn(w, r, kind, authserver.PageSignInRequest{Back: account.Path})
		},
		FormToken: s.as.FormToken, CheckForm: s.as.CheckForm,
		RememberedApprovals: s.rememberedApprovals, Forget: s.forgetApprovals, Export: s.exportData,
		Erase: func(ctx context.Context, subject grants.Subject) error {
			_, err := toolkit.EraseData(ctx, s.deps.Table, subject)
			return errors.Join(err, authserver.EraseUser(ctx, s.deps.Table, subject))
		},
		Warnings: s.warnings, VerifyManager: s.verifyManager(), ScopeWords: words, Now: s.deps.Now, Log: s.deps.Log,
	})
	s.as.HandlePageSignIn(kind, func(ctx context.Context, signIn entra.SignIn, _ []byte) (authserver.PageSignInEnd, error) {
		to, cookie, err := page.Finish(ctx, signIn)
		return authserver.PageSignInEnd{To: to, Cookie: cookie}, err
	})
	return page
}

func (s *Server) rememberedApprovals(ctx context.Context, subject grants.Subject) ([]account.RememberedApproval, error) {
	list, err := s.as.RememberedApprovals(ctx, subject)
	if err != nil {
		return nil, err
	}
	out := make([]account.RememberedApproval, 0, len(list))
	for _, a := range list {
		out = append(out, account.RememberedApproval{Key: a.ID, Client: a.ClientName, Target: pages.TargetOf(a.RedirectURI).Where, Since: a.At})
	}
	return out, nil
}

// forgetApprovals removes one approval of a user, or all for an empty id.
func (s *Server) forgetApprovals(ctx context.Context, subject grants.Subject, id string) error {
	if id != "" {
		return s.as.ForgetApproval(ctx, subject, id)
	}
	list, err := s.as.RememberedApprovals(ctx, subject)
	for _, a := range list {
		err = errors.Join(err, s.as.ForgetApproval(ctx, subject, a.ID))
	}
	return err
}

// exportData is what tools keep for a user, by store and key.
func (s *Server) exportData(ctx context.Context, subject grants.Subject) (any, error) {
	all := map[string]map[string]json.RawMessage{}
	err := toolkit.EachData(ctx, s.deps.Table, subject, func(name, key string, data json.RawMessage) error {
		if all[name] == nil {
			all[name] = map[string]json.RawMessage{}
		}
		all[name][key] = data
		return nil
	})
	return all, err
}

// verifyManager admits applications with the role for managing. It needs no
// setting: nobody has the role unless an administrator assigns it.
func (s *Server) verifyManager() func(context.Context, string) (account.Manager, error) {
	policy := CallerPolicy(s.cfg)
	callers := entra.NewCallers(s.entra, entra.CallerPolicy{Audience: policy.Audience})
	return func(ctx context.Context, raw string) (account.Manager, error) {
		caller, err := callers.VerifyRole(ctx, raw, account.ManageRole)
		if refusal := (*entra.Refusal)(nil); errors.As(err, &refusal) {
			return account.Manager{}, refusal.OAuth()
		}
		if err != nil {
			return account.Manager{}, oauth.Unavailable("The token cannot be checked now. Try again.", retryAfter, err)
		}
		switch block, err := s.grants.Blocked(ctx, grants.Parties{AppID: caller.AppID, TenantID: caller.TenantID}); {
		case err != nil:
			return account.Manager{}, err
		case block != nil:
			return account.Manager{}, caller.Blocked(string(block.Kind)).OAuth()
		}
		return account.Manager{AppID: caller.AppID, TenantID: caller.TenantID}, nil
	}
}
