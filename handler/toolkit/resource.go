package toolkit

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/yosida95/uritemplate/v3"
)

// Resource is a resource, or a template of many, with its rules. DefineResource and
// DefineTemplate make one.
type Resource struct {
	definition
	uri         string
	template    *uritemplate.Template // nil: uri is one resource
	arguments   *shape
	completions map[string]Completer
	read        func(ctx context.Context, caller *Caller, uri string, arguments json.RawMessage) (*mcp.ReadResourceResult, error)
}

// Completer lists the values of an argument that begin with what the caller has
// typed. Clients get at most 100.
type Completer func(ctx context.Context, caller *Caller, typed string) ([]string, error)

// DefineResource makes a resource of a function.
//
// Out is a string, sent as text/plain; []byte, sent as application/octet-stream;
// *mcp.ReadResourceResult, sent as it is; or any type that encodes as JSON. The rule
// MIMEType says otherwise. Clients keep nothing of it unless KeepFor allows it.
func DefineResource[Out any](name, uri, description string, read func(ctx context.Context, caller *Caller) (Out, error), rules ...Rule) Resource {
	r := Resource{definition: define(resource, name, description, rules), uri: uri}
	if u, err := url.Parse(uri); err != nil || !u.IsAbs() {
		r.refuse("%q is not an absolute URI", uri)
	}
	r.arguments = &shape{kind: "object"}
	r.read = func(ctx context.Context, caller *Caller, uri string, _ json.RawMessage) (*mcp.ReadResourceResult, error) {
		out, err := read(ctx, caller)
		if err != nil {
			return nil, err
		}
		return contentsOf(out, uri, r.mimeType)
	}
	return r
}

// DefineTemplate makes a template of resources of a function. template is a URI
// template (RFC 6570). Its variables are the fields of In, which are all strings;
// their tags restrict them, like those of a tool's arguments. See DefineResource for
// Out. The function returns NotFound if there is no such resource for this caller.
func DefineTemplate[In, Out any](name, template, description string, read func(ctx context.Context, caller *Caller, in In) (Out, error), rules ...Rule) Resource {
	r := Resource{definition: define(resource, name, description, rules), uri: template}
	var err error
	if r.template, err = uritemplate.New(template); err != nil {
		r.refuse("%q: %v", template, err)
	}
	if r.arguments, err = textArgumentsOf(reflect.TypeFor[In]()); err != nil {
		r.refuse("the arguments: %v", err)
	}
	names := r.template.Varnames()
	for _, f := range r.arguments.members {
		if !slices.Contains(names, f.name) {
			r.refuse("the argument %s is not in %s", f.name, template)
		}
	}
	if len(names) != len(r.arguments.members) {
		r.refuse("%s has the variables %v, and the arguments must have the same names", template, names)
	}
	r.completions = r.completersFor(r.arguments)
	r.read = func(ctx context.Context, caller *Caller, uri string, arguments json.RawMessage) (*mcp.ReadResourceResult, error) {
		var in In
		if err := json.Unmarshal(arguments, &in); err != nil {
			return nil, Fail("The URI does not fit: "+err.Error(), nil)
		}
		out, err := read(ctx, caller, in)
		if err != nil {
			return nil, err
		}
		return contentsOf(out, uri, r.mimeType)
	}
	return r
}

// NotFound is the error of a template's function if there is no such resource for
// this caller. It does not say whether it exists for somebody else.
func NotFound(uri string) error { return mcp.ResourceNotFoundError(uri) }

// MIMEType sets the media type of a resource.
func MIMEType(mimeType string) Rule {
	return func(d *definition) {
		d.only("MIMEType", resource)
		d.mimeType = mimeType
	}
}

// KeepFor lets clients use a resource for that long without reading it again.
func KeepFor(d time.Duration) Rule {
	return func(def *definition) {
		def.only("KeepFor", resource)
		def.keepFor = d
	}
}

// textArgumentsOf is the shape of arguments that are all text on the wire, as those
// of prompts and URI templates are.
func textArgumentsOf(typ reflect.Type) (*shape, error) {
	s, err := argumentsOf(typ)
	if err != nil {
		return nil, err
	}
	for _, f := range s.members {
		if f.kind != "string" {
			return nil, fmt.Errorf("%s: it must be a string, and is of type %s", f.name, f.kind)
		}
	}
	return s, nil
}

func contentsOf(out any, uri, mimeType string) (*mcp.ReadResourceResult, error) {
	c := &mcp.ResourceContents{URI: uri, MIMEType: mimeType}
	switch v := out.(type) {
	case *mcp.ReadResourceResult:
		return v, nil
	case string:
		c.Text = v
		if c.MIMEType == "" {
			c.MIMEType = "text/plain"
		}
	case []byte:
		c.Blob = v
		if c.MIMEType == "" {
			c.MIMEType = "application/octet-stream"
		}
	default:
		raw, err := json.Marshal(out)
		if err != nil {
			return nil, fmt.Errorf("encode the resource: %w", err)
		}
		c.Text = string(raw)
		if c.MIMEType == "" {
			c.MIMEType = "application/json"
		}
	}
	return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{c}}, nil
}

func (r *Resource) completes() bool { return len(r.completions) > 0 }

func (s *Server) addResource(r *Resource) {
	r.definition.matches = func(uri string) bool { return uri == r.uri }
	handler := func(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		uri := req.Params.URI
		call := &Call{Kind: string(resource), Name: r.name, URI: uri}
		result, err := s.run(ctx, &r.definition, call, req, func(c *Call) (err error) {
			if c.Arguments, err = r.variables(uri); err == nil {
				c.Arguments, err = r.arguments.arguments(c.Arguments)
			}
			return err
		}, func(ctx context.Context, c *Call) (mcp.Result, error) {
			return r.read(ctx, c.Caller, uri, c.Arguments)
		})
		read, _ := result.(*mcp.ReadResourceResult)
		return read, err
	}
	if r.template == nil {
		s.mcp.AddResource(&mcp.Resource{
			Name: r.name, Title: r.title, Description: r.description, URI: r.uri, MIMEType: r.mimeType, Icons: r.sdkIcons(), Meta: r.meta,
		}, handler)
		return
	}
	r.definition.matches = r.template.Regexp().MatchString
	s.mcp.AddResourceTemplate(&mcp.ResourceTemplate{
		Name: r.name, Title: r.title, Description: r.description, URITemplate: r.uri, MIMEType: r.mimeType, Icons: r.sdkIcons(), Meta: r.meta,
	}, handler)
}

// variables are the values that uri has for those of the template.
func (r *Resource) variables(uri string) (json.RawMessage, error) {
	values := map[string]string{}
	if r.template != nil {
		for name, value := range r.template.Match(uri) {
			values[name] = strings.Join(value.List(), ",")
			if value.T == uritemplate.ValueTypeString {
				values[name] = value.String()
			}
		}
	}
	return json.Marshal(values)
}
