package resource

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// FuzzNoCallSlipsPastTheGuard sends bodies and headers to the guard with the
// SDK's server behind it: whatever the two understand, a tool whose scope is
// lacking never runs.
func FuzzNoCallSlipsPastTheGuard(f *testing.F) {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	for _, seed := range [][4]string{
		{rpc("tools/call", "send"), "", "", ""},
		{rpc("tools/call", "send"), "2025-11-25", "tools/call", "hello"},
		{"[" + rpc("tools/call", "hello") + "," + rpc("tools/call", "send") + "]", "2025-03-26", "", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send",` + meta + `}}`, "2026-07-28", "tools/call", "send"},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send",` + meta + `}}`, "2026-07-28", "tools/call", "hello"},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send",` + meta + `}}`, "2026-07-28", "ping", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"hello","Name":"send"}}`, "", "", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"hello","name":"send"}}`, "", "", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"n\u0061me":"sen\u0064"}} {"x":1}`, "", "", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","method":null,"params":{"name":"send","name":null}}`, "", "", ""},
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"send"},"params":null}`, "", "", ""},
		{"\ufeff" + rpc("tools/call", "send"), "", "", ""},
		{rpc("tools/call", "send") + "\x00", "9999-12-31", "tools/call", "send"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	var ran bool
	server := mcp.NewServer(&mcp.Implementation{Name: "t", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "send"}, func(context.Context, *mcp.CallToolRequest, any) (*mcp.CallToolResult, any, error) {
		ran = true
		return &mcp.CallToolResult{}, nil, nil
	})
	guarded := New(options()).Protect(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{Stateless: true, DisableLocalhostProtection: true}))
	f.Fuzz(func(t *testing.T, body, revision, method, tool string) {
		r := request("POST", endpoint, body, "Authorization", "Bearer good", "Content-Type", "application/json",
			"Accept", "application/json, text/event-stream", "MCP-Protocol-Version", revision, "Mcp-Method", method, "Mcp-Name", tool)
		ran = false
		guarded.ServeHTTP(httptest.NewRecorder(), r)
		if ran {
			t.Errorf("the tool ran: %q %q %q %q", body, revision, method, tool)
		}
	})
}

// FuzzOnlyListedOriginsPass holds that nothing but the listed origins, up to
// case and default ports, is taken for one.
func FuzzOnlyListedOriginsPass(f *testing.F) {
	for _, seed := range []string{issuer, "https://app.example.org", "https://app.example.org:443", "null", "https://app.example.org.evil.example", "https://a@app.example.org", "https://app.example.org#", "https:/app.example.org"} {
		f.Add(seed)
	}
	o := options()
	o.AllowedOrigins = []string{"https://app.example.org"}
	g := New(o)
	listed := []string{issuer, issuer + ":443", "https://app.example.org", "https://app.example.org:443"}
	f.Fuzz(func(t *testing.T, header string) {
		if g.origins.allowsOrigin(header) && !slices.Contains(listed, strings.ToLower(header)) {
			t.Errorf("%q passes", header)
		}
	})
}
