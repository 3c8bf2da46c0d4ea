package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// preprovision lists everything that would fail later, each with its remedy.
func (p *program) preprovision(ctx context.Context) int {
	parameters, err := readParameters(p.root)
	if err != nil {
		p.say("The template cannot be read: %v\n", err)
		return 1
	}
	findings := p.checkValues(parameters)
	if host := p.checkPublicURL(ctx); host != nil {
		findings = append(findings, *host)
	}
	return p.report(append(findings, p.checkAzure(ctx)...))
}

// checkPublicURL: the URL becomes the issuer at once, so its name and its
// certificate have to be there before. Any answer will do.
func (p *program) checkPublicURL(ctx context.Context) *finding {
	u, err := url.Parse(strings.TrimSpace(p.getenv("MCP_PUBLIC_URL")))
	if err != nil || u.Host == "" || u.Scheme != "https" {
		return nil // nothing set, or refused as a setting
	}
	f := &finding{check: "public-url", remedy: fmt.Sprintf(
		"Bind the name first, as in docs/deploy.md under \"Custom domain\". It leads to %s.\nUntil then: azd env set MCP_PUBLIC_URL \"\"", p.host())}
	if _, err := p.lookup(ctx, u.Hostname()); err != nil {
		f.what = fmt.Sprintf("MCP_PUBLIC_URL is %s, and DNS does not know %s", u, u.Hostname())
		return f
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil
	}
	response, err := p.client.Do(request)
	if err != nil {
		f.what = fmt.Sprintf("MCP_PUBLIC_URL is %s, and it does not answer over TLS: %v", u, err)
		return f
	}
	_ = response.Body.Close()
	return nil
}

// registration says what an administrator has to make where the template may
// not. Everything but the identity's id is known before anything exists.
func (p *program) registration(ctx context.Context) int {
	values := map[string]string{}
	b, err := p.run(ctx, "azd", "env", "get-values", "--output", "json")
	if err == nil {
		err = json.Unmarshal(b, &values)
	}
	if err != nil {
		p.say("azd has no environment here (%v). Make one:\n  azd env new <name>\n", err)
		return 1
	}
	p.getenv = func(name string) string { return values[name] }
	for _, name := range []string{"AZURE_SUBSCRIPTION_ID", "AZURE_ENV_NAME", "AZURE_LOCATION"} {
		if values[name] == "" {
			p.say("%s is not set, and the host name follows from it:\n  azd env set %s <value>\n", name, name)
			return 1
		}
	}
	uris := "https://" + p.host() + "/auth/callback"
	if own := p.origin() + "/auth/callback"; own != uris {
		uris += " " + own
	}
	p.say(`For the administrator of the tenant, once:

  az ad app create --display-name "MCP server (%[1]s)" --sign-in-audience AzureADMyOrg --requested-access-token-version 2 \
    --web-redirect-uris %[2]s
  az ad sp create --id <application id>

The scope mcp.access and the app roles are described in docs/entra.md; without the scope, tools cannot act for users:
  azd env set MCP_REQUEST_API_SCOPE false

For you, with the application id from above:

  azd env set MCP_ENTRA_CLIENT_ID <application id>
  azd up

azd up then prints the command by which the administrator lets the server's identity sign in as that application.
`, p.getenv("AZURE_ENV_NAME"), uris)
	return 0
}
