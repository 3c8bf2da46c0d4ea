package toolkit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/telemetry"
	"entramcp/handler/version"
)

// GrantReader reads the grant that a call belongs to; its errors are
// *oauth.Error, invalid_token if the sign-in has ended. *grants.Service is one.
type GrantReader interface {
	Get(ctx context.Context, subject grants.Subject, grantID string) (grants.Grant, error)
}

// Sealer seals what is sent through the client and comes back. *keyring.Ring is one.
type Sealer interface {
	Seal(ctx context.Context, p keyring.Purpose, ad, plaintext []byte) (string, error)
	Open(ctx context.Context, p keyring.Purpose, ad []byte, sealed string) ([]byte, error)
}

// Options are what New needs.
type Options struct {
	Catalogue Catalogue
	// Grants is where Caller.Identity reads.
	Grants GrantReader
	// Table keeps the data of users and which answers were used.
	Table store.Table
	// Sealer protects the state of questions.
	Sealer Sealer
	// API may be nil: then tools cannot call other APIs for the user.
	API OnBehalfOf
	// ConsentLink, if not nil, is the URL where a user consents to scopes of another
	// API, written in full, for the call of a grant. Without it the link is Entra's,
	// for an administrator.
	ConsentLink func(ctx context.Context, grant grants.Grant, scopes []string) (string, error)
	// GraphURL is https://graph.microsoft.com if empty; national clouds have
	// others.
	GraphURL string
	// HTTPClient calls other APIs; the default has a timeout of 8 seconds.
	HTTPClient *http.Client
	// Version comes from the build if empty.
	Version string
	// Authentication says in words how callers sign in.
	Authentication string
	// UserCalls and ToolCalls limit how often one user may call all tools
	// together, and each tool; TenantCalls how often all of one tenant together
	// may.
	UserCalls, ToolCalls, TenantCalls CallLimit
	// Deadline ends calls that take longer; zero means 10 minutes. A tool may have
	// its own.
	Deadline time.Duration
	// Telemetry may be nil.
	Telemetry *telemetry.Telemetry
	// Configure, if not nil, may change how the MCP server is made, for what a
	// catalogue cannot express.
	Configure func(*mcp.ServerOptions)
	Now       func() time.Time
	Log       *slog.Logger
}

// Server is the MCP server: stateless, one for all requests.
type Server struct {
	about          About
	authentication string
	version        string
	definitions    []*definition
	tools          []*Tool // by name, as tools/list has them
	resources      []*Resource
	prompts        []*Prompt
	hooks          []Hook
	limits         *limits
	deadline       time.Duration
	grants         GrantReader
	table          store.Table
	sealer         Sealer
	api            OnBehalfOf
	consentLink    func(context.Context, grants.Grant, []string) (string, error)
	graphURL       string
	client         *http.Client
	running        running
	lists          encodedLists
	telemetry      *telemetry.Telemetry
	mcp            *mcp.Server
	now            func() time.Time
	log            *slog.Logger
}

// listTTL is how long clients may keep a list, which changes with a deployment
// or with the caller's roles only.
const listTTL = 5 * time.Minute

const defaultDeadline = 10 * time.Minute

// New makes the server of a catalogue. It panics if the catalogue cannot work, which
// is a mistake in the program.
func New(o Options) *Server {
	s := &Server{
		about:          o.Catalogue.About,
		authentication: cmp.Or(o.Authentication, "OAuth 2.1 with Microsoft Entra ID"),
		version:        cmp.Or(o.Version, version.String()),
		deadline:       cmp.Or(o.Deadline, defaultDeadline),
		grants:         o.Grants,
		table:          o.Table,
		sealer:         o.Sealer,
		api:            o.API,
		consentLink:    o.ConsentLink,
		graphURL:       strings.TrimSuffix(cmp.Or(o.GraphURL, "https://graph.microsoft.com"), "/"),
		client:         o.HTTPClient,
		telemetry:      o.Telemetry,
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
	s.limits = newLimits(o.TenantCalls, o.UserCalls, o.ToolCalls, s.now)
	s.hooks = append(s.ownHooks(), o.Catalogue.Hooks...)
	if err := s.about.Check(); err != nil {
		panic("toolkit: " + err.Error())
	}

	options := &mcp.ServerOptions{
		Instructions: s.about.Instructions,
		Capabilities: o.Catalogue.capabilities(),
		SetCacheable: s.cacheable,
	}
	if options.Capabilities.Completions != nil {
		options.CompletionHandler = s.complete
	}
	if o.Configure != nil {
		o.Configure(options)
	}
	s.mcp = mcp.NewServer(s.about.implementation(s.version), options)
	s.register(o.Catalogue)
	s.mcp.AddReceivingMiddleware(s.recovering, s.traced, served(options), s.visible)
	return s
}

// register adds what the catalogue has. Two of one kind must not have the same name:
// one would hide the other.
func (s *Server) register(c Catalogue) {
	c.Tools, c.Resources, c.Prompts = slices.Clone(c.Tools), slices.Clone(c.Resources), slices.Clone(c.Prompts)
	names := map[string]bool{}
	add := func(d *definition) {
		if id := string(d.kind) + " " + d.name; names[id] {
			d.refuse("the name is used twice")
		} else {
			names[id] = true
		}
		s.definitions = append(s.definitions, d)
	}
	for i := range c.Tools {
		t := &c.Tools[i]
		add(&t.definition)
		s.tools = append(s.tools, t)
		s.addTool(t)
	}
	slices.SortFunc(s.tools, func(a, b *Tool) int { return strings.Compare(a.name, b.name) })
	for i := range c.Resources {
		r := &c.Resources[i]
		add(&r.definition)
		s.resources = append(s.resources, r)
		s.addResource(r)
	}
	for i := range c.Prompts {
		p := &c.Prompts[i]
		add(&p.definition)
		s.prompts = append(s.prompts, p)
		s.addPrompt(p)
	}
}

func (s *Server) addTool(t *Tool) {
	s.mcp.AddTool(t.published(), func(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		call := &Call{Kind: string(tool), Name: t.name, Arguments: req.Params.Arguments}
		result, err := s.run(ctx, &t.definition, call, req, func(c *Call) (err error) {
			c.Arguments, err = t.arguments.arguments(c.Arguments)
			return err
		}, func(ctx context.Context, c *Call) (mcp.Result, error) {
			return t.call(ctx, c.Caller, c.Arguments)
		})
		called, _ := result.(*mcp.CallToolResult)
		return called, err
	})
}

// published is the tool as tools/list has it.
func (t *Tool) published() *mcp.Tool {
	annotations := t.annotations
	annotations.Title = t.title
	published := &mcp.Tool{
		Name: t.name, Title: t.title, Description: t.description, Annotations: &annotations,
		InputSchema: encoded(t.input), Icons: t.sdkIcons(), Meta: t.meta,
	}
	if t.output != nil {
		published.OutputSchema = encoded(t.output)
	}
	return published
}

// encoded is a schema in JSON: the SDK would encode it again for every call.
func encoded(s *schema) json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // it holds nothing that cannot be encoded as JSON
	}
	return raw
}

// MCP is the SDK's server, for adding what a catalogue cannot express, before it
// serves.
func (s *Server) MCP() *mcp.Server { return s.mcp }

// ScopesFor are the scopes that a request needs, by its JSON-RPC method and, for
// tools/call, prompts/get and resources/read, the tool, prompt or URI.
func (s *Server) ScopesFor(method, name string) oauth.Scopes {
	if d := s.definitionOf(method, name); d != nil {
		return d.required
	}
	return nil
}

// definitionOf is what a request is about, or nil.
func (s *Server) definitionOf(method, name string) *definition {
	var about kind
	switch method {
	case "tools/call":
		about = tool
	case "prompts/get":
		about = prompt
	case "resources/read":
		about = resource
	default:
		return nil
	}
	for _, d := range s.definitions {
		if d.kind == about && (d.name == name && about != resource || about == resource && d.matches(name)) {
			return d
		}
	}
	return nil
}

// About is how the server presents itself.
func (s *Server) About() About { return s.about }

// describe describes the running server.
func (s *Server) describe(access *grants.Access) Description {
	revision, time := version.Commit()
	d := Description{
		Name: s.about.Name, Title: s.about.Title, Version: s.version,
		Revision: revision, RevisionTime: time,
		Authentication: s.authentication, Tools: make([]ToolDescription, 0, len(s.tools)),
	}
	for _, t := range s.tools {
		if t.shownTo(access) {
			d.Tools = append(d.Tools, t.describe())
		}
	}
	return d
}

func (t *Tool) describe() ToolDescription { return ToolDescription{t.name, t.title, t.description} }

// Open are the tools that every user may call, whatever their scopes and roles.
func (s *Server) Open() []ToolDescription {
	var open []ToolDescription
	for _, t := range s.tools {
		if t.open() {
			open = append(open, t.describe())
		}
	}
	return open
}

func (t *Tool) open() bool { return t.allowed(nil, nil) == nil }

// OpenTools are the tools that every user may call, as tools/list has them, and
// the names of the others.
func (c Catalogue) OpenTools() (open []*mcp.Tool, others []string) {
	for i := range c.Tools {
		if t := &c.Tools[i]; t.open() {
			open = append(open, t.published())
		} else {
			others = append(others, t.name)
		}
	}
	slices.SortFunc(open, func(a, b *mcp.Tool) int { return strings.Compare(a.Name, b.Name) })
	return open, others
}

// cacheable says how long clients may keep a result: lists for listTTL, resources as
// their rule KeepFor says. Nothing may be shared between users.
func (s *Server) cacheable(_ context.Context, req mcp.Request, c *mcp.Cacheable) {
	c.CacheScope, c.TTLMs = "private", int(listTTL.Milliseconds())
	read, ok := req.(*mcp.ReadResourceRequest)
	if !ok {
		return
	}
	c.TTLMs = 0
	if d := s.definitionOf("resources/read", read.Params.URI); d != nil {
		c.TTLMs = int(d.keepFor.Milliseconds())
	}
}

// traced makes a span of every request, without names that a client has invented.
func (s *Server) traced(next mcp.MethodHandler) mcp.MethodHandler {
	if s.telemetry == nil {
		return next
	}
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		o := telemetry.Operation{Method: method, Protocol: revisionOf(req)}
		if access, ok := accessOf(req); ok {
			o.Subject = string(access.Subject)
		}
		switch r := req.(type) {
		case *mcp.CallToolRequest:
			if s.definitionOf(method, r.Params.Name) != nil {
				o.Tool = r.Params.Name
			}
		case *mcp.GetPromptRequest:
			if s.definitionOf(method, r.Params.Name) != nil {
				o.Prompt = r.Params.Name
			}
		}
		if params := req.GetParams(); !reflect.ValueOf(params).IsNil() { // a request may have none
			o.TraceParent, _ = params.GetMeta()["traceparent"].(string)
		}
		ctx, end := s.telemetry.MCP(ctx, o)
		result, err := next(ctx, method, req)
		end(errorType(result, err))
		return result, err
	}
}

// errorType is "error.type" of the semantic conventions for MCP.
func errorType(result mcp.Result, err error) string {
	if protocol, ok := errors.AsType[*jsonrpc.Error](err); ok {
		return strconv.FormatInt(protocol.Code, 10)
	}
	if called, ok := result.(*mcp.CallToolResult); err == nil && ok && called.IsError {
		return "tool_error"
	}
	if err != nil {
		return strconv.Itoa(jsonrpc.CodeInternalError)
	}
	return ""
}

// recovering keeps a panic anywhere in a request from ending the process: the SDK
// runs requests on its own goroutines, which net/http's recover does not reach.
func (s *Server) recovering(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (result mcp.Result, err error) {
		defer func() {
			if p := recover(); p != nil {
				s.log.ErrorContext(ctx, "request panicked", "value", p, "stack", string(debug.Stack()))
				result, err = nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: unexpected(ctx, nil).Error()}
			}
		}()
		return next(ctx, method, req)
	}
}

// served answers methods of capabilities that the server does not have with "method
// not found", where the SDK would answer with empty lists. Without capabilities in
// its options the SDK decides which there are.
func served(o *mcp.ServerOptions) mcp.Middleware {
	has := o.Capabilities
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			area, _, _ := strings.Cut(method, "/")
			if has != nil && (area == "tools" && has.Tools == nil || area == "prompts" && has.Prompts == nil ||
				area == "resources" && has.Resources == nil || area == "completion" && has.Completions == nil ||
				area == "logging" && has.Logging == nil ||
				(method == "resources/subscribe" || method == "resources/unsubscribe") && o.SubscribeHandler == nil) {
				return nil, &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "This server does not have the method " + method + "."}
			}
			return next(ctx, method, req)
		}
	}
}

// visible leaves out of lists what the caller may not use and HideUnlessAllowed
// hides.
func (s *Server) visible(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		result, err := next(ctx, method, req)
		if err != nil || !strings.HasSuffix(method, "/list") {
			return result, err
		}
		access, _ := accessOf(req)
		type id struct {
			kind kind
			name string
		}
		hide := map[id]bool{}
		for _, d := range s.definitions {
			if !d.shownTo(access) {
				hide[id{d.kind, d.name}] = true
			}
		}
		hidden := func(k kind, name string) bool { return hide[id{k, name}] }
		switch r := result.(type) {
		case *mcp.ListToolsResult:
			r.Tools = slices.DeleteFunc(slices.Clone(r.Tools), func(t *mcp.Tool) bool { return hidden(tool, t.Name) })
		case *mcp.ListResourcesResult:
			r.Resources = slices.DeleteFunc(slices.Clone(r.Resources), func(t *mcp.Resource) bool { return hidden(resource, t.Name) })
		case *mcp.ListResourceTemplatesResult:
			r.ResourceTemplates = slices.DeleteFunc(slices.Clone(r.ResourceTemplates), func(t *mcp.ResourceTemplate) bool { return hidden(resource, t.Name) })
		case *mcp.ListPromptsResult:
			r.Prompts = slices.DeleteFunc(slices.Clone(r.Prompts), func(t *mcp.Prompt) bool { return hidden(prompt, t.Name) })
		}
		return result, nil
	}
}

// shownTo reports whether the lists for a caller contain it.
func (d *definition) shownTo(access *grants.Access) bool {
	return !d.hide || access != nil && d.allowed(access.Scopes, access.Roles) == nil
}
