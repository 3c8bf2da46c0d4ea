// Package connect lets a user consent to another API at the moment a tool needs it:
// Entra's incremental consent, without an administrator where the tenant allows it.
//
// Entra's consent is given to our application and not to the MCP client, so a page of
// our own first says which app wants which access. The link to that page contains
// nothing about the user and grants nothing (MCP, URL mode elicitation, "Safe URL
// handling"): the person who opens it signs in at Entra, and the consent counts only if
// that is the user whose call needed it.
package connect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
)

// Path is where the page is. It ends at donePath, or at otherPath if another user has
// signed in than the one whose call it is about.
const (
	Path      = "/connect"
	donePath  = Path + "/done"
	otherPath = Path + "/other-account"
)

// formPurpose is that of the page's form.
const formPurpose = "connect"

// linkLife is how long a link may be opened.
const linkLife = 10 * time.Minute

// Options are what New needs.
type Options struct {
	Ring *keyring.Ring
	// Grant reads the grant whose call needs the consent.
	Grant func(ctx context.Context, subject grants.Subject, id string) (grants.Grant, error)
	// SignIn continues to Entra, in answer to a form, and calls Finish with data in the
	// end. Failures lead back to the path back.
	SignIn func(w http.ResponseWriter, r *http.Request, data []byte, back string, scopes []string)
	// FormToken and CheckForm protect the page's form. Refuse shows why not.
	FormToken func(w http.ResponseWriter, r *http.Request, purpose string) (string, error)
	CheckForm func(r *http.Request, purpose, token string) error
	Refuse    func(w http.ResponseWriter, r *http.Request, err error)
	// Issuer is the server's URL.
	Issuer string
	Pages  *pages.Pages
	// ScopeWords are what scopes allow, in plain words.
	ScopeWords map[string]string
	Now        func() time.Time
	Log        *slog.Logger
}

// Connect is the page. It keeps no state.
type Connect struct{ o Options }

// New makes the page.
func New(o Options) *Connect { return &Connect{o} }

// request is what a link is about.
type request struct {
	Version int            `json:"v"`
	Subject grants.Subject `json:"sub"`
	Grant   string         `json:"gid"`
	Scopes  []string       `json:"scopes"`
	Expires time.Time      `json:"exp"`
	// AuthorizationID ties the audit events of one link together. Links of earlier versions
	// have none.
	AuthorizationID string `json:"flow,omitempty"`
}

const version = 1

// Link is the page for scopes of one API, written out as Entra wants them, that a call of
// grant needs. No storage I/O.
func (c *Connect) Link(ctx context.Context, grant grants.Grant, scopes []string) (string, error) {
	plain, err := json.Marshal(request{version, grant.Subject, grant.ID, scopes, c.o.Now().Add(linkLife), oauth.RandomID()})
	if err != nil {
		return "", err
	}
	sealed, err := c.o.Ring.Seal(ctx, keyring.ConnectLink, nil, plain)
	if err != nil {
		return "", err
	}
	return c.o.Issuer + Path + "?request=" + url.QueryEscape(sealed), nil
}

func (c *Connect) open(ctx context.Context, sealed string) (request, error) {
	var q request
	plain, err := c.o.Ring.Open(ctx, keyring.ConnectLink, nil, sealed)
	switch {
	case errors.Is(err, keyring.ErrNotOurs):
		return q, oauth.New(oauth.InvalidRequest, "The link was not made by this server. Use the tool again to get another.")
	case err != nil:
		return q, oauth.Unavailable("The link cannot be read now.", 5*time.Second, err)
	}
	if err := json.Unmarshal(plain, &q); err != nil || q.Version != version || !c.o.Now().Before(q.Expires) {
		return q, oauth.New(oauth.InvalidRequest, "The link is too old. Use the tool again to get another.")
	}
	return q, nil
}

// Routes are the page's, by pattern of http.ServeMux.
func (c *Connect) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET " + Path:      http.HandlerFunc(c.show),
		"POST " + Path:     http.HandlerFunc(c.approve),
		"GET " + donePath:  c.notice(http.StatusOK, pages.Permitted),
		"GET " + otherPath: c.notice(http.StatusForbidden, pages.OtherAccount),
	}
}

// names are the scopes without their API.
func (q request) names() []string {
	names := make([]string, 0, len(q.Scopes))
	for _, scope := range q.Scopes {
		names = append(names, scope[strings.LastIndexByte(scope, '/')+1:])
	}
	return names
}

// event is a decision about the link. Who has opened it is known only after the
// sign-in.
func (q request) event(name observe.EventName) observe.Event {
	return observe.Event{Name: name, AuthorizationID: q.AuthorizationID, Grant: q.Grant, Scopes: q.names(), Target: formPurpose}
}

// show names the app and what it wants. It writes nothing.
func (c *Connect) show(w http.ResponseWriter, r *http.Request) {
	sealed := r.URL.Query().Get("request")
	q, err := c.open(r.Context(), sealed)
	if err != nil {
		c.o.Refuse(w, r, err)
		return
	}
	grant, err := c.o.Grant(r.Context(), q.Subject, q.Grant)
	if err != nil {
		c.o.Refuse(w, r, err)
		return
	}
	form, err := c.o.FormToken(w, r, formPurpose)
	if err != nil {
		c.o.Refuse(w, r, err)
		return
	}
	event := q.event(observe.ConsentShown)
	event.Client = observe.AuditClient{ID: grant.ClientID, Name: grant.ClientName, Host: cmp.Or(grant.DocumentHost, grant.RedirectHost)}
	observe.Audit(r.Context(), c.o.Log, event)
	c.o.Pages.Render(w, http.StatusOK, pages.Connect{
		Client: grant.ClientName, Host: grant.DocumentHost, Action: Path, Request: sealed, Form: form,
		Access: pages.Permissions(q.names(), nil, c.o.ScopeWords),
	})
}

// approve continues to Entra.
func (c *Connect) approve(w http.ResponseWriter, r *http.Request) {
	sealed := r.PostFormValue("request")
	err := c.o.CheckForm(r, formPurpose, r.PostFormValue("form"))
	var q request
	if err == nil {
		q, err = c.open(r.Context(), sealed)
	}
	if err != nil {
		c.o.Refuse(w, r, err)
		return
	}
	data, err := json.Marshal(q)
	if err != nil {
		c.o.Refuse(w, r, err)
		return
	}
	observe.Audit(r.Context(), c.o.Log, q.event(observe.ConsentApproved))
	scopes := append([]string{"openid", "profile", "offline_access"}, q.Scopes...)
	c.o.SignIn(w, r, data, Path+"?request="+url.QueryEscape(sealed), scopes)
}

// Finish judges who has consented. Entra keeps the consent itself; the next call of the
// tool finds it.
func (c *Connect) Finish(ctx context.Context, signIn entra.SignIn, data []byte) (to string, err error) {
	var q request
	if err := json.Unmarshal(data, &q); err != nil {
		return "", oauth.New(oauth.ServerError, "The sign-in cannot be finished.").Because(err)
	}
	if signIn.Claims == nil || grants.SubjectOf(signIn.Claims.TenantID, signIn.Claims.ObjectID) != q.Subject {
		event := q.event(observe.SignInFailed)
		event.Reason = "another account"
		observe.Audit(ctx, c.o.Log, event)
		return otherPath, nil
	}
	event := q.event(observe.APIConsented)
	event.Subject, event.Tenant, event.ObjectID = string(q.Subject), signIn.Claims.TenantID, signIn.Claims.ObjectID
	observe.Audit(ctx, c.o.Log, event)
	return donePath, nil
}

func (c *Connect) notice(status int, words pages.Words) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.o.Pages.Render(w, status, pages.Notice{Words: words}) })
}
