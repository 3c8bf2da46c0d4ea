package toolkit

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// GrantReader reads the grant that a call belongs to; its errors are
// *oauth.Error, invalid_token if the sign-in has ended. *grants.Service is one.
type GrantReader interface {
	Get(ctx context.Context, subject grants.Subject, grantID string) (grants.Grant, error)
}

// Options are what New needs.
type Options struct {
	Catalogue Catalogue
	// Grants is where Caller.Identity reads.
	Grants GrantReader
	// API may be nil: then tools cannot call other APIs for the user.
	API OnBehalfOf
	// GraphURL is https://graph.microsoft.com if empty; national clouds have
	// others.
	GraphURL string
	// HTTPClient calls other APIs; the default gives up after 8 seconds.
	HTTPClient *http.Client
	// Version comes from the build if empty.
	Version string
	// Authentication says in words how callers sign in.
	Authentication string
	// Configure, if not nil, may change how the MCP server is made: completion,
	// subscriptions.
	Configure func(*mcp.ServerOptions)
	Now       func() time.Time
	Log       *slog.Logger
}

// Server is the MCP server: stateless, one for all requests.
type Server struct {
	about          About
	authentication string
	build          build
	tools          []Tool // by name, as tools/list has them
	grants         GrantReader
	api            OnBehalfOf
	graphURL       string
	client         *http.Client
	mcp            *mcp.Server
	now            func() time.Time
	log            *slog.Logger
}

// listTTL is how long clients may keep the list of tools, which changes with a
// deployment only.
const listTTL = 5 * time.Minute

// maxBody is the largest request body, in bytes: more is answered with 413.
const maxBody = 4 << 20

// New makes the server of a catalogue.
func New(o Options) *Server {
	info, ok := debug.ReadBuildInfo()
	s := &Server{
		about:          o.Catalogue.About,
		authentication: cmp.Or(o.Authentication, "OAuth 2.1 with Microsoft Entra ID"),
		build:          buildOf(o.Version, info, ok),
		grants:         o.Grants,
		api:            o.API,
		graphURL:       strings.TrimSuffix(cmp.Or(o.GraphURL, "https://graph.microsoft.com"), "/"),
		client:         o.HTTPClient,
		now:            o.Now,
		log:            o.Log,
	}
	if s.client == nil {
		s.client = &http.Client{Timeout: 8 * time.Second}
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.tools = slices.Clone(o.Catalogue.Tools)
	slices.SortFunc(s.tools, func(a, b Tool) int { return strings.Compare(a.definition.Name, b.definition.Name) })

	options := &mcp.ServerOptions{
		Instructions: s.about.Instructions,
		// Not nil, or the SDK advertises logging. Nothing is remembered
		// between requests, so no change of a list can be announced.
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) {
			c.CacheScope, c.TTLMs = "private", int(listTTL.Milliseconds())
		},
	}
	if o.Configure != nil {
		o.Configure(options)
	}
	s.mcp = mcp.NewServer(s.about.implementation(s.build.version), options)
	for _, t := range s.tools {
		t.register(s, t)
	}
	s.mcp.AddReceivingMiddleware(s.watch, noArguments)
	return s
}

// MCP is the SDK's server, to add resources and prompts to before it serves.
func (s *Server) MCP() *mcp.Server { return s.mcp }

// Handler serves MCP over streamable HTTP in every revision the SDK speaks,
// without sessions. It trusts that a bearer check stands in front, which also
// judges Host and Origin: behind the Functions host every connection comes from
// loopback and carries the public name, which the SDK's own check would refuse.
func (s *Server) Handler() http.Handler {
	return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return s.mcp }, &mcp.StreamableHTTPOptions{
		Stateless:                    true,
		DisableLocalhostProtection:   true,
		MaxRequestBodyBytes:          maxBody,
		PropagateRequestCancellation: true,
		Logger:                       s.log,
	})
}

// ScopesFor are the scopes that a call needs; none but tools/call needs any.
func (s *Server) ScopesFor(method, tool string) oauth.Scopes {
	if method != "tools/call" {
		return nil
	}
	i, found := slices.BinarySearchFunc(s.tools, tool, func(t Tool, name string) int { return strings.Compare(t.definition.Name, name) })
	if !found {
		return nil
	}
	return s.tools[i].required
}

// Scopes are all scopes that some tool requires or makes use of. Those of other
// APIs are left out where no token for them can be had.
func (s *Server) Scopes() oauth.Scopes {
	var all oauth.Scopes
	for _, t := range s.tools {
		all = all.Union(t.required).Union(t.optional)
		if s.api != nil {
			all = all.Union(t.api)
		}
	}
	return all
}

// ScopeWords are the scopes that some tool describes, in plain words.
func (s *Server) ScopeWords() map[string]string {
	all := map[string]string{}
	for _, t := range s.tools {
		maps.Copy(all, t.words)
	}
	return all
}

func (a About) implementation(version string) *mcp.Implementation {
	i := &mcp.Implementation{Name: cmp.Or(a.Name, "mcp"), Title: a.Title, Description: a.Description, Version: version, WebsiteURL: a.Website}
	for _, icon := range a.Icons {
		i.Icons = append(i.Icons, mcp.Icon{Source: icon.Source, MIMEType: icon.MIMEType, Sizes: icon.Sizes})
	}
	return i
}

// describe is what the running server says of itself.
func (s *Server) describe() Description {
	d := Description{
		Name: s.about.Name, Title: s.about.Title, Version: s.build.version,
		Revision: s.build.revision, RevisionTime: s.build.time,
		Authentication: s.authentication, Tools: make([]ToolDescription, 0, len(s.tools)),
	}
	for _, t := range s.tools {
		d.Tools = append(d.Tools, ToolDescription{t.definition.Name, t.definition.Description})
	}
	return d
}
