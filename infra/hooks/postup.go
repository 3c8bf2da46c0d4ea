package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// readyWithin is how long role assignments and a new federated credential are
// waited for. They take up to ten minutes to arrive everywhere.
const (
	readyWithin = 12 * time.Minute
	readyEvery  = 10 * time.Second
)

// postUp says how to connect, and waits until the server can serve.
func (p *program) postUp(ctx context.Context) int {
	endpoint := p.getenv("MCP_URL")
	base, ok := strings.CutSuffix(endpoint, "/mcp")
	if !ok {
		p.say("MCP_URL is %q: azd has no outputs of this template. Run azd provision.\n", endpoint)
		return 1
	}
	p.say(`
Your MCP server: %[1]s

  Claude Code      claude mcp add --transport http entramcp %[1]s
  VS Code          code --add-mcp '{"name":"entramcp","type":"http","url":"%[1]s"}'
  Cursor           ~/.cursor/mcp.json: {"mcpServers":{"entramcp":{"url":"%[1]s"}}}
  Claude, ChatGPT  add a custom connector with the URL
  Inspector        npx @modelcontextprotocol/inspector
  stdio clients    npx mcp-remote %[1]s

Which applications are connected, and to end that: %[2]s/account
If users of your tenant may not consent, an administrator does it for all, once:
  %[3]s
`, endpoint, base, p.getenv("ADMIN_CONSENT_URL"))
	if address := p.getenv("EGRESS_ADDRESS"); address != "" {
		p.say("Requests to Entra come from %s: name it in a policy for locations.\n", address)
	}
	if p.is("MCP_ENTRA_CLIENT_ID") && !p.is("MCP_ENTRA_VAULT_CREDENTIAL") {
		p.say("%s", p.federation())
	}
	p.say("\n")
	return p.awaitReady(ctx, base)
}

// federation is the command by which a registration that the template did not
// make trusts the identity of the function app.
func (p *program) federation() string {
	credential, err := json.Marshal(map[string]any{"name": "function-app", "issuer": p.getenv("FEDERATION_ISSUER"),
		"subject": p.getenv("FEDERATION_SUBJECT"), "audiences": []string{p.getenv("FEDERATION_AUDIENCE")}})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf(`
The administrator of the registration lets the server sign in as it, once (redirect URIs: %s):
  az ad app federated-credential create --id %s --parameters '%s'
`, p.getenv("ENTRA_REDIRECT_URIS"), p.getenv("ENTRA_CLIENT_ID"), credential)
}

// awaitReady asks /readyz until it is 200, and says what it waits for.
func (p *program) awaitReady(ctx context.Context, base string) int {
	began := p.now()
	last := ""
	for {
		state, ready := p.readiness(ctx, base)
		waited := p.now().Sub(began).Round(time.Second)
		switch {
		case ready:
			p.say("Ready after %s: storage, keys and Entra answer.\n", waited)
			return 0
		case waited >= readyWithin || ctx.Err() != nil:
			p.say("\nNot ready after %s: %s.\n%s\n", waited, state, p.remedyFor(state))
			return 1
		case state != last:
			p.say("Waiting, %s: %s\n", waited, state)
			last = state
		default:
			p.say("Waiting, %s\n", waited)
		}
		p.sleep(ctx, readyEvery)
	}
}

// readiness is what /readyz says in one line.
func (p *program) readiness(ctx context.Context, base string) (state string, ready bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return err.Error(), false
	}
	response, err := p.client.Do(request)
	if err != nil {
		return "no answer from " + base, false
	}
	defer response.Body.Close()
	var report struct{ Status string }
	if err := json.NewDecoder(http.MaxBytesReader(nil, response.Body, 64<<10)).Decode(&report); err != nil || report.Status == "" {
		return fmt.Sprintf("status %d, not from the server", response.StatusCode), false
	}
	if response.StatusCode == http.StatusOK {
		return "", true
	}
	return dependencies, false
}

// dependencies: callers of /readyz are not told which it is; the log says so.
const dependencies = "the server runs, and storage, keys or Entra do not answer yet; new roles take up to ten minutes"

func (p *program) remedyFor(state string) string {
	if state != dependencies {
		return "The handler does not start, or the name leads elsewhere: docs/deploy.md under \"When something does not work\"."
	}
	return fmt.Sprintf(`The log names the check that fails, and why:
  az monitor app-insights query --resource-group %[1]s --apps $(az resource list --resource-group %[1]s \
    --resource-type Microsoft.Insights/components --query "[0].name" --output tsv) \
    --analytics-query "traces | where message has 'not ready' | order by timestamp desc | take 5"
If a role is missing: azd provision --no-state`, p.getenv("AZURE_RESOURCE_GROUP"))
}
