package toolkit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/oauth"
)

// kind is what a definition defines.
type kind string

const (
	tool     kind = "tool"
	resource kind = "resource"
	prompt   kind = "prompt"
)

// definition is what tools, resources and prompts have in common.
type definition struct {
	kind        kind
	name        string
	title       string
	description string
	icons       []Icon
	meta        mcp.Meta

	required oauth.Scopes
	optional oauth.Scopes
	api      oauth.Scopes
	origins  map[string]string // of APIs, by their identifier
	roles    []string          // the caller has one of them
	words    map[string]string // what its scopes allow, for the consent page
	hide     bool

	annotations mcp.ToolAnnotations // of tools
	deadline    time.Duration
	maxResult   int           // bytes; 0 is the default
	perUser     *CallLimit    // nil is the server's
	keepFor     time.Duration // how long a client may keep a result, of resources
	mimeType    string        // of resources
	matches     func(uri string) bool
	completers  map[string]Completer
}

// A name is safe in every client: the strictest withhold all tools of a server
// that has one bad name, and prefixes of theirs count towards 64 characters.
var (
	validName       = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)
	validServerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,47}$`)
)

// maxDescription is in bytes; OpenAI takes 1024 characters.
const maxDescription = 1024

// define makes a definition. It panics if that cannot work, so that a mistake in the
// program is found before it serves anybody.
func define(k kind, name, description string, rules []Rule) definition {
	d := definition{
		kind: k, name: name, title: titleOf(name), description: description,
		// The specification's defaults.
		annotations: mcp.ToolAnnotations{DestructiveHint: new(true), OpenWorldHint: new(true)},
	}
	for _, rule := range rules {
		rule(&d)
	}
	switch {
	case !validName.MatchString(name):
		d.refuse("the name must match %s", validName)
	case description == "":
		d.refuse("there is no description, and models choose a tool by its description")
	case len(d.description) >= maxDescription:
		d.refuse("the description has %d bytes, %d or more", len(d.description), maxDescription)
	}
	return d
}

// refuse panics because of a definition that cannot work.
func (d *definition) refuse(format string, args ...any) {
	panic(fmt.Sprintf("toolkit: the %s %q: %s", d.kind, d.name, fmt.Sprintf(format, args...)))
}

// titleOf makes a title of a name: my_manager becomes My manager.
func titleOf(name string) string {
	words := strings.ReplaceAll(name, "_", " ")
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// Rule is a property of a tool, a resource or a prompt beyond its function.
type Rule func(*definition)

// only refuses a rule for kinds that it does not apply to.
func (d *definition) only(rule string, kinds ...kind) {
	if !slices.Contains(kinds, d.kind) {
		d.refuse("the rule %s does not apply to it", rule)
	}
}

// Title is what people read instead of the name.
func Title(title string) Rule { return func(d *definition) { d.title = title } }

// Icons are shown by clients, best first.
func Icons(icons ...Icon) Rule {
	return func(d *definition) { d.icons = append(d.icons, icons...) }
}

// Meta adds a member to _meta, for extensions of MCP.
func Meta(name string, value any) Rule {
	return func(d *definition) {
		if d.meta == nil {
			d.meta = mcp.Meta{}
		}
		d.meta[name] = value
	}
}

// RequireScopes requires all of scopes. A client that lacks one gets HTTP status 403
// with a challenge (RFC 6750 §3.1), so that it can ask the user for more.
func RequireScopes(scopes ...string) Rule {
	return func(d *definition) { d.required = d.required.Union(oauth.NewScopes(scopes...)) }
}

// OptionalScopes are used if they are granted. Clients may ask for them; calls
// without them succeed.
func OptionalScopes(scopes ...string) Rule {
	return func(d *definition) { d.optional = d.optional.Union(oauth.NewScopes(scopes...)) }
}

// CallAPI allows tokens for scopes of other APIs, for users who have granted them to
// the client. Clients may ask for them if the server can get such tokens; calls
// without them succeed.
func CallAPI(scopes ...string) Rule {
	return func(d *definition) { d.api = d.api.Union(oauth.NewScopes(scopes...)) }
}

// DescribeScope says in plain words what a scope lets a client do, such as "Read your
// numbers". People see it on the consent page; without it they see the scope itself.
func DescribeScope(scope, words string) Rule {
	return func(d *definition) {
		if d.words == nil {
			d.words = map[string]string{}
		}
		d.words[scope] = words
	}
}

// RequireRole requires one of the app roles. A client cannot get a missing role, so
// the answer is an error that says who assigns it.
func RequireRole(oneOf ...string) Rule {
	return func(d *definition) { d.roles = append(d.roles, oneOf...) }
}

// HideUnlessAllowed leaves the tool, resource or prompt out of the lists for callers
// who lack its scopes or roles. Their calls are refused with and without it.
func HideUnlessAllowed() Rule { return func(d *definition) { d.hide = true } }

// ReadOnly tells clients that the tool changes nothing; many then call it
// without asking the user. It implies Idempotent.
func ReadOnly() Rule {
	return func(d *definition) {
		d.only("ReadOnly", tool)
		d.annotations.ReadOnlyHint, d.annotations.IdempotentHint, d.annotations.DestructiveHint = true, true, new(false)
	}
}

// Additive tells clients that the tool adds things and neither changes nor
// removes any.
func Additive() Rule {
	return func(d *definition) {
		d.only("Additive", tool)
		d.annotations.DestructiveHint = new(false)
	}
}

// Idempotent tells clients that a second call with the same arguments changes
// nothing more.
func Idempotent() Rule {
	return func(d *definition) {
		d.only("Idempotent", tool)
		d.annotations.IdempotentHint = true
	}
}

// ClosedWorld tells clients that the tool uses only this server's own data.
func ClosedWorld() Rule {
	return func(d *definition) {
		d.only("ClosedWorld", tool)
		d.annotations.OpenWorldHint = new(false)
	}
}

// Deadline ends the context of a call after limit, instead of after
// Catalogue.Deadline.
func Deadline(limit time.Duration) Rule { return func(d *definition) { d.deadline = limit } }

// MaxResult allows results of up to n bytes of JSON instead of 1 MiB.
func MaxResult(n int) Rule { return func(d *definition) { d.maxResult = n } }

// Limit bounds how often each user may call the tool, instead of
// Catalogue.Calls.
func Limit(l CallLimit) Rule {
	return func(d *definition) {
		d.only("Limit", tool)
		d.perUser = &l
	}
}

// allowed says why a caller with these scopes and roles may not call, or returns nil.
func (d *definition) allowed(scopes oauth.Scopes, roles []string) error {
	if !scopes.Has(d.required...) {
		return Fail("This "+string(d.kind)+" needs the scope "+d.required.String()+". Connect again and grant it.", nil)
	}
	if len(d.roles) > 0 && !slices.ContainsFunc(d.roles, func(role string) bool { return slices.Contains(roles, role) }) {
		return Fail("This "+string(d.kind)+" needs the app role "+strings.Join(d.roles, " or ")+", which you do not have. "+
			"An administrator can assign it in the Microsoft Entra admin center: Enterprise applications, this application, Users and groups. "+
			"Sign in again afterwards.", nil)
	}
	return nil
}

func (d *definition) sdkIcons() []mcp.Icon { return sdkIcons(d.icons) }

func sdkIcons(icons []Icon) []mcp.Icon {
	var out []mcp.Icon
	for _, icon := range icons {
		out = append(out, mcp.Icon{Source: icon.Source, MIMEType: icon.MIMEType, Sizes: icon.Sizes})
	}
	return out
}
