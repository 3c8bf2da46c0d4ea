package process

import (
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/backend"
	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store/embedded"
)

// storeOnly is an environment without any setting of Entra's.
func storeOnly(t *testing.T) map[string]string {
	return map[string]string{"DATA_DIR": t.TempDir(), "LOCAL_SETTINGS": "none"}
}

func ok(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	status, stdout, stderr := start(t, env, args...)
	if status != exitOK {
		t.Fatalf("app %s: status %d\n%s%s", strings.Join(args, " "), status, stdout, stderr)
	}
	return stdout
}

func fails(t *testing.T, env map[string]string, status int, want string, args ...string) {
	t.Helper()
	got, stdout, stderr := start(t, env, args...)
	if got != status || !strings.Contains(stderr, want) || stdout != "" {
		t.Errorf("app %s: status %d, want %d and %q\nstdout: %s\nstderr: %s", strings.Join(args, " "), got, status, want, stdout, stderr)
	}
}

// TestALeakedKeyIsRetiredFromTheCommandLine: it needs the settings of the store
// alone.
func TestALeakedKeyIsRetiredFromTheCommandLine(t *testing.T) {
	env := storeOnly(t)
	ok(t, env, "keys", "rotate")
	if list := ok(t, env, "keys", "list"); !regexp.MustCompile(`(?m)^1 .* signs`).MatchString(list) {
		t.Errorf("after the first rotation:\n%s", list)
	}
	if out := ok(t, env, "keys", "retire", "1"); !strings.Contains(out, "Retired: 1.") {
		t.Error(out)
	}
	list := ok(t, env, "keys", "list")
	if !regexp.MustCompile(`(?m)^1 .* retired `).MatchString(list) || !regexp.MustCompile(`(?m)^2 .* signs `).MatchString(list) {
		t.Errorf("after retiring the newest, its successor signs at once:\n%s", list)
	}
	fails(t, env, exitFailed, "nothing was retired", "keys", "retire", "1")
	fails(t, env, exitFailed, "nothing was retired", "keys", "retire", "2", "9")
	fails(t, env, exitUsage, `"x" is not the number`, "keys", "retire", "x")
	fails(t, env, exitUsage, "usage: app keys retire EPOCH", "keys", "retire")
	fails(t, env, exitFailed, "nothing was done", "keys", "rewrap")
	if out := ok(t, env, "sign-out", "everyone"); !strings.Contains(out, "Epochs retired: 1.") {
		t.Error(out)
	}
}

func TestPartiesAreBlockedAndUnblocked(t *testing.T) {
	env := storeOnly(t)
	const user, tenant = "9f8c0000-0000-4000-8000-000000000001", "C0A7050C-0000-4000-8000-000000000001"
	ok(t, env, "blocks", "add", "--redirect-host", "evil.example", "--reason", "phishing")
	ok(t, env, "blocks", "add", "--user", user, "--tenant", tenant)
	list := ok(t, env, "blocks", "list")
	if !regexp.MustCompile(`(?m)^redirect-host +evil.example .* phishing`).MatchString(list) || !regexp.MustCompile(`(?m)^user +[0-9a-f]{64} `).MatchString(list) || strings.Contains(list, user) {
		t.Error(list)
	}
	ok(t, env, "blocks", "remove", "--redirect-host", "evil.example")
	ok(t, env, "blocks", "remove", "--user", strings.ToUpper(user), "--tenant", strings.ToLower(tenant))
	fails(t, env, exitFailed, "it is not blocked", "blocks", "remove", "--redirect-host", "evil.example")
	ok(t, env, "connections", "revoke", "--client", "some-client")
	ok(t, env, "connections", "list", "--user", user, "--tenant", tenant)
	if list := ok(t, env, "blocks", "list"); strings.Count(list, "\n") != 1 {
		t.Errorf("a sign-out is listed as a block:\n%s", list)
	}
	for _, args := range [][]string{
		{"blocks", "add"}, {"blocks", "add", "--client", "a", "--app", "b"}, {"blocks", "add", "--user", user}, {"blocks", "add", "--user", "alice@contoso.com", "--tenant", tenant},
		{"connections", "list", "--app", "a"}, {"connections", "list", "--unused-for", "soon"}, {"connections", "list", "--user", user},
		{"connections", "revoke"}, {"connections", "revoke", "everybody"}, {"blocks", "add", "--user", user, "--tenant", tenant, "--client", "a"}, {"connections", "revoke", "--colour", "red"},
	} {
		fails(t, env, exitUsage, "usage: app ", args...)
	}
}

// TestConnectionsAreListedAndEndedByUserClientTenantAndAge: each selection names the
// connections that it is about, and no others.
func TestConnectionsAreListedAndEndedByUserClientTenantAndAge(t *testing.T) {
	env := storeOnly(t)
	const alice, bob, one, two = "a11ce000-0000-4000-8000-000000000001", "b0b00000-0000-4000-8000-000000000001", "c0a7050c-0000-4000-8000-000000000001", "fab00000-0000-4000-8000-000000000001"
	connect(t, env, 100, "old", one, alice)
	connect(t, env, 10, "app", one, alice)
	connect(t, env, 10, "app", one, bob)
	connect(t, env, 10, "app", two, bob)
	for _, tt := range []struct {
		connections int
		by          []string
	}{
		{4, nil},
		{2, []string{"--user", alice, "--tenant", one}},
		{1, []string{"--user", alice, "--tenant", one, "--client", "app"}},
		{3, []string{"--client", "app"}},
		{3, []string{"--tenant", strings.ToUpper(one)}},
		{1, []string{"--unused-for", "60"}},
		{1, []string{"--older-than", "60", "--tenant", one}},
		{0, []string{"--older-than", "60", "--tenant", two}},
	} {
		if list := ok(t, env, append([]string{"connections", "list"}, tt.by...)...); strings.Count(list, "\n") != 1+tt.connections || strings.Contains(list, "alice") {
			t.Errorf("%v, want %d:\n%s", tt.by, tt.connections, list)
		}
	}
	left := func(want int) {
		t.Helper()
		if list := ok(t, env, "connections", "list"); strings.Count(list, "\n") != 1+want {
			t.Errorf("%d are to be left:\n%s", want, list)
		}
	}
	if out := ok(t, env, "connections", "revoke", "--unused-for", "60"); !strings.Contains(out, "Ended: 1 connections") {
		t.Error(out)
	}
	left(3)
	fails(t, env, exitFailed, "nothing was done", "connections", "revoke", "--unused-for", "60")
	ok(t, env, "connections", "revoke", "--user", bob, "--tenant", one, "--client", "app")
	left(2)
	ok(t, env, "connections", "revoke", "--tenant", two)
	left(1)
	ok(t, env, "clients", "block", "--reason", "phishing", "app")
	left(0)
	ok(t, env, "clients", "unblock", "app")
	fails(t, env, exitFailed, "it is not blocked", "clients", "unblock", "app")
	left(1)
}

// connect makes a connection of a user that is days old, in the store of env.
func connect(t *testing.T, env map[string]string, days int, client, tenant, user string) {
	t.Helper()
	cfg, err := config.LoadStore(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	table, err := backend.OpenTable(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	wrapper, err := backend.OpenWrapper(cfg)
	if err != nil {
		t.Fatal(err)
	}
	then := func() time.Time { return time.Now().AddDate(0, 0, -days) }
	ring := keyring.New(keyring.Options{Table: table, Wrapper: wrapper, Now: then, Log: log})
	s := grants.New(grants.Options{Table: table, Ring: ring, Issuer: "https://mcp.example", Resource: "https://mcp.example/mcp", RefreshLifetime: 365 * 24 * time.Hour, Now: then, Log: log})
	verifier := oauth.NewVerifier()
	code, err := s.Create(t.Context(), grants.Authorization{
		ClientID: client, RedirectURI: "https://app.example/cb", CodeChallenge: oauth.S256(verifier), Scopes: oauth.NewScopes("openid"),
		Identity: grants.Identity{TenantID: tenant, ObjectID: user, Username: "alice@contoso.example"},
		Upstream: grants.Upstream{RefreshToken: grants.EntraRefreshToken{Value: secret.New("upstream")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Redeem(t.Context(), code, grants.Redemption{ClientID: client, RedirectURI: "https://app.example/cb", Verifier: verifier}); err != nil {
		t.Fatal(err)
	}
}

func TestTenantsAreAllowedAndDenied(t *testing.T) {
	env := storeOnly(t)
	const joins, leaves = "C0A7050C-0000-4000-8000-000000000001", "fab71ca0-0000-4000-8000-000000000002"
	env["ENTRA_ALLOWED_TENANTS"] = leaves
	ok(t, env, "tenants", "allow", "--reason", "contract 12", joins)
	if out := ok(t, env, "tenants", "deny", "--reason", "has left", leaves); !strings.Contains(out, "within 15 seconds") {
		t.Error(out)
	}
	list := ok(t, env, "tenants", "list")
	for _, want := range []string{`(?m)^` + strings.ToLower(joins) + ` +allowed +\d{4}-\d\d-\d\d +contract 12`, `(?m)^` + leaves + ` +denied .* has left`, `here it is ` + leaves} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("no %s in:\n%s", want, list)
		}
	}
	if blocks := ok(t, env, "blocks", "list"); !strings.Contains(blocks, "has left") || strings.Contains(blocks, "contract 12") {
		t.Errorf("a denial is a block, an admission is none:\n%s", blocks)
	}
	fails(t, env, exitFailed, "is not denied, and nothing was done", "tenants", "erase", joins)
	if out := ok(t, env, "tenants", "erase", leaves); !strings.Contains(out, "Erased: 0 users") {
		t.Error(out)
	}
	ok(t, env, "tenants", "allow", leaves)
	ok(t, env, "tenants", "deny", joins)
	list = ok(t, env, "tenants", "list")
	if !regexp.MustCompile(`(?m)^`+leaves+` +allowed`).MatchString(list) || !regexp.MustCompile(`(?m)^`+strings.ToLower(joins)+` +denied`).MatchString(list) || strings.Count(list, "0000-4000-8000") != 3 {
		t.Errorf("each is listed once, as it is now:\n%s", list)
	}
	for _, args := range [][]string{
		{"tenants", "allow"}, {"tenants", "deny", "contoso.com"}, {"tenants", "allow", joins, leaves}, {"tenants", "erase", "--reason", "x", leaves}, {"tenants", "list", "all"},
	} {
		fails(t, env, exitUsage, "usage: app tenants ", args...)
	}
}

func TestAnOperatorMakesClients(t *testing.T) {
	env := storeOnly(t)
	status, out, log := start(t, env, "clients", "create", "--name", "Contoso Foundry", "--redirect-uri", "https://ai.azure.com/cb", "--without-pkce")
	if status != exitOK || !strings.Contains(log, "create_client_without_pkce") {
		t.Fatalf("%d %s", status, log)
	}
	id, secret := field(t, out, "client_id"), field(t, out, "client_secret")
	if !strings.Contains(out, "may leave out PKCE") {
		t.Error(out)
	}
	if list := ok(t, env, "clients", "list"); !strings.Contains(list, id) || !strings.Contains(list, "without PKCE") || strings.Contains(list, secret) {
		t.Error(list)
	}
	if again := field(t, ok(t, env, "clients", "rotate-secret", id), "client_secret"); again == secret {
		t.Error("the secret is the same")
	}
	ok(t, env, "clients", "set-redirect", id, "https://ai.azure.com/other")
	if list := ok(t, env, "clients", "list"); !strings.Contains(list, "https://ai.azure.com/other") {
		t.Error(list)
	}
	ok(t, env, "clients", "delete", id)
	fails(t, env, exitFailed, "nothing was done", "clients", "delete", id)
	fails(t, env, exitUsage, "--name and --redirect-uri", "clients", "create", "--name", "x")
	fails(t, env, exitFailed, "PKCE", "clients", "create", "--name", "x", "--redirect-uri", "https://a.example/cb", "--public", "--without-pkce")
}

func field(t *testing.T, out, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` +(\S+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no %s in:\n%s", name, out)
	}
	return m[1]
}

func TestCommandsDoNotWaitForTheServerThatHasTheStore(t *testing.T) {
	env := storeOnly(t)
	table, err := embedded.Open(env["DATA_DIR"])
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	fails(t, env, exitFailed, "stop it first", "keys", "list")
}

func TestMistakesOfTheStoresSettingsEndWith78(t *testing.T) {
	env := storeOnly(t)
	env["MASTER_KEY"], env["TABLES_NAME"] = "short", "x"
	fails(t, env, exitConfig, "MASTER_KEY ", "keys", "list")
	fails(t, env, exitConfig, "TABLES_NAME ", "keys", "list")
}

func TestEveryCommandExplainsItself(t *testing.T) {
	_, all, _ := start(t, nil, "help")
	for _, c := range slices.Concat(ownCommands, commands()) {
		if c.args != "" && len(c.examples) == 0 {
			t.Errorf("%s takes arguments and shows no example", c.name)
		}
		if !strings.Contains(all, "  "+c.name+" ") || !strings.Contains(all, c.summary) {
			t.Errorf("%s is not in the list of commands", c.name)
		}
		status, help, _ := start(t, nil, append(strings.Fields(c.name), "--help")...)
		if status != exitOK || !strings.Contains(help, "usage: app "+c.name) {
			t.Errorf("%s --help: %d %s", c.name, status, help)
		}
		for _, e := range c.examples {
			if found, _, ok := find(strings.Fields(e)); !ok || found.name != c.name && !strings.HasPrefix(e, "keys list") {
				t.Errorf("%s: the example %q is another command", c.name, e)
			}
		}
	}
}

func TestATypoNamesTheNearestCommand(t *testing.T) {
	for typed, want := range map[string]string{
		"docter": "app doctor?", "keys lsit": "app keys list?", "keys": "app keys list?", "key rotate": "app keys rotate?",
		"client create": "app clients create?", "sign-out everbody": "app sign-out everyone?", "conections list": "app connections list?", "xyzzy plugh": "",
	} {
		status, _, stderr := start(t, nil, strings.Fields(typed)...)
		if status != exitUsage || (want != "" && !strings.Contains(stderr, "Did you mean "+want)) || (want == "" && strings.Contains(stderr, "Did you mean")) {
			t.Errorf("%s: %d %.120s, want %s", typed, status, stderr, want)
		}
	}
}

func TestTheCommandLineLeavesNoFileBesideTheStore(t *testing.T) {
	env := storeOnly(t)
	ok(t, env, "keys", "list")
	files, err := filepath.Glob(filepath.Join(env["DATA_DIR"], "*"))
	if err != nil || len(files) != 2 {
		t.Errorf("%v %v", files, err)
	}
}
