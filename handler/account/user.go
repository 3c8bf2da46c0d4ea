package account

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// show is the page of the user.
func (a *Account) show(w http.ResponseWriter, r *http.Request) {
	s, err := a.session(r)
	switch {
	case errors.Is(err, errNoSession):
		a.signInPage(w, r)
	case err != nil:
		a.fail(w, r, pages.NotAvailable, err)
	default:
		a.showTo(w, r, s, "")
	}
}

// showTo shows the page with a line about what was just done.
func (a *Account) showTo(w http.ResponseWriter, r *http.Request, s session, done pages.AccountDone) {
	list, err := a.Grants.List(r.Context(), s.subject())
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	token, err := a.FormToken(w, r, s.form())
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	page := pages.Account{
		Name: s.Name, Username: s.Username, Base: a.path(Path), Form: token, Done: done,
		Apps: a.apps(list), Warnings: a.warned(r.Context(), s),
	}
	if s.manages() {
		page.Manage = a.path(ManagePath)
	}
	if a.RememberedApprovals != nil {
		approvals, err := a.RememberedApprovals(r.Context(), s.subject())
		if err != nil {
			a.fail(w, r, pages.NotAvailable, err)
			return
		}
		for _, p := range approvals {
			page.Approvals = append(page.Approvals, pages.AccountApproval{Key: p.Key, Client: p.Client, Target: p.Target, Since: day(p.Since)})
		}
	}
	a.Pages.Render(w, http.StatusOK, page)
}

// apps are the grants, most recently used first.
func (a *Account) apps(list []grants.Grant) []pages.AccountApp {
	slices.SortFunc(list, func(x, y grants.Grant) int { return y.LastUsed.Compare(x.LastUsed) })
	apps := make([]pages.AccountApp, 0, len(list))
	for _, g := range list {
		apps = append(apps, pages.AccountApp{
			ID: g.ID, Subject: string(g.Subject), Name: g.ClientName, Host: g.DocumentHost, Verified: g.Verified, Target: g.RedirectHost,
			Scopes: pages.Permissions(g.Scopes, nil, a.ScopeWords), Connected: day(g.Created), Used: day(g.LastUsed),
		})
	}
	return apps
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// disconnect ends one grant of the user's, or all.
func (a *Account) disconnect(w http.ResponseWriter, r *http.Request, s session) {
	var err error
	if r.PostForm.Get("grant") == "all" {
		_, err = a.Grants.DisconnectAll(r.Context(), s.subject())
	} else {
		err = a.Grants.Disconnect(r.Context(), s.subject(), r.PostForm.Get("grant"))
	}
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	a.showTo(w, r, s, pages.Disconnected)
}

// forget removes a remembered approval: the app is asked about in full again.
func (a *Account) forget(w http.ResponseWriter, r *http.Request, s session) {
	key := r.PostForm.Get("approval")
	if key == "" {
		a.fail(w, r, pages.UnreadableForm, errors.New("the form names no approval"))
		return
	}
	if err := a.Forget(r.Context(), s.subject(), key); err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	a.audit(r.Context(), s, observe.ApprovalForgotten)
	a.showTo(w, r, s, pages.Forgotten)
}

// exported is all that is kept about a user, as they can have it. Tokens are not
// in it: they are not about the user, and anybody who has them can act as the user.
type exported struct {
	TenantID  string               `json:"tenant_id"`
	ObjectID  string               `json:"object_id"`
	Name      string               `json:"name,omitempty"`
	Username  string               `json:"username,omitempty"`
	Apps      []exportedApp        `json:"connected_apps"`
	Approvals []RememberedApproval `json:"remembered_approvals"`
	Tools     any                  `json:"tools"`
}

type exportedApp struct {
	Grant        string    `json:"grant"`
	ClientID     string    `json:"client_id"`
	Name         string    `json:"name,omitempty"`
	RedirectHost string    `json:"redirect_host,omitempty"`
	Scopes       []string  `json:"scopes"`
	Connected    time.Time `json:"connected"`
	LastUsed     time.Time `json:"last_used"`
}

func (a *Account) export(w http.ResponseWriter, r *http.Request, s session) {
	out := exported{TenantID: s.TenantID, ObjectID: s.ObjectID, Name: s.Name, Username: s.Username, Apps: []exportedApp{}, Approvals: []RememberedApproval{}}
	list, err := a.Grants.List(r.Context(), s.subject())
	for _, g := range list {
		out.Apps = append(out.Apps, exportedApp{g.ID, g.ClientID, g.ClientName, g.RedirectHost, g.Scopes, g.Created, g.LastUsed})
	}
	if err == nil && a.RememberedApprovals != nil {
		out.Approvals, err = a.RememberedApprovals(r.Context(), s.subject())
	}
	if err == nil && a.Export != nil {
		out.Tools, err = a.Export(r.Context(), s.subject())
	}
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="connected-apps.json"`)
	h.Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(out)
}

// erase removes all that is kept about the user, and signs them out of these
// pages. Grants end first: if a later part fails, no app keeps its access, and the
// user can try again.
func (a *Account) erase(w http.ResponseWriter, r *http.Request, s session) {
	if r.PostForm.Get("sure") != "yes" {
		a.Pages.Render(w, http.StatusOK, pages.AccountErase{Base: a.path(Path), Form: r.PostForm.Get("form")})
		return
	}
	ctx, subject := r.Context(), s.subject()
	err := a.Grants.Erase(ctx, subject)
	if err == nil && a.Erase != nil {
		err = a.Erase(ctx, subject)
	}
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	a.audit(ctx, s, observe.DataErased)
	http.SetCookie(w, a.cookie("", 0))
	a.Pages.Render(w, http.StatusOK, pages.Notice{Words: pages.Erased})
}

// audit notes what the user of s did.
func (a *Account) audit(ctx context.Context, s session, name observe.EventName) {
	observe.Audit(ctx, a.Log, observe.Event{Name: name, Subject: string(s.subject()), Tenant: s.TenantID, ObjectID: s.ObjectID})
}
