package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/dev/funchost"
	"entramcp/e2e/stack"
	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/toolkit"
)

// TestMain turns the test binary into a handler where the emulated host has
// started it.
func TestMain(m *testing.M) {
	if os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT") == "" {
		os.Exit(stack.Main(m))
	}
	fmt.Fprintln(os.Stderr, handleWithASlowTool())
	os.Exit(1)
}

// silent accepts connections and never says anything.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestHostedTheFirstAnswerWaitsForNothing: with storage and Entra that take
// connections and stay silent, the host is answered and so is whoever must sign
// in; only /readyz says what is wrong.
func TestHostedTheFirstAnswerWaitsForNothing(t *testing.T) {
	path, err := stack.Package()
	if err != nil {
		t.Fatal(err)
	}
	host, err := funchost.Start(funchost.Options{Package: path, Hostname: stack.SiteHost, Settings: map[string]string{
		"TABLES_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=c2VjcmV0;TableEndpoint=http://" + silent(t) + "/devstoreaccount1",
		"MASTER_KEY":               strings.Repeat("hosted-master-key-", 3), "ENTRA_AUTHORITY": "http://" + silent(t), "TIMEOUT_SECONDS": "2",
		"ENTRA_TENANT_ID": stack.TenantID, "ENTRA_CLIENT_ID": stack.ClientID, "ENTRA_CLIENT_SECRET": stack.ClientSecret,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := host.Wait(ctx); err != nil {
		t.Fatalf("no answer: %v\n%s", err, host.Log())
	}
	front := &funchost.FrontEnd{Hostname: stack.SiteHost}
	front.Use(host)
	server := httptest.NewServer(front)
	defer server.Close()
	client := &http.Client{Timeout: 20 * time.Second}
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/mcp": 401, "/.well-known/oauth-protected-resource/mcp": 200, "/readyz": 503} {
		res, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, res.Status, want)
		}
	}
	if strings.Contains(host.Log(), "exited") {
		t.Error("the handler gave up")
	}
}

// handleWithASlowTool is the handler as it is deployed, with one tool more: it
// reports progress at once, and ends when another call says so.
func handleWithASlowTool() error {
	cfg, err := config.Load(os.Getenv)
	if err != nil {
		return err
	}
	table, err := azuretable.New(azuretable.Options{ConnectionString: azuretable.ConnectionString{Value: cfg.Store.ConnectionString.Value}, Name: cfg.Store.TableName})
	if err != nil {
		return err
	}
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: cfg.Keys.MasterKey.Value})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	catalogue := toolkit.Catalogue{About: toolkit.About{Name: "slow"}, Tools: []toolkit.Tool{
		toolkit.Define("slow", "Goes on until the tool end is called.", func(ctx context.Context, caller *toolkit.Caller, _ struct{}) (string, error) {
			req, ok := caller.Request.(*mcp.CallToolRequest)
			if !ok {
				return "", errors.New("not a call of a tool")
			}
			params := &mcp.ProgressNotificationParams{ProgressToken: req.Params.GetProgressToken(), Progress: 1, Message: "begun"}
			if err := req.Session.NotifyProgress(ctx, params); err != nil {
				return "", err
			}
			select {
			case <-ended:
				return "done", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}),
		toolkit.Define("end", "Ends the tool slow.", func(context.Context, *toolkit.Caller, struct{}) (string, error) {
			close(ended)
			return "ended", nil
		}),
	}}
	server, err := handler.New(cfg, handler.Dependencies{Table: table, Wrapper: wrapper, Log: slog.New(slog.NewJSONHandler(os.Stdout, nil)), Catalogue: &catalogue})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Port)))
	if err != nil {
		return err
	}
	go func() {
		if err := table.CreateIfMissing(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		server.Run(context.Background())
	}()
	return http.Serve(listener, server)
}

// TestHostedProgressArrivesBeforeTheResult: an answer streams through the host
// and its front end, event by event.
func TestHostedProgressArrivesBeforeTheResult(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "package.zip")
	if err := funchost.Pack(path, self, "../host.json"); err != nil {
		t.Fatal(err)
	}
	s := stack.Start(t, stack.Options{Instances: 1, Azure: &stack.Azure{Package: path}})
	a := newApp(t, s, stack.Alice).signIn("openid")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.MCP(), strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"slow","arguments":{},"_meta":{"progressToken":"p"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"Authorization": "Bearer " + a.access, "Content-Type": "application/json", "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"} {
		req.Header.Set(name, v)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var methods []string
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "" {
			continue
		}
		var message struct {
			Method string
			ID     int
		}
		if err := json.Unmarshal([]byte(data), &message); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		methods = append(methods, message.Method)
		if message.Method == "notifications/progress" {
			if got := a.call("end"); got.failed {
				t.Fatalf("%+v", got)
			}
		}
	}
	if want := "notifications/progress|"; strings.Join(methods, "|") != want || lines.Err() != nil {
		t.Errorf("%s: events %q, %v", res.Status, methods, lines.Err())
	}
}
