package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
	"entramcp/handler/mcphttp"
	"entramcp/handler/observe"
)

// Call is one use of a tool, a resource or a prompt, for hooks.
type Call struct {
	// Kind is "tool", "resource", "prompt" or "completion", which lists values of an
	// argument of a resource template or a prompt.
	Kind string
	// Name is that of the definition, URI that of a resource.
	Name, URI string
	// Arguments are checked and complete, as a JSON object.
	Arguments json.RawMessage
	Caller    *Caller
}

// Hook checks calls and their results: for a policy, the prevention of data loss,
// metering, a budget. Before and After may be nil.
//
// An error refuses the call: the caller gets the message of Fail, or of the error
// itself, with a reference for the operator. A panic refuses the call, too.
type Hook struct {
	// Name is in the audit trail as the reason of a refusal: a few fixed letters.
	Name string
	// Before runs before the function, in the order of the catalogue.
	Before func(ctx context.Context, call *Call) error
	// After runs after the function, in the opposite order, if Before let the call
	// pass. result is what is sent: *mcp.CallToolResult, *mcp.ReadResourceResult,
	// *mcp.GetPromptResult or *mcp.CompleteResult. If the function failed, failed is
	// its error and result is nil.
	After func(ctx context.Context, call *Call, result mcp.Result, failed error) error
}

// refusal is the error of a hook.
type refusal struct {
	hook string
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// run runs the function of every definition: it finds the caller, runs the hooks,
// sets the deadline, recovers from a panic, and writes one audit event.
func (s *Server) run(ctx context.Context, d *definition, call *Call, req mcp.Request, prepare func(*Call) error, invoke func(context.Context, *Call) (mcp.Result, error)) (mcp.Result, error) {
	caller, ok := s.callerOf(d, req)
	if !ok {
		return s.answerTo(ctx, d, Fail("Nobody is signed in.", nil))
	}
	caller.prepare = prepare
	call.Caller = caller
	start := s.now()
	limit := d.deadline
	if limit == 0 {
		limit = s.deadline
	}
	ctx, stop := s.bounded(ctx, caller, limit)
	defer stop()

	result, err := s.throughHooks(ctx, call, func(ctx context.Context) (mcp.Result, error) {
		result, err := protected(ctx, caller, func() (mcp.Result, error) { return invoke(ctx, call) })
		if err == nil {
			err = s.bound(d, result)
		}
		if err != nil && errors.Is(context.Cause(ctx), errDeadline) {
			err = Fail(fmt.Sprintf("This took longer than %s and was stopped.", limit), err)
		}
		return result, err
	})
	if err != nil {
		var asked mcp.Result
		if asked, err = s.answerQuestion(ctx, call, err); err == nil {
			result = asked
		}
	}
	s.audit(ctx, call, result, err, s.now().Sub(start))
	if err == nil {
		return result, nil
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		if ref := reference(ctx); ref != "" && !ownHook(r.hook) {
			err = Fail(Explain(err)+ref, cause(err))
		}
	}
	return s.answerTo(ctx, d, err)
}

// bounded ends with the deadline or, in earlier revisions, with the notification
// that cancels the call.
func (s *Server) bounded(ctx context.Context, caller *Caller, limit time.Duration) (context.Context, func()) {
	ctx, timeout := context.WithTimeoutCause(ctx, limit, errDeadline)
	id := mcphttp.RequestID(ctx)
	if id == "" {
		return ctx, timeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	remove := s.running.add(runKey(caller.access), id, cancel)
	return ctx, func() {
		remove()
		cancel(nil)
		timeout()
	}
}

// runKey is the sign-in whose notifications cancel a call.
func runKey(access *grants.Access) string {
	if access.GrantID != "" {
		return access.GrantID
	}
	return string(access.Subject) + " " + access.ClientID
}

var errDeadline = errors.New("the deadline of the call is over")

// throughHooks runs the function between the hooks.
func (s *Server) throughHooks(ctx context.Context, call *Call, function func(context.Context) (mcp.Result, error)) (mcp.Result, error) {
	for _, h := range s.hooks {
		if h.Before == nil {
			continue
		}
		if err := guarded(ctx, call.Caller, func() error { return h.Before(ctx, call) }); err != nil {
			return nil, &refusal{h.Name, err}
		}
	}
	result, err := function(ctx)
	if asks(err) {
		return nil, err // nothing has been done yet, and nothing goes out
	}
	for _, hook := range slices.Backward(s.hooks) {
		if hook.After == nil {
			continue
		}
		if refused := guarded(ctx, call.Caller, func() error { return hook.After(ctx, call, result, err) }); refused != nil {
			return nil, &refusal{hook.Name, refused}
		}
	}
	return result, err
}

// The hooks of this package, by their reason in the audit trail.
const (
	hookAccess    = "scope or role"
	hookArguments = "arguments"
	hookLimit     = "limit"
)

// ownHooks come before those of the catalogue.
func (s *Server) ownHooks() []Hook {
	return []Hook{
		{Name: hookAccess, Before: func(_ context.Context, c *Call) error {
			return c.Caller.definition.allowed(c.Caller.Scopes, c.Caller.Roles)
		}},
		{Name: hookArguments, Before: func(_ context.Context, c *Call) error {
			err := c.Caller.prepare(c)
			c.Caller.arguments = c.Arguments
			return err
		}},
		{Name: hookLimit, Before: s.limits.take},
	}
}

func ownHook(name string) bool {
	return name == hookAccess || name == hookArguments || name == hookLimit
}

// protected keeps a panic of the function from ending the process: the SDK runs
// requests on its own goroutines, which net/http's recover does not reach.
func protected(ctx context.Context, caller *Caller, function func() (mcp.Result, error)) (result mcp.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			caller.Log.ErrorContext(ctx, "panic", "value", p, "stack", string(debug.Stack()))
			result, err = nil, unexpected(ctx, nil)
		}
	}()
	return function()
}

func guarded(ctx context.Context, caller *Caller, hook func() error) error {
	_, err := protected(ctx, caller, func() (mcp.Result, error) { return nil, hook() })
	return err
}

// maxResult is the largest result in bytes of JSON, unless MaxResult says otherwise.
// Clients cut or refuse much smaller ones.
const maxResult = 1 << 20

func (s *Server) bound(d *definition, result mcp.Result) error {
	limit := d.maxResult
	if limit == 0 {
		limit = maxResult
	}
	if n := sizeOf(result); n > limit {
		return Fail(fmt.Sprintf("The answer has %d bytes, more than the %d that are allowed. Ask for less.", n, limit), nil)
	}
	return nil
}

// sizeOf is about how many bytes result has in JSON.
func sizeOf(result mcp.Result) int {
	n := 0
	content := func(c mcp.Content) {
		switch c := c.(type) {
		case *mcp.TextContent:
			n += len(c.Text)
		case *mcp.ImageContent:
			n += len(c.Data) / 3 * 4
		case *mcp.AudioContent:
			n += len(c.Data) / 3 * 4
		case *mcp.EmbeddedResource:
			if c.Resource != nil {
				n += len(c.Resource.Text) + len(c.Resource.Blob)/3*4
			}
		}
	}
	switch r := result.(type) {
	case *mcp.CallToolResult:
		for _, c := range r.Content {
			content(c)
		}
		if raw, ok := r.StructuredContent.(json.RawMessage); ok {
			n += len(raw)
		}
	case *mcp.ReadResourceResult:
		for _, c := range r.Contents {
			n += len(c.Text) + len(c.Blob)/3*4
		}
	case *mcp.GetPromptResult:
		for _, m := range r.Messages {
			content(m.Content)
		}
	}
	return n
}

// audit writes the one event of a call.
func (s *Server) audit(ctx context.Context, call *Call, result mcp.Result, err error, took time.Duration) {
	e := observe.Event{
		Name: observe.ToolCalled, Client: observe.AuditClient{ID: call.Caller.ClientID}, Grant: call.Caller.GrantID,
		Subject: string(call.Caller.Subject), Tenant: call.Caller.TenantID, Tool: call.Caller.definition.name, Took: took,
	}
	if call.Kind != string(tool) {
		e.Target = call.Kind
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		e.Name, e.Reason = observe.ToolRefused, r.hook
	} else if err != nil {
		e.Reason = "error"
		if ctx.Err() != nil {
			e.Reason = "cancelled"
		}
	}
	if err == nil && needsInput(result) {
		e.Reason = "input required"
	}
	if r, ok := result.(*mcp.CallToolResult); ok && err == nil && r.IsError {
		e.Reason = "error"
	}
	observe.Audit(ctx, s.log, e)
}

// needsInput reports whether result is a question. The SDK's method of that name
// knows it only once the result is being sent.
func needsInput(result mcp.Result) bool {
	switch r := result.(type) {
	case *mcp.CallToolResult:
		return len(r.InputRequests) > 0
	case *mcp.GetPromptResult:
		return len(r.InputRequests) > 0
	case *mcp.ReadResourceResult:
		return len(r.InputRequests) > 0
	}
	return false
}
