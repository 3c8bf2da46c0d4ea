package home

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	"entramcp/handler/oauth"
)

// Button is a link that opens a client with this server filled in. The client
// asks the user before it adds anything.
type Button struct {
	Client, URL string
}

// Recipe is what a client without such a link is told: a command to run, or
// text for a file.
type Recipe struct {
	Client string
	// Where says where Text goes: in a terminal, a file, or a dialog.
	Where string
	Text  string
	// Then is what to do after it. It may be empty.
	Then string
}

// server is what a client has to know.
type server struct {
	name     string // [a-z][a-z0-9_-]*
	title    string
	endpoint string
}

// public reports whether clients that run in a vendor's cloud can reach it.
func (s server) public() bool {
	u, err := url.Parse(s.endpoint)
	return err == nil && u.Scheme == "https" && !oauth.Loopback(u.Hostname())
}

// buttons are in the order of the page. Those with https come before those with
// a scheme of the client's own, which does nothing where the client is missing.
func (s server) buttons() []Button {
	var list []Button
	config := s.json(map[string]any{"type": "http", "url": s.endpoint})
	list = append(list,
		Button{"VS Code", "https://vscode.dev/redirect/mcp/install?" + query("name", s.name, "config", config)},
		Button{"VS Code Insiders", "https://insiders.vscode.dev/redirect/mcp/install?" + query("name", s.name, "config", config, "quality", "insiders")},
		Button{"Cursor", "https://cursor.com/en/install-mcp?" + query("name", s.name, "config", base64.StdEncoding.EncodeToString([]byte(s.json(map[string]any{"url": s.endpoint}))))},
	)
	if s.public() {
		list = append(list, Button{"Claude", "https://claude.ai/customize/connectors?" + query("modal", "add-custom-connector", "connectorName", s.title, "connectorUrl", s.endpoint)})
	}
	return append(list,
		Button{"Visual Studio", "vsweb+mcp:/install?" + escape(s.json(map[string]any{"name": s.name, "type": "http", "url": s.endpoint}))},
		Button{"Goose", "goose://extension?" + query("type", "streamable_http", "url", s.endpoint, "id", s.name, "name", s.title)},
		Button{"LM Studio", "lmstudio://add_mcp?" + query("name", s.name, "config", base64.StdEncoding.EncodeToString([]byte(s.json(map[string]any{"url": s.endpoint}))))},
	)
}

// recipes are in the order of the page.
func (s server) recipes() []Recipe {
	list := []Recipe{
		{"Claude Code", "In a terminal", "claude mcp add --transport http " + s.name + " " + s.endpoint, "Then run /mcp in Claude Code and sign in."},
		{"Codex", "In a terminal", "codex mcp add " + s.name + " --url " + s.endpoint, "Then run codex mcp login " + s.name + "."},
		{"Gemini CLI", "In a terminal", "gemini mcp add --transport http " + s.name + " " + s.endpoint, "Then run /mcp auth " + s.name + " in Gemini."},
		{"Copilot CLI", "In a terminal", "copilot mcp add --transport http " + s.name + " " + s.endpoint, ""},
		{"VS Code, by command", "In a terminal", "code --add-mcp '" + s.json(map[string]any{"name": s.name, "type": "http", "url": s.endpoint}) + "'", ""},
	}
	if s.public() {
		list = append(list, Recipe{"ChatGPT", "In Settings, Connectors, Create (developer mode)", s.endpoint, "Choose OAuth and sign in."})
	}
	remote := []string{"-y", "mcp-remote@latest", s.endpoint}
	if strings.HasPrefix(s.endpoint, "http:") {
		remote = append(remote, "--allow-http")
	}
	return append(list,
		Recipe{"Zed", "In the settings file", s.json(nested("context_servers", s.name, map[string]any{"url": s.endpoint})), ""},
		Recipe{"Windsurf", "In ~/.codeium/windsurf/mcp_config.json", s.json(nested("mcpServers", s.name, map[string]any{"serverUrl": s.endpoint})), ""},
		Recipe{"JetBrains AI Assistant", "In Settings, Tools, AI Assistant, MCP, as JSON", s.json(nested("mcpServers", s.name, map[string]any{"url": s.endpoint})), ""},
		Recipe{"OpenCode", "In opencode.json", s.json(map[string]any{"mcp": nested("servers", s.name, map[string]any{"type": "remote", "url": s.endpoint})}), ""},
		Recipe{"MCP Inspector", "In a terminal", "npx @modelcontextprotocol/inspector", "Then choose Streamable HTTP and enter " + s.endpoint + "."},
		Recipe{"Any client that starts a program (stdio)", "In its configuration", s.json(nested("mcpServers", s.name, map[string]any{"command": "npx", "args": remote})), "mcp-remote opens the browser to sign in."},
	)
}

func nested(outer, name string, value any) map[string]any {
	return map[string]any{outer: map[string]any{name: value}}
}

// json encodes v as clients expect it, without escapes for HTML.
func (server) json(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // maps of strings encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// query is name=value pairs in the given order.
func query(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i] + "=" + escape(pairs[i+1]))
	}
	return b.String()
}

// escape percent-encodes everything but unreserved characters, as
// encodeURIComponent does; a + would be read as a space.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
