package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/dev/oauthclient"
)

// signInWithin is how long a person has to sign in.
const signInWithin = 5 * time.Minute

// walk is one walk through a server.
type walk struct {
	endpoint string
	client   *http.Client
	open     func(ctx context.Context, address string) error
	out      io.Writer

	oauth    oauthclient.Client
	tokens   oauthclient.Tokens
	evidence []string
}

// step is one thing that is done; it returns what it saw.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

// run does all steps and stops at the first that fails.
func (w *walk) run(ctx context.Context) error {
	for _, s := range []step{
		{"ready", w.ready},
		{"challenge and metadata", w.discover},
		{"registration", w.register},
		{"sign-in", w.signIn},
		{"tool", w.call},
		{"refresh", w.refresh},
		{"tool after the refresh", w.call},
		{"revocation", w.revoke},
	} {
		began := time.Now()
		saw, err := s.do(ctx)
		took := time.Since(began).Round(time.Millisecond)
		if err != nil {
			return fmt.Errorf("%s, after %s: %w", s.name, took, err)
		}
		_, _ = fmt.Fprintf(w.out, "ok  %-24s %8s  %s\n", s.name, took, saw)
		w.evidence = append(w.evidence, fmt.Sprintf("%s (%s)", s.name, took))
	}
	_, _ = fmt.Fprintf(w.out, "\nFor the table in docs/deploy.md:\n| a deployed server, by `make smoke` | %s: %s |\n",
		time.Now().UTC().Format(time.DateOnly), strings.Join(w.evidence, ", "))
	return nil
}

func (w *walk) ready(ctx context.Context) (string, error) {
	base, ok := strings.CutSuffix(w.endpoint, "/mcp")
	if !ok {
		return "", fmt.Errorf("%s does not end in /mcp", w.endpoint)
	}
	var report struct{ Status string }
	status, _, err := w.fetch(ctx, http.MethodGet, base+"/readyz", nil, &report)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s/readyz is %d: %s", base, status, report.Status)
	}
	return report.Status, err
}

var resourceMetadata = regexp.MustCompile(`resource_metadata="([^"]+)"`)

// discover follows the challenge, as a client that knows the URL alone does
// (RFC 9728 section 5.1, RFC 8414 section 3.1).
func (w *walk) discover(ctx context.Context) (string, error) {
	status, header, err := w.fetch(ctx, http.MethodPost, w.endpoint, map[string]any{"jsonrpc": "2.0", "id": 1, "method": "ping"}, nil)
	if err != nil {
		return "", err
	}
	at := resourceMetadata.FindStringSubmatch(header.Get("WWW-Authenticate"))
	if status != http.StatusUnauthorized || at == nil {
		return "", fmt.Errorf("without a token: status %d, challenge %q", status, header.Get("WWW-Authenticate"))
	}
	var resource struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if status, _, err = w.fetch(ctx, http.MethodGet, at[1], nil, &resource); err != nil {
		return "", err
	}
	if status != http.StatusOK || resource.Resource != w.endpoint || len(resource.Servers) != 1 {
		return "", fmt.Errorf("%s: status %d, resource %q, authorization servers %q", at[1], status, resource.Resource, resource.Servers)
	}
	issuer, err := url.Parse(resource.Servers[0])
	if err != nil {
		return "", err
	}
	document := *issuer
	document.Path = "/.well-known/oauth-authorization-server" + issuer.Path
	if status, _, err = w.fetch(ctx, http.MethodGet, document.String(), nil, &w.oauth.Endpoints); err != nil {
		return "", err
	}
	if status != http.StatusOK || w.oauth.Issuer != resource.Servers[0] {
		return "", fmt.Errorf("%s: status %d, issuer %q, want %q", document.String(), status, w.oauth.Issuer, resource.Servers[0])
	}
	return "issuer " + w.oauth.Issuer, nil
}

const callbackPath = "/callback"

func (w *walk) register(ctx context.Context) (string, error) {
	w.oauth.HTTP, w.oauth.Resource, w.oauth.RedirectURI = w.client, w.endpoint, "http://127.0.0.1"+callbackPath
	answer, err := w.oauth.Register(ctx, w.oauth.Public("smoke test"))
	if err == nil {
		err = answer.Wanted(http.StatusCreated)
	}
	return "client " + w.oauth.ID, err
}

// signIn has the person approve and sign in in a browser, and redeems the code.
func (w *walk) signIn(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	answers := make(chan url.Values, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != callbackPath {
			http.NotFound(rw, r)
			return
		}
		select {
		case answers <- r.URL.Query():
		default:
		}
		_, _ = io.WriteString(rw, "Signed in. You can close this page.")
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()

	w.oauth.RedirectURI = "http://" + listener.Addr().String() + callbackPath
	request := w.oauth.Request(nil)
	_, _ = fmt.Fprintf(w.out, "    Approve and sign in:\n    %s\n", request.URL)
	if err := w.open(ctx, request.URL); err != nil {
		_, _ = fmt.Fprintf(w.out, "    No browser could be opened (%v): open the address yourself.\n", err)
	}
	var answer url.Values
	select {
	case answer = <-answers:
	case <-time.After(signInWithin):
		return "", fmt.Errorf("nobody signed in within %s", signInWithin)
	case <-ctx.Done():
		return "", ctx.Err()
	}
	code, err := w.oauth.Code(request, answer)
	if err != nil {
		return "", err
	}
	return "code redeemed", w.take(w.oauth.Redeem(ctx, request, code))
}

func (w *walk) refresh(ctx context.Context) (string, error) {
	before := w.tokens
	if err := w.take(w.oauth.Renew(ctx, before.Refresh)); err != nil {
		return "", err
	}
	if w.tokens.Access == before.Access {
		return "", errors.New("the access token is the same")
	}
	return "a new access token", nil
}

// take keeps the tokens of an answer, which must have both.
func (w *walk) take(answer oauthclient.Answer, err error) error {
	if err != nil {
		return err
	}
	tokens, err := answer.Tokens()
	if err == nil && tokens.Refresh == "" {
		err = errors.New("no refresh token")
	}
	w.tokens = tokens
	return err
}

// bearer adds the access token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// call connects with the SDK's client and calls the first tool that needs no
// argument.
func (w *walk) call(ctx context.Context) (string, error) {
	next := w.client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "smoke", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: w.endpoint, DisableStandaloneSSE: true,
		HTTPClient: &http.Client{Timeout: w.client.Timeout, Transport: bearer{w.tokens.Access, next}}}, nil)
	if err != nil {
		return "", err
	}
	defer session.Close()
	listed, err := session.ListTools(ctx, nil)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(listed.Tools, needsNothing)
	if i < 0 {
		return fmt.Sprintf("%d tools, none without arguments", len(listed.Tools)), nil
	}
	name := listed.Tools[i].Name
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name})
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", name, err)
	case result.IsError:
		return "", fmt.Errorf("%s failed", name)
	}
	info := session.InitializeResult()
	return fmt.Sprintf("%s of %d tools; protocol %s", name, len(listed.Tools), cmp.Or(info.ProtocolVersion, "unknown")), nil
}

func needsNothing(t *mcp.Tool) bool {
	schema, err := json.Marshal(t.InputSchema)
	if err != nil {
		return false
	}
	var demands struct{ Required []string }
	return json.Unmarshal(schema, &demands) == nil && len(demands.Required) == 0
}

// revokedWithin is how soon a revocation reaches every instance.
const revokedWithin = 30 * time.Second

func (w *walk) revoke(ctx context.Context) (string, error) {
	answer, err := w.oauth.Revoke(ctx, w.tokens.Refresh)
	if err == nil {
		err = answer.Wanted(http.StatusOK)
	}
	if err != nil {
		return "", err
	}
	for began := time.Now(); ; {
		status, err := w.pinged(ctx)
		waited := time.Since(began).Round(time.Second)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusUnauthorized:
			return fmt.Sprintf("the access token is refused, within %s", max(waited, time.Second)), nil
		case waited > revokedWithin:
			return "", fmt.Errorf("the access token is still accepted after %s (status %d)", waited, status)
		}
		time.Sleep(time.Second)
	}
}

func (w *walk) pinged(ctx context.Context) (int, error) {
	body := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint, body)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Authorization", "Bearer "+w.tokens.Access)
	response, err := w.client.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// fetch sends JSON, unless body is nil, and reads JSON, if there is any to read.
func (w *walk) fetch(ctx context.Context, method, address string, body, into any) (int, http.Header, error) {
	var content io.Reader
	kind := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		content, kind = bytes.NewReader(b), "application/json"
	}
	r, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	response, err := w.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, nil, err
	}
	if into != nil && json.Unmarshal(read, into) != nil {
		return 0, nil, fmt.Errorf("%s: status %d, and the answer is not JSON", address, response.StatusCode)
	}
	return response.StatusCode, response.Header, nil
}
