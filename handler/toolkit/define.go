package toolkit

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
)

// Tool is a tool and the rules it is guarded by. Define makes one.
type Tool struct {
	definition mcp.Tool
	required   oauth.Scopes
	optional   oauth.Scopes
	api        oauth.Scopes
	roles      []string          // the caller has one of them
	words      map[string]string // what its scopes allow, for the consent page
	register   func(*Server, Tool)
}

// Define makes a tool of a function.
//
// In is a struct: json tags name the arguments, jsonschema tags describe them,
// default tags give the value of an argument that is left out. Out is any type
// that encodes as JSON; what is no object is sent as {"result": …}, a string
// also as plain text. Out may be *mcp.CallToolResult, for images and the like.
//
// The text of an error that call returns is shown to the user and the model.
// Use Fail where the cause is not for them, and *jsonrpc.Error where the call
// itself is wrong and MCP has a code for it. Define panics if In or Out have no
// schema, or a default does not fit its field: the program is wrong.
func Define[In, Out any](name, description string, call func(ctx context.Context, caller *Caller, in In) (Out, error), rules ...Rule) Tool {
	input, err := inputSchema[In]()
	if err != nil {
		panic(fmt.Sprintf("toolkit: the arguments of %s: %v", name, err))
	}
	shape, err := shapeOf[Out]()
	if err != nil {
		panic(fmt.Sprintf("toolkit: the result of %s: %v", name, err))
	}
	t := Tool{definition: mcp.Tool{Name: name, Description: description, InputSchema: input}}
	if shape.schema != nil {
		t.definition.OutputSchema = shape.schema
	}
	for _, rule := range rules {
		rule(&t)
	}
	t.register = func(s *Server, t Tool) {
		log := s.log
		mcp.AddTool(s.mcp, &t.definition, func(ctx context.Context, req *mcp.CallToolRequest, in In) (result *mcp.CallToolResult, out any, err error) {
			defer func() {
				if p := recover(); p != nil {
					log.ErrorContext(ctx, "tool panicked", "tool", t.definition.Name, "value", p, "stack", string(debug.Stack()))
					result, out, err = nil, nil, crashed(ctx)
				}
			}()
			caller, err := t.admit(s, req)
			if err != nil {
				return refuse(ctx, log, t.definition.Name, req, err)
			}
			value, err := call(ctx, caller, in)
			if err != nil {
				return refuse(ctx, log, t.definition.Name, req, err)
			}
			result, out = shape.answer(value)
			return result, out, nil
		})
	}
	return t
}

// Rule is a property of a tool beyond its function.
type Rule func(*Tool)

// RequireScopes makes the tool need every one of scopes. A client that lacks
// one is told at HTTP level, 403 with a challenge it can act on (RFC 6750
// §3.1), so that it asks the user for more.
func RequireScopes(scopes ...string) Rule {
	return func(t *Tool) { t.required = t.required.Union(oauth.NewScopes(scopes...)) }
}

// OptionalScopes are used by the tool where they are granted. Clients may ask
// for them; calls without them succeed.
func OptionalScopes(scopes ...string) Rule {
	return func(t *Tool) { t.optional = t.optional.Union(oauth.NewScopes(scopes...)) }
}

// CallAPI lets the tool get tokens for scopes of other APIs, for users who have
// granted them to the client. Clients may ask for them wherever the server can
// get such tokens; calls without them succeed.
func CallAPI(scopes ...string) Rule {
	return func(t *Tool) { t.api = t.api.Union(oauth.NewScopes(scopes...)) }
}

// DescribeScope says in plain words what a scope of the tool lets a client do,
// such as "Read your numbers". People see it on the consent page, and the bare
// scope where nothing is said.
func DescribeScope(scope, words string) Rule {
	return func(t *Tool) {
		if t.words == nil {
			t.words = map[string]string{}
		}
		t.words[scope] = words
	}
}

// RequireRole makes the tool need one of the app roles. A client can do nothing
// about a missing role, so the answer is a tool error that says who can.
func RequireRole(oneOf ...string) Rule {
	return func(t *Tool) { t.roles = append(t.roles, oneOf...) }
}

// ReadOnly tells clients that the tool changes nothing; many then call it
// without asking the user.
func ReadOnly() Rule {
	return func(t *Tool) {
		t.definition.Annotations = &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}
	}
}

// admit checks again what the bearer check in front has checked for scopes, so
// that a tool is guarded however its server is mounted, and the roles.
func (t Tool) admit(s *Server, req *mcp.CallToolRequest) (*Caller, error) {
	caller, ok := s.callerOf(t, req)
	if !ok {
		return nil, Fail("Nobody is signed in.", nil)
	}
	if !caller.Scopes.Has(t.required...) {
		return nil, Fail("This tool needs the scope "+t.required.String()+". Connect again and grant it.", nil)
	}
	if len(t.roles) > 0 && !slices.ContainsFunc(t.roles, func(role string) bool { return slices.Contains(caller.Roles, role) }) {
		return nil, Fail("This tool needs the app role "+strings.Join(t.roles, " or ")+", which you do not have. "+
			"An administrator can assign it in the Microsoft Entra admin center: Enterprise applications, this application, Users and groups. "+
			"Sign in again afterwards.", nil)
	}
	return caller, nil
}

func crashed(ctx context.Context) error {
	if id := observe.CorrelationID(ctx); id != "" {
		return Fail("The tool failed unexpectedly. Correlation id: "+id, nil)
	}
	return Fail("The tool failed unexpectedly.", nil)
}
