package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

const setPublicURL = "Set PUBLIC_URL of the running server to the address that clients use, and restart it."

// Where clients look for the two documents, in the order they do: below the
// path of the MCP endpoint and at the root (RFC 9728 §3.1); and for an issuer
// without a path RFC 8414 §3.1 first, then OpenID Connect Discovery, then the
// places of clients that take the MCP endpoint for the issuer.
var (
	resourcePaths = []string{"/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"}
	serverPaths   = []string{"/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/mcp", "/mcp/.well-known/oauth-authorization-server"}
)

// Discovery walks from a refused call to the endpoints, as clients do. Each
// line says whom it matters to.
func Discovery(ctx context.Context, s Site) []Finding {
	findings := []Finding{s.challenge(ctx)}
	resource, f := s.agreed(ctx, "resource metadata", resourcePaths, "Claude, VS Code, Codex, ChatGPT")
	findings = append(findings, f)
	if resource != nil {
		findings = append(findings, s.resource(resource), s.authorizationServers(resource))
	}
	server, f := s.agreed(ctx, "server metadata", serverPaths, "every client, older ones at the longer paths")
	findings = append(findings, f)
	if server == nil {
		return findings
	}
	findings = append(findings, s.issuer(server), s.endpoints(server))
	for _, c := range capabilities {
		findings = append(findings, c.check(server))
	}
	return append(findings, s.browsers(ctx))
}

var resourceMetadata = regexp.MustCompile(`^Bearer .*resource_metadata="([^"]+)"`)

// challenge calls the endpoint without a token (RFC 9728 §5.1).
func (s Site) challenge(ctx context.Context) Finding {
	const check = "challenge"
	a, err := s.do(ctx, http.MethodPost, s.Resource, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`),
		"Content-Type", "application/json", "Accept", "application/json, text/event-stream")
	if err != nil {
		return Wrong(check, err.Error(), "Check that PUBLIC_URL is reachable.")
	}
	if a.status != http.StatusUnauthorized {
		u := &unexpected{"/mcp", a}
		return Wrong(check, "a call without a token: "+u.Error()+", not 401; no client would start a sign-in", u.fix())
	}
	want := s.Issuer + resourcePaths[0]
	m := resourceMetadata.FindStringSubmatch(a.header.Get("WWW-Authenticate"))
	switch {
	case m == nil:
		return Wrong(check, "the 401 names no resource_metadata; no client would find where to sign in",
			"Look for a proxy or App Service authentication that answers before the server or drops WWW-Authenticate.")
	case m[1] != want:
		return Wrong(check, fmt.Sprintf("the 401 points to %s, not to %s; no client would find where to sign in", m[1], want), setPublicURL)
	}
	return OK(check, "401 that points to the resource metadata (every client)")
}

// agreed is the document that all paths must have in common.
func (s Site) agreed(ctx context.Context, check string, paths []string, who string) (map[string]any, Finding) {
	var first map[string]any
	for _, path := range paths {
		d, err := s.document(ctx, path)
		if err != nil {
			fix := "Look for a proxy that answers for the server at this path."
			if u, ok := errors.AsType[*unexpected](err); ok {
				fix = u.fix()
			}
			return nil, Wrong(check, err.Error()+"; it matters to "+who, fix)
		}
		if first == nil {
			first = d
		}
		if !reflect.DeepEqual(first, d) {
			return nil, Wrong(check, fmt.Sprintf("%s and %s differ; it matters to %s", paths[0], path, who),
				"Let one version of the server answer all paths, and no cache older than five minutes.")
		}
	}
	return first, OK(check, fmt.Sprintf("the same document at all %d paths (%s)", len(paths), who))
}

func (s Site) resource(d map[string]any) Finding {
	const check, who = "resource", "Claude, VS Code and Codex compare it with what the user typed"
	if d["resource"] != s.Resource {
		return Wrong(check, fmt.Sprintf("%v is not %s; %s", d["resource"], s.Resource, who), setPublicURL)
	}
	return OK(check, s.Resource+" ("+who+")")
}

func (s Site) authorizationServers(d map[string]any) Finding {
	const check = "authorization server"
	if !reflect.DeepEqual(d["authorization_servers"], []any{s.Issuer}) {
		return Wrong(check, fmt.Sprintf("%v is not [%s]; Claude uses the first one only", d["authorization_servers"], s.Issuer), setPublicURL)
	}
	return OK(check, s.Issuer+" (every client)")
}

// issuer is compared byte by byte (RFC 8414 §3.3).
func (s Site) issuer(d map[string]any) Finding {
	const check, who = "issuer", "Python SDK, Go SDK, Codex, Copilot CLI and OpenCode require it to be equal byte for byte"
	if d["issuer"] != s.Issuer {
		return Wrong(check, fmt.Sprintf("%v is not %s; %s", d["issuer"], s.Issuer, who), setPublicURL)
	}
	return OK(check, s.Issuer+" ("+who+")")
}

// endpoints are on the issuer's origin, under the names that clients fall back
// to when they find no metadata.
func (s Site) endpoints(d map[string]any) Finding {
	const check = "endpoints"
	for member, path := range map[string]string{"authorization_endpoint": "/authorize", "token_endpoint": "/token", "registration_endpoint": "/register"} {
		if d[member] != s.Issuer+path {
			return Wrong(check, fmt.Sprintf("%s is %v, not %s", member, d[member], s.Issuer+path), setPublicURL)
		}
	}
	return OK(check, "authorize, token and register on one origin (claude.ai falls back to them)")
}

// inspector is where the MCP Inspector's web page comes from.
const inspector = "http://localhost:6274"

// browsers asks as a web page of another origin would before it redeems a code
// (Fetch, "CORS-preflight fetch"). Few clients are web pages, so a no is not
// wrong. In Azure the platform answers.
func (s Site) browsers(ctx context.Context) Finding {
	const check = "browser clients"
	a, err := s.do(ctx, http.MethodOptions, s.Issuer+"/token", nil, "Origin", inspector, "Access-Control-Request-Method", http.MethodPost)
	if allowed := a.header.Get("Access-Control-Allow-Origin"); err == nil && (allowed == "*" || allowed == inspector) {
		return OK(check, "pages of other origins may call (MCP Inspector)")
	}
	return Unknown(check, "pages of "+inspector+" may not call (MCP Inspector in its direct mode; no other known client)",
		"If they should, allow the origin under CORS of the function app.")
}

// capability is what the metadata must announce: a value in a list or, with no
// value, that it is true.
type capability struct{ name, member, value, who string }

var capabilities = []capability{
	{"PKCE", "code_challenge_methods_supported", "S256", "VS Code, Go and TypeScript SDKs refuse a server without it"},
	{"public clients", "token_endpoint_auth_methods_supported", "none", "Claude, Cursor, mcp-remote, Gemini CLI"},
	{"refresh tokens", "grant_types_supported", "refresh_token", "mcp-remote and ChatGPT; without it users sign in again and again"},
	{"issuer in responses", "authorization_response_iss_parameter_supported", "", "Codex, ChatGPT and Go SDK check it (RFC 9207)"},
}

func (c capability) check(d map[string]any) Finding {
	announced := d[c.member] == true
	if list, isList := d[c.member].([]any); isList {
		announced = slices.Contains(list, any(c.value))
	}
	if !announced {
		return Wrong(c.name, fmt.Sprintf("the metadata has %s: %v; %s", c.member, d[c.member], c.who),
			"Update the running server, or remove the proxy that changes its metadata.")
	}
	return OK(c.name, strings.TrimSpace(c.value+" announced ("+c.who+")"))
}
