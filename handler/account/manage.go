package account

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"entramcp/handler/grants"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/store"
)

// manage is the page of managers. It shows the grants of one user, who
// is named by object ID.
func (a *Account) manage(w http.ResponseWriter, r *http.Request) {
	s, err := a.session(r)
	switch {
	case errors.Is(err, errNoSession):
		a.signInPage(w, r)
	case err != nil:
		a.fail(w, r, pages.NotAvailable, err)
	case !s.manages():
		a.fail(w, r, pages.NotManager, nil)
	default:
		a.showManage(w, r, s, r.URL.Query(), "")
	}
}

func (a *Account) showManage(w http.ResponseWriter, r *http.Request, s session, q url.Values, done pages.AccountDone) {
	token, err := a.FormToken(w, r, s.form())
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	page := pages.Manage{
		Base: a.path(ManagePath), Account: a.path(Path), Form: token, Done: done, Tenant: s.TenantID,
		Everywhere: a.everywhere(s.TenantID), Warnings: a.warned(r.Context(), s),
	}
	if user := q.Get("user"); user != "" {
		id, err := uuid.Parse(strings.TrimSpace(user))
		if err != nil {
			page.Mistake = pages.NotAnObjectID
		} else {
			page.User = id.String()
			list, err := a.Grants.List(r.Context(), grants.SubjectOf(s.TenantID, page.User))
			if err != nil {
				a.fail(w, r, pages.NotAvailable, err)
				return
			}
			page.Apps = a.apps(list)
		}
	}
	if page.App = strings.TrimSpace(q.Get("app")); page.App != "" {
		if page.Found, page.Next, err = a.findApps(r.Context(), s.TenantID, page.App, store.Cursor(q.Get("from"))); err != nil {
			a.fail(w, r, pages.NotAvailable, err)
			return
		}
	}
	blocks, err := a.Grants.Blocks(r.Context())
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	for _, b := range blocks {
		if b.SignedOutBefore.IsZero() && page.Everywhere {
			page.Blocks = append(page.Blocks, pages.ManageBlock{Kind: string(b.Kind), Value: b.Value, Reason: b.Reason, Since: day(b.At)})
		}
	}
	a.Pages.Render(w, http.StatusOK, page)
}

// scanPages bounds one search for an app: so many pages of grants are read.
const scanPages = 5

// findApps counts the live connections of apps whose id, name or host holds text,
// in a part of the grants. next continues with the rest; it is empty at the end.
func (a *Account) findApps(ctx context.Context, tenant, text string, from store.Cursor) (found []pages.ManageApp, next string, err error) {
	text = strings.ToLower(text)
	counts := map[string]*pages.ManageApp{}
	for range scanPages {
		page, cursor, err := a.Grants.Scan(ctx, grants.Filter{TenantID: tenant}, from)
		if err != nil {
			return nil, "", err
		}
		for _, c := range page {
			if !c.Connected || !strings.Contains(strings.ToLower(c.ClientID+"\n"+c.ClientName+"\n"+c.DocumentHost+"\n"+c.RedirectHost), text) {
				continue
			}
			if counts[c.ClientID] == nil {
				counts[c.ClientID] = &pages.ManageApp{ID: c.ClientID, Name: c.ClientName, Target: c.RedirectHost}
			}
			counts[c.ClientID].Connections++
		}
		if from = cursor; from == "" {
			break
		}
	}
	for _, app := range counts {
		found = append(found, *app)
	}
	slices.SortFunc(found, func(x, y pages.ManageApp) int { return strings.Compare(x.ID, y.ID) })
	return found, string(from), nil
}

// everywhere reports whether managers of a tenant act on the whole server: those
// of the operator's own do.
func (a *Account) everywhere(tenant string) bool {
	return a.Tenant != "" && strings.EqualFold(tenant, a.Tenant)
}

// manageForm does what a form of the page asks for.
func (a *Account) manageForm(w http.ResponseWriter, r *http.Request, s session) {
	if !s.manages() {
		a.fail(w, r, pages.NotManager, nil)
		return
	}
	f := r.PostForm
	act := action{Do: f.Get("do"), User: f.Get("user"), Grant: f.Get("grant"), Kind: grants.BlockKind(f.Get("kind")), Value: strings.TrimSpace(f.Get("value")), Reason: f.Get("reason")}
	done, err := a.act(r.Context(), s.TenantID, act)
	switch {
	case errors.Is(err, errNotAllowed):
		a.fail(w, r, pages.NotManager, err)
		return
	case errors.Is(err, errBadAction):
		a.fail(w, r, pages.UnreadableForm, err)
		return
	case err != nil:
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	e := act.event(s.TenantID)
	e.Subject, e.Tenant, e.ObjectID = string(s.subject()), s.TenantID, s.ObjectID
	observe.Audit(r.Context(), a.Log, e)
	a.showManage(w, r, s, url.Values{"user": {act.User}}, done)
}

// action is what somebody who manages does, on the page or by its automation.
type action struct {
	Do string `json:"do"`
	// User is an object ID in the tenant of the manager.
	User string `json:"user,omitempty"`
	// Grant is one of the user's.
	Grant string `json:"grant,omitempty"`
	// Kind and Value are who is blocked or unblocked.
	Kind   grants.BlockKind `json:"kind,omitempty"`
	Value  string           `json:"value,omitempty"`
	Reason string           `json:"reason,omitempty"`
}

var (
	errNotAllowed = errors.New("this affects the whole server and is only for the operator's own tenant")
	errBadAction  = errors.New("the action is incomplete: it needs do, and user, grant, or kind and value")
)

// subject is the user of tenant whom what is about, empty if it names none.
func (what action) subject(tenant string) (grants.Subject, error) {
	if what.User == "" {
		return "", nil
	}
	id, err := uuid.Parse(strings.TrimSpace(what.User))
	if err != nil {
		return "", errBadAction
	}
	return grants.SubjectOf(tenant, id.String()), nil
}

// event is the one that says what was done inside tenant; the caller adds who did
// it.
func (what action) event(tenant string) observe.Event {
	e := observe.Event{Name: observe.AdminAction, Reason: what.Do, Grant: what.Grant}
	switch what.Do {
	case "sign-out", "block", "unblock":
		e.Target = string(what.Kind) + " " + what.Value
	default:
		subject, _ := what.subject(tenant) // act has refused what is not a user
		e.Target = string(grants.BlockUser) + " " + string(subject)
	}
	switch what.Do {
	case "block", "block-user":
		e.Name, e.Reason = observe.Blocked, ""
	case "unblock", "unblock-user":
		e.Name, e.Reason = observe.Unblocked, ""
	}
	return e
}

// act does one thing inside tenant. What concerns every tenant is for the
// operator's.
func (a *Account) act(ctx context.Context, tenant string, what action) (pages.AccountDone, error) {
	subject, err := what.subject(tenant)
	if err != nil {
		return "", err
	}
	switch what.Do {
	case "disconnect":
		if subject == "" || what.Grant == "" {
			return "", errBadAction
		}
		return pages.Disconnected, a.Grants.DisconnectForUser(ctx, subject, what.Grant)
	case "sign-out-user":
		if subject == "" {
			return "", errBadAction
		}
		return pages.UserSignedOut, a.Grants.SignOut(ctx, grants.BlockUser, string(subject), what.Reason)
	case "block-user":
		if subject == "" {
			return "", errBadAction
		}
		return pages.PartyBlocked, a.Grants.Block(ctx, grants.BlockUser, string(subject), what.Reason)
	case "unblock-user":
		if subject == "" {
			return "", errBadAction
		}
		return pages.PartyUnblocked, a.Grants.Unblock(ctx, grants.BlockUser, string(subject))
	case "sign-out", "block", "unblock":
		if !a.everywhere(tenant) {
			return "", errNotAllowed
		}
		if what.Kind == "" || what.Value == "" {
			return "", errBadAction
		}
	}
	switch what.Do {
	case "sign-out":
		return pages.PartySignedOut, a.Grants.SignOut(ctx, what.Kind, what.Value, what.Reason)
	case "block":
		return pages.PartyBlocked, a.Grants.Block(ctx, what.Kind, what.Value, what.Reason)
	case "unblock":
		return pages.PartyUnblocked, a.Grants.Unblock(ctx, what.Kind, what.Value)
	}
	return "", errBadAction
}
