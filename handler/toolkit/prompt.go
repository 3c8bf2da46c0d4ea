package toolkit

import (
	"context"
	"encoding/json"
	"reflect"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Prompt is a prompt with its rules. DefinePrompt makes one.
type Prompt struct {
	definition
	arguments   *shape
	completions map[string]Completer
	get         func(ctx context.Context, caller *Caller, arguments json.RawMessage) (*mcp.GetPromptResult, error)
}

// DefinePrompt makes a prompt of a function. In is a struct of strings, described as
// a tool's arguments. Out is a string, said by the user; []*mcp.PromptMessage; or
// *mcp.GetPromptResult.
func DefinePrompt[In any, Out string | []*mcp.PromptMessage | *mcp.GetPromptResult](name, description string, get func(ctx context.Context, caller *Caller, in In) (Out, error), rules ...Rule) Prompt {
	p := Prompt{definition: define(prompt, name, description, rules)}
	var err error
	if p.arguments, err = textArgumentsOf(reflect.TypeFor[In]()); err != nil {
		p.refuse("the arguments: %v", err)
	}
	p.completions = p.completersFor(p.arguments)
	p.get = func(ctx context.Context, caller *Caller, arguments json.RawMessage) (*mcp.GetPromptResult, error) {
		var in In
		if err := json.Unmarshal(arguments, &in); err != nil {
			return nil, Fail("The arguments do not fit: "+err.Error(), nil)
		}
		out, err := get(ctx, caller, in)
		if err != nil {
			return nil, err
		}
		switch v := any(out).(type) {
		case string:
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: v}}}}, nil
		case []*mcp.PromptMessage:
			return &mcp.GetPromptResult{Messages: v}, nil
		case *mcp.GetPromptResult:
			return v, nil
		}
		return nil, unexpected(ctx, nil)
	}
	return p
}

func (p *Prompt) completes() bool { return len(p.completions) > 0 }

func (s *Server) addPrompt(p *Prompt) {
	published := &mcp.Prompt{Name: p.name, Title: p.title, Description: p.description, Icons: p.sdkIcons(), Meta: p.meta}
	for _, f := range p.arguments.members {
		published.Arguments = append(published.Arguments, &mcp.PromptArgument{Name: f.name, Description: f.described(), Required: f.required})
	}
	s.mcp.AddPrompt(published, func(ctx context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		call := &Call{Kind: string(prompt), Name: p.name}
		result, err := s.run(ctx, &p.definition, call, req, func(c *Call) error {
			raw, err := json.Marshal(req.Params.Arguments)
			if err == nil {
				c.Arguments, err = p.arguments.arguments(raw)
			}
			return err
		}, func(ctx context.Context, c *Call) (mcp.Result, error) {
			return p.get(ctx, c.Caller, c.Arguments)
		})
		got, _ := result.(*mcp.GetPromptResult)
		return got, err
	})
}
