package toolkit

import (
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/entra"
)

// consentRequest names the one question that this server asks.
const consentRequest = "consent"

// canOpen reports whether the client opens links for us (elicitation in URL
// mode). Before 2026-07-28 the question would be a request of ours to the
// client, which a stateless server cannot make: those clients get the link in
// the text of the error. The SDK knows the capabilities of a stateless request
// only in the newer era, where every request brings them.
func canOpen(req *mcp.CallToolRequest) bool {
	caps := req.ClientCapabilities()
	return caps != nil && caps.Elicitation != nil && caps.Elicitation.URL != nil
}

// askForConsent answers with a link instead of a result; the client opens it
// and calls again. Nothing needs to be remembered for the second call, so there
// is no request state to protect. The link is Entra's own consent page: it
// signs in whoever opens it and holds nothing of the user (MCP, URL mode
// elicitation, "Safe URL handling").
func askForConsent(f *entra.Failure) *mcp.CallToolResult {
	return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{
		consentRequest: &mcp.ElicitParams{
			Mode:          "url",
			Message:       f.Summary + " " + f.NextStep,
			URL:           f.ConsentURL,
			ElicitationID: consentRequest,
		},
	}}
}
