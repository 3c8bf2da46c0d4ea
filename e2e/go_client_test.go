package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"entramcp/e2e/stack"
)

const goRedirect = "http://127.0.0.1:8977/callback"

// goClient is the Go SDK's own client and OAuth handler.
type goClient struct {
	tb      testing.TB
	session *mcp.ClientSession
	// signIns counts how often a person had to sign in.
	signIns int
}

// connectGo connects with the Go SDK in the era of the given protocol version;
// "" is the newest. person is how the computer of the person calls servers.
func connectGo(tb testing.TB, endpoint string, person *http.Client, version string, how registration, b *stack.Browser) *goClient {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	c := &goClient{tb: tb}
	config := &auth.AuthorizationCodeHandlerConfig{
		Client:              person,
		RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			c.signIns++
			u, err := b.Approve(args.URL)
			if err != nil {
				return nil, err
			}
			q := u.Query()
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	}
	if how == document {
		config.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: documentURL}
		config.RedirectURL = goRedirect
	} else {
		config.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName:              "go-sdk",
			RedirectURIs:            []string{goRedirect},
			GrantTypes:              []string{"authorization_code", "refresh_token"},
			TokenEndpointAuthMethod: "none",
		}}
	}
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		tb.Fatal(err)
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "go-sdk", Version: "1.8.0"}, nil)
	transport := &mcp.StreamableClientTransport{Endpoint: endpoint, HTTPClient: person, OAuthHandler: handler, DisableStandaloneSSE: true}
	c.session, err = client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.session.Close() })
	return c
}

func (c *goClient) call(tool string, arguments map[string]any) string {
	c.tb.Helper()
	text, err := c.try(tool, arguments)
	if err != nil {
		c.tb.Fatal(err)
	}
	return text
}

func (c *goClient) try(tool string, arguments map[string]any) (string, error) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.tb.Context(), 30*time.Second)
	defer cancel()
	res, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(res)
	if err != nil {
		c.tb.Fatal(err)
	}
	return textOf(c.tb, raw), nil
}
