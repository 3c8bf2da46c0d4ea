package toolkit

import (
	"context"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// completion is the kind of a Call that lists values of an argument.
const completion = "completion"

// maxCompletions is what one answer may list (MCP, "Completion").
const maxCompletions = 100

// Complete lists the values of an argument while the caller types it. Arguments
// with an enum need none.
func Complete(argument string, values Completer) Rule {
	return func(d *definition) {
		d.only("Complete", resource, prompt)
		if d.completers == nil {
			d.completers = map[string]Completer{}
		}
		d.completers[argument] = values
	}
}

// completersFor are those of the rules and of arguments with an enum.
func (d *definition) completersFor(arguments *shape) map[string]Completer {
	all := map[string]Completer{}
	for _, f := range arguments.members {
		if len(f.enum) > 0 {
			all[f.name] = func(_ context.Context, _ *Caller, typed string) ([]string, error) {
				return slices.DeleteFunc(slices.Clone(f.enum), func(v string) bool { return !strings.HasPrefix(v, typed) }), nil
			}
		}
	}
	for name, values := range d.completers {
		if !arguments.has(name) {
			d.refuse("the rule Complete names %q, which is not an argument", name)
		}
		all[name] = values
	}
	return all
}

// complete answers completion/complete for prompts and resource templates. Values may
// be private, so the same hooks apply.
func (s *Server) complete(ctx context.Context, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	d, completers := s.completersOf(req.Params.Ref)
	if d == nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "There is no such prompt or resource template."}
	}
	call := &Call{Kind: completion, Name: d.name}
	result, err := s.run(ctx, d, call, req, func(*Call) error { return nil }, func(ctx context.Context, c *Call) (mcp.Result, error) {
		values := []string{}
		if complete, ok := completers[req.Params.Argument.Name]; ok {
			found, err := complete(ctx, c.Caller, req.Params.Argument.Value)
			if err != nil {
				return nil, err
			}
			values = append(values, found...)
		}
		shown := values[:min(len(values), maxCompletions)]
		return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{
			Values: shown, Total: len(values), HasMore: len(values) > len(shown),
		}}, nil
	})
	completed, _ := result.(*mcp.CompleteResult)
	return completed, err
}

func (s *Server) completersOf(ref *mcp.CompleteReference) (*definition, map[string]Completer) {
	for _, p := range s.prompts {
		if ref.Type == "ref/prompt" && p.name == ref.Name {
			return &p.definition, p.completions
		}
	}
	for _, r := range s.resources {
		if ref.Type == "ref/resource" && r.uri == ref.URI {
			return &r.definition, r.completions
		}
	}
	return nil, nil
}
