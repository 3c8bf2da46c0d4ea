package tools

import (
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/grants"
)

// Caller is who calls a tool. The embedded Access comes from the verified
// access token: subject, grant, client, scopes and app roles. It is shared with
// other calls and must not be changed. Who the user is in words (name, user
// principal name) is in the grant; see who_am_i.
type Caller struct {
	grants.Access
	// Request is the MCP request, for what this type leaves out: progress
	// notifications, client capabilities. Its headers hold no credential.
	Request *mcp.CallToolRequest
}

// callerOf finds the access that the bearer check left in the request. Without
// one there is no caller: a tool is never run for nobody.
func callerOf(req *mcp.CallToolRequest) (*Caller, bool) {
	if req.Extra == nil || req.Extra.TokenInfo == nil {
		return nil, false
	}
	access, ok := req.Extra.TokenInfo.Extra[grants.AccessKey].(*grants.Access)
	if !ok || access == nil {
		return nil, false
	}
	return &Caller{Access: *access, Request: req}, true
}
