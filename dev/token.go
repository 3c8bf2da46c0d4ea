package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/dev/browser"
	"entramcp/dev/oauthclient"
	"entramcp/dev/tenant"
)

// The names of applications and agents that a local run accepts with their
// users' tokens (ENTRA_CLIENTS). Any other name is an application as well.
var namedClients = []string{"copilot", "researcher"}

// clientIDOf is the client id of an application of that name: Microsoft's token
// store for copilot, and one derived from the name for all others.
func clientIDOf(name string) string {
	if name == "copilot" {
		return "ab3be6b7-f5df-413d-ac2d-abf1e3fd9c0b"
	}
	return tenant.DerivedID("application", name)
}

// issuePath is where a running make run issues tokens of the simulated tenant.
// Web pages cannot ask: the body is JSON, and nothing answers their preflight.
const issuePath = "/dev/token"

// wish is what a requested token of the tenant says.
type wish struct {
	App, Agent, User string
	Roles, Scopes    []string
}

func issue(t *tenant.Tenant, s settings) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked wish
		if r.Host != "localhost:"+s.tenantPort || r.Header.Get("Content-Type") != "application/json" ||
			json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&asked) != nil {
			http.Error(w, "ask with make token", http.StatusBadRequest)
			return
		}
		token, err := t.Issue(tenant.CallerToken{
			App: clientIDOf(cmp.Or(asked.Agent, asked.App)), Agent: asked.Agent != "", User: asked.User,
			Blueprint: clientIDOf("blueprint"), Roles: asked.Roles, Scopes: asked.Scopes,
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, token)
	})
}

// requestedToken is the token that the variables of make token and make call
// describe: Entra's for an APP or an AGENT, this server's own for a USER.
func requestedToken(ctx context.Context, s settings, getenv func(string) string) (string, error) {
	list := func(name string) []string {
		return strings.FieldsFunc(getenv(name), func(r rune) bool { return r == ',' || r == ' ' })
	}
	asked := wish{App: getenv("DEV_APP"), Agent: getenv("DEV_AGENT"), User: account(getenv("DEV_USER")), Roles: list("DEV_ROLES"), Scopes: list("DEV_SCOPES")}
	switch {
	case asked.App != "" && asked.Agent != "":
		return "", errors.New("add either APP or AGENT, not both")
	case asked.App == "" && asked.Agent == "" && asked.User == "":
		return "", errors.New("add a user or an application: USER=bob, APP=robot ROLES=Mcp.Invoke, or AGENT=researcher")
	case asked.User != "" && !slices.Contains(accounts, asked.User):
		return "", fmt.Errorf("%s is not a sample user: they are %s", asked.User, strings.Join(shortAccounts(), ", "))
	case asked.App == "" && asked.Agent == "":
		return signIn(ctx, s, asked.User, asked.Scopes)
	}
	if asked.User != "" && len(asked.Scopes) == 0 {
		asked.Scopes = []string{tenant.DefaultScope}
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return "", err
	}
	text, err := post(ctx, s.tenantURL()+issuePath, "application/json", body)
	return string(text), err
}

// accounts are the sample users.
var accounts = []string{tenant.Alice, tenant.Bob, tenant.Carol, tenant.Dave, tenant.Erin, tenant.Frank, tenant.Grace, tenant.Heidi, tenant.Ivan}

func shortAccounts() []string {
	var names []string
	for _, u := range accounts {
		name, _, _ := strings.Cut(u, "@")
		names = append(names, name)
	}
	return names
}

// account is the user name of a sample account, which may be written without
// its domain.
func account(name string) string {
	for _, u := range accounts {
		if short, _, _ := strings.Cut(u, "@"); strings.EqualFold(name, short) {
			return u
		}
	}
	return name
}

// signIn gets a token as an MCP client does.
func signIn(ctx context.Context, s settings, user string, scopes []string) (string, error) {
	c := oauthclient.New(s.publicURL(), "http://127.0.0.1/make-token")
	metadata := c.Public("make token")
	metadata["grant_types"], metadata["application_type"] = []string{"authorization_code"}, "native"
	more := url.Values{}
	if len(scopes) > 0 {
		more.Set("scope", strings.Join(scopes, " "))
	}
	tokens, err := c.SignIn(ctx, metadata, more, browser.New(user).Approve)
	if e := new(url.Error); errors.As(err, &e) {
		return "", notRunning(s.publicURL(), err)
	}
	if err != nil {
		return "", fmt.Errorf("%s could not sign in: %w", user, err)
	}
	return tokens.Access, nil
}

func notRunning(at string, err error) error {
	return fmt.Errorf("nothing answers at %s: start make run in another terminal (%w)", at, err)
}

// post sends body to a make run, and takes every status but 2xx for an error.
func post(ctx context.Context, to, contentType string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, notRunning(to, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	return text, err
}

// call calls the tool DEV_TOOL with the JSON object DEV_ARGS and prints the
// result as JSON. A tool that fails is an error.
func call(ctx context.Context, s settings, getenv func(string) string, out io.Writer) error {
	err := callTool(ctx, s, getenv, out)
	if r, ok := errors.AsType[refused](err); ok {
		return r // without what the SDK was about to do
	}
	return err
}

func callTool(ctx context.Context, s settings, getenv func(string) string, out io.Writer) error {
	var arguments map[string]any
	if err := json.Unmarshal([]byte(cmp.Or(getenv("DEV_ARGS"), "{}")), &arguments); err != nil {
		return fmt.Errorf("ARGS is not a JSON object: %w", err)
	}
	token, err := requestedToken(ctx, s, getenv)
	if err != nil {
		return err
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "make call", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: s.publicURL() + "/mcp", HTTPClient: &http.Client{Timeout: time.Minute, Transport: bearer(token)}, MaxRetries: -1,
	}, nil)
	if err != nil {
		return err
	}
	defer session.Close()
	list, err := session.ListTools(ctx, nil)
	if err != nil {
		return err
	}
	var names []string
	for _, t := range list.Tools {
		names = append(names, t.Name)
	}
	tool := getenv("DEV_TOOL")
	if !slices.Contains(names, tool) {
		wrong := "add the name of a tool"
		if tool != "" {
			wrong = "there is no tool " + tool + " for this caller"
		}
		return fmt.Errorf("%s: TOOL=%s", wrong, strings.Join(slices.Sorted(slices.Values(names)), ", TOOL="))
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(result); err != nil {
		return err
	}
	if result.IsError {
		return errors.New("the tool answered with an error")
	}
	return nil
}

// bearer sends a token with every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || (res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden) {
		return res, err
	}
	// The SDK shows the status alone.
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	var refusal struct {
		Description string `json:"error_description"`
	}
	if err := errors.Join(err, json.Unmarshal(text, &refusal)); err != nil {
		return nil, fmt.Errorf("%s: %w", res.Status, err)
	}
	return nil, refused(res.Status + ": " + refusal.Description)
}

// refused is the server's answer to a caller that it refuses.
type refused string

func (r refused) Error() string { return string(r) }
