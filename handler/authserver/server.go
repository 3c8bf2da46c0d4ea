// Package authserver is the OAuth 2.1 authorization server that MCP clients and
// browsers use: one file for each endpoint, and one for each concept that several
// endpoints share (request, transaction, approval, form, cookies, outcome).
//
// It is a proxy: clients register here and get tokens from here, and users sign in
// at Microsoft Entra ID, where this server is the only client. The state of a
// sign-in is never only in memory. Between two requests it is, in this order, in
// the sealed form of the consent page, in a transaction row bound to the browser by
// a cookie, and in the grant.
package authserver

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/ratelimit"
	"entramcp/handler/store"
)

// Upstream is where users sign in: *entra.Client. Every error is, or is taken
// as, an *entra.Error.
type Upstream interface {
	AuthorizeURL(context.Context, entra.AuthorizeRequest) (string, error)
	// Exchange says who signed in, or fails.
	Exchange(context.Context, entra.Callback) (entra.SignIn, error)
	// FromRedirect explains the error on a callback, nil if there is none.
	FromRedirect(url.Values) *entra.Error
}

// Options are what a Server is made of. Those without a stated default are
// required.
type Options struct {
	// Issuer is PUBLIC_URL, without a trailing slash.
	Issuer   string
	Resource oauth.Resource
	// CallbackPath is REDIRECT_PATH.
	CallbackPath string

	Table    store.Table
	Ring     *keyring.Ring
	Clients  *clients.Registry
	Grants   *grants.Service
	Upstream Upstream
	// Challenges are the claims challenges that sign-ins have to meet.
	Challenges *ClaimsChallenges

	// Required scopes are granted to every client, whatever it asks for.
	// Optional ones, such as those of tools, are granted on request.
	Required, Optional oauth.Scopes
	// ScopeWords says in plain words what a scope allows, for scopes that are not
	// OpenID Connect's.
	ScopeWords map[string]string
	// Pages shows what people see. Tenant says there which accounts may sign
	// in, such as "contoso.onmicrosoft.com".
	Pages  *pages.Pages
	Tenant string
	// RememberApprovals shortens the page of a known client that the same user
	// has approved in the same browser.
	RememberApprovals bool
	// Prompt and DomainHint are those of entra.AuthorizeRequest, for users without a
	// remembered approval; they may be empty.
	Prompt, DomainHint string
	// SignIns is how many sign-ins one address may begin; the zero Limit has a
	// default. The limit of the instance cannot be set.
	SignIns ratelimit.Limit
	// ClientMetadata says that client ids may be URLs of metadata documents.
	ClientMetadata bool
	// InAzure says that a platform in front answers CORS.
	InAzure bool
	// Timeout bounds what finishing a sign-in at the callback takes, whether or
	// not the browser waits for it.
	Timeout time.Duration

	Now func() time.Time
	Log *slog.Logger
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	Options
	origin      string // of the issuer
	base        string // the issuer's path, empty or with a leading slash
	secure      bool   // the issuer is https
	startLimit  *ratelimit.Limiter
	routes      []Route
	pageSignIns map[string]PageSignIn
	// answerWaits are defaultAnswerWaits, except in tests.
	answerWaits []time.Duration
}

// Limits of approvals for one client address, which a whole office may share, and for
// all addresses at one instance. Each approval writes a row before the user has
// signed in.
var (
	approveAddress = ratelimit.Limit{PerSecond: 10, Burst: 100}
	everyAddress   = ratelimit.Limit{PerSecond: 50, Burst: 1000}
)

// New makes a Server. It does no I/O.
func New(o Options) *Server {
	if o.Prompt == "none" {
		o.Prompt = ""
	}
	scheme, rest, _ := strings.Cut(o.Issuer, "://")
	host, path, _ := strings.Cut(rest, "/")
	s := &Server{Options: o, origin: scheme + "://" + host, secure: scheme == "https", answerWaits: defaultAnswerWaits, pageSignIns: map[string]PageSignIn{}}
	if path != "" {
		s.base = "/" + path
	}
	s.startLimit = ratelimit.New(cmp.Or(o.SignIns, approveAddress), everyAddress, o.Now)
	s.routes = s.table()
	return s
}
