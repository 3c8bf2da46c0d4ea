// Package account serves the pages on which users see and disconnect their
// connected apps. Users with the app role Mcp.Connections.Manage do the same for
// the users of their tenant. The pages have a sign-in and a short session of their
// own: no token of an MCP client is accepted.
package account

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/pages"
	"entramcp/handler/warnings"
)

const (
	// Path is the page of the user, below PUBLIC_URL.
	Path = "/account"
	// ManagePath is the page of managers, and the endpoint of their
	// automation.
	ManagePath = "/account/manage"
	// ManageRole is the app role of managers of connections.
	ManageRole = grants.ManageRole
	// sessionLifetime is how long a sign-in to these pages lasts.
	sessionLifetime = 20 * time.Minute
	// maxForm is the largest form in bytes.
	maxForm = 16 << 10
	// retryAfter is the Retry-After of answers with status 503.
	retryAfter = 5 * time.Second
)

// Options are what New needs.
type Options struct {
	Grants *grants.Service
	Ring   *keyring.Ring
	// Issuer is PUBLIC_URL.
	Issuer string
	Pages  *pages.Pages
	// Tenant is the operator's own tenant: managers from there may
	// block apps for the whole server. It is empty where there is none.
	Tenant string
	// SignIn starts a sign-in whose result is given to Finish.
	SignIn func(http.ResponseWriter, *http.Request)
	// FormToken is what a form of a purpose carries, and CheckForm refuses one
	// that does not come from our page in this browser.
	FormToken func(w http.ResponseWriter, r *http.Request, purpose string) (string, error)
	CheckForm func(r *http.Request, purpose, token string) error
	// RememberedApprovals lists the approvals of a user that are remembered, and Forget
	// removes one by its key.
	RememberedApprovals func(context.Context, grants.Subject) ([]RememberedApproval, error)
	Forget              func(ctx context.Context, subject grants.Subject, key string) error
	// Export is what tools keep for a user. Erase removes that, and what sign-ins have
	// left: approvals and claims challenges.
	Export func(context.Context, grants.Subject) (any, error)
	Erase  func(context.Context, grants.Subject) error
	// VerifyRole verifies a token that Entra issued to an application with an app role;
	// see entra.Callers.
	VerifyRole func(ctx context.Context, raw, role string) (entra.Caller, error)
	// Warnings are what those of the operator's own tenant who manage should
	// know, such as a secret that ends.
	Warnings   func(context.Context) []warnings.Warning
	ScopeWords map[string]string
	Now        func() time.Time
	Log        *slog.Logger
}

// RememberedApproval is a consent that is remembered.
type RememberedApproval struct {
	Key, Client, Target string
	Since               time.Time
}

// Account serves the pages.
type Account struct {
	Options
	secure bool
	base   string // the path of PUBLIC_URL
}

// New makes an Account. It does no I/O.
func New(o Options) *Account {
	a := &Account{Options: o, secure: strings.HasPrefix(o.Issuer, "https:")}
	if u, err := url.Parse(o.Issuer); err == nil {
		a.base = u.Path
	}
	return a
}

// path is a path as browsers see it, below that of PUBLIC_URL.
func (a *Account) path(path string) string { return a.base + path }

// Routes are the pages and forms by pattern of net/http.
func (a *Account) Routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET " + Path:                  a.show,
		"POST " + Path + "/sign-in":    a.signIn,
		"POST " + Path + "/sign-out":   a.onForm(a.signOut),
		"POST " + Path + "/disconnect": a.onForm(a.disconnect),
		"POST " + Path + "/forget":     a.onForm(a.forget),
		"POST " + Path + "/export":     a.onForm(a.export),
		"POST " + Path + "/erase":      a.onForm(a.erase),
		"GET " + ManagePath:            a.manage,
		"POST " + ManagePath:           a.onForm(a.manageForm),
		"POST " + ManagePath + "/api":  a.automate,
	}
}

// session is who has signed in to these pages, sealed in a cookie.
type session struct {
	Version  int       `json:"v"`
	TenantID string    `json:"tid"`
	ObjectID string    `json:"oid"`
	Name     string    `json:"name,omitempty"`
	Username string    `json:"username,omitempty"`
	Roles    []string  `json:"roles,omitempty"`
	Expires  time.Time `json:"expires"`
}

func (s session) subject() grants.Subject { return grants.SubjectOf(s.TenantID, s.ObjectID) }

// form is the purpose of the forms of the session: they are its user's alone.
func (s session) form() string { return "account " + string(s.subject()) }

func (s session) manages() bool { return slices.Contains(s.Roles, ManageRole) }

// warned is what s should know of the server, if s is a manager.
func (a *Account) warned(ctx context.Context, s session) []pages.Warning {
	if a.Warnings == nil || !s.manages() || !a.everywhere(s.TenantID) {
		return nil
	}
	var shown []pages.Warning
	for _, w := range a.Warnings(ctx) {
		shown = append(shown, pages.Warning{Summary: w.Summary, Fix: w.Fix})
	}
	return shown
}

// cookieName has __Host- over https, as those of the sign-in have.
func (a *Account) cookieName() string {
	if a.secure {
		return "__Host-mcp-account"
	}
	return "mcp-account"
}

// cookie is Lax, because the browser comes here from Entra.
func (a *Account) cookie(value string, maxAge time.Duration) *http.Cookie {
	seconds := int(maxAge.Seconds())
	if maxAge <= 0 {
		seconds = -1
	}
	return &http.Cookie{Name: a.cookieName(), Value: value, Path: "/", MaxAge: seconds, Secure: a.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// Finish makes the session of a verified sign-in: the cookie to set, and where
// the browser goes.
func (a *Account) Finish(ctx context.Context, signIn entra.SignIn) (to string, cookie *http.Cookie, err error) {
	c := signIn.Claims
	if c == nil {
		return "", nil, oauth.New(oauth.ServerError, "The sign-in does not say who signed in.")
	}
	s := session{
		Version: 1, TenantID: c.TenantID, ObjectID: c.ObjectID, Name: c.Name, Username: c.Username, Roles: c.Roles,
		Expires: a.Now().Add(sessionLifetime).UTC(),
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return "", nil, err
	}
	sealed, err := a.Ring.Seal(ctx, keyring.AccountSession, nil, plain)
	if err != nil {
		return "", nil, err
	}
	a.audit(ctx, s, observe.AccountSignedIn)
	return Path, a.cookie(sealed, sessionLifetime), nil
}

var errNoSession = errors.New("no session")

// session reads the cookie. It fails with errNoSession for what is not a live
// session of ours, or one whose user was blocked or signed out since.
func (a *Account) session(r *http.Request) (session, error) {
	c, err := r.Cookie(a.cookieName())
	if err != nil {
		return session{}, errNoSession
	}
	plain, err := a.Ring.Open(r.Context(), keyring.AccountSession, nil, c.Value)
	if errors.Is(err, keyring.ErrNotOurs) {
		return session{}, errNoSession
	}
	if err != nil {
		return session{}, oauth.Unavailable("The server cannot reach its keys.", retryAfter, err)
	}
	var s session
	if err := json.Unmarshal(plain, &s); err != nil || !a.Now().Before(s.Expires) {
		return session{}, errNoSession
	}
	block, err := a.Grants.Blocked(r.Context(), grants.Parties{Subject: s.subject(), TenantID: s.TenantID, Granted: s.Expires.Add(-sessionLifetime)})
	if err != nil {
		return session{}, err
	}
	if block != nil {
		return session{}, errNoSession
	}
	return s, nil
}

// onForm admits a form that a page of this session sent.
func (a *Account) onForm(do func(http.ResponseWriter, *http.Request, session)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := a.session(r)
		if errors.Is(err, errNoSession) {
			a.signInPage(w, r)
			return
		}
		if err != nil {
			a.fail(w, r, pages.NotAvailable, err)
			return
		}
		if err := a.readForm(w, r, s.form()); err != nil {
			a.fail(w, r, pages.UnreadableForm, err)
			return
		}
		do(w, r, s)
	}
}

func (a *Account) readForm(w http.ResponseWriter, r *http.Request, purpose string) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return err
	}
	return a.CheckForm(r, purpose, r.PostForm.Get("form"))
}

// signInForm is the purpose of the form that begins a sign-in to these pages.
const signInForm = "account sign-in"

// signIn goes to Entra. The form needs no session: there is none yet.
func (a *Account) signIn(w http.ResponseWriter, r *http.Request) {
	if err := a.readForm(w, r, signInForm); err != nil {
		a.fail(w, r, pages.UnreadableForm, err)
		return
	}
	a.SignIn(w, r)
}

func (a *Account) signOut(w http.ResponseWriter, r *http.Request, _ session) {
	http.SetCookie(w, a.cookie("", 0))
	a.signInPage(w, r)
}

func (a *Account) signInPage(w http.ResponseWriter, r *http.Request) {
	token, err := a.FormToken(w, r, signInForm)
	if err != nil {
		a.fail(w, r, pages.NotAvailable, err)
		return
	}
	a.Pages.Render(w, http.StatusOK, pages.AccountSignIn{Action: a.path(Path + "/sign-in"), Form: token})
}

// fail shows why a page cannot be shown, and writes the cause to the log.
func (a *Account) fail(w http.ResponseWriter, r *http.Request, problem pages.Problem, cause error) {
	status := http.StatusBadRequest
	level := slog.LevelInfo
	if problem == pages.NotAvailable {
		status, level = http.StatusServiceUnavailable, slog.LevelError
		oauth.SetRetryAfter(w.Header(), retryAfter)
	}
	a.Log.LogAttrs(r.Context(), level, "account page refused", slog.String("problem", string(problem)), slog.Any("cause", cause))
	words := pages.WordsFor(problem)
	words.NextStep = pages.OpenAccountAgain
	a.Pages.Render(w, status, pages.NewErrorPage(words, observe.CorrelationID(r.Context()), a.Now()))
}
