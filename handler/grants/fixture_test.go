package grants

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/keyring"
	"entramcp/handler/logtest"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

const (
	testIssuer   = "https://mcp.example"
	testResource = oauth.Resource("https://mcp.example/mcp")
	testClient   = "client-1"
	testRedirect = "http://127.0.0.1:33418/callback"
	testVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

var testScopes = oauth.NewScopes("openid", "profile", "files.read")

// clock is moved by tests; several instances may read it with an offset.
type clock = clocktest.Clock

func newClock() *clock { return clocktest.New() }

var (
	errDown = errors.New("connection refused")
	errLate = errors.New("connection reset by peer")
)

func newTable(tb testing.TB) store.Table {
	tb.Helper()
	table := storetest.Embedded(tb)
	endRollout(tb, table)
	return table
}

// endRollout makes the table one that no earlier version uses any more.
func endRollout(tb testing.TB, table store.Table) {
	tb.Helper()
	row := store.Row{Partition: BlockPartition, Key: rolloutKey, Value: []byte(`{"v":1,"at":"2026-01-01T00:00:00Z"}`)}
	storetest.MustInsert(tb, table, row)
}

// instance is one process of the server.
type instance struct {
	*Service
	wire *storetest.Instrumented
	ring *keyring.Ring
	log  *logtest.Log
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func testWrapper(t failer) keyring.Wrapper {
	t.Helper()
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	return wrapper
}

func newInstance(t failer, table store.Table, now func() time.Time) *instance {
	t.Helper()
	i := &instance{wire: storetest.Instrument(table), log: &logtest.Log{}}
	i.ring = keyring.New(keyring.Options{Table: table, Wrapper: testWrapper(t), Now: now})
	i.Service = New(Options{
		Table: i.wire, Ring: i.ring, Issuer: testIssuer, Resource: testResource, Renew: renewOfContext(renewOK), Now: now,
		Log: i.log.Text(),
	})
	return i
}

// sweepExpired removes what is over by the clock of i, as the sweep does: i
// completes revocations before their rows go.
func sweepExpired(t failer, i *instance) {
	t.Helper()
	var over []store.Row
	for cursor := store.Cursor(""); ; {
		page, err := i.wire.Table.ListExpired(context.Background(), i.now(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		over = append(over, page.Rows...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for _, row := range over {
		if strings.HasPrefix(row.Partition, RevocationPrefix) || row.Partition == LegacyRevocationPartition {
			if err := i.CompleteRevocations(context.Background(), []store.Row{row}); err != nil {
				continue
			}
		}
		err := i.wire.Table.Delete(context.Background(), row.Partition, row.Key, row.ETag)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			t.Fatal(err)
		}
	}
}

// removeRow removes a row whatever its version.
func removeRow(table store.Table, partition, key string) error {
	row, err := table.Get(context.Background(), partition, key)
	if err != nil {
		return err
	}
	return table.Delete(context.Background(), partition, key, row.ETag)
}

func mustBeCurrent(t failer, i *instance) {
	t.Helper()
	if err := i.ensureCurrent(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func wantMarked(t failer, i *instance, tokens Tokens) {
	t.Helper()
	r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
	if err != nil || r.Revoked.IsZero() {
		t.Fatalf("the grant is not marked: %v", err)
	}
}

func wantReason(t failer, i *instance, tokens Tokens, want string) {
	t.Helper()
	r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
	if err != nil || r.Revoked.IsZero() || r.Reason != want {
		t.Fatalf("the grant has ended for the reason %q, %v; want %q", r.Reason, err, want)
	}
}

// revocationRows counts the rows of both kinds of partitions.
func revocationRows(t failer, i *instance) int {
	t.Helper()
	n := 0
	for _, span := range []store.Span{store.Prefix(RevocationPrefix), store.Partition(LegacyRevocationPartition)} {
		page, err := i.wire.Table.List(context.Background(), span, "")
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Rows)
	}
	return n
}

var testIdentity = Identity{TenantID: "11111111-1111-1111-1111-111111111111", ObjectID: "22222222-2222-2222-2222-222222222222",
	Name: "Ada Lovelace", Username: "ada@example.com", Roles: []string{"Reader"}}

func entraRefresh(text string) EntraRefreshToken { return EntraRefreshToken{secret.New(text)} }

func entraAPI(text string) EntraAccessToken { return EntraAccessToken{secret.New(text)} }

func testAuthorization() Authorization {
	return Authorization{ClientID: testClient, RedirectURI: testRedirect, CodeChallenge: oauth.S256(testVerifier),
		Scopes: testScopes, Identity: testIdentity, Upstream: Upstream{RefreshToken: entraRefresh("entra-rt-0"), APIToken: entraAPI("entra-at-0")}}
}

func testRedemption() Redemption {
	return Redemption{ClientID: testClient, RedirectURI: testRedirect, Verifier: testVerifier}
}

func create(t failer, s *Service) Code {
	t.Helper()
	return mustCreate(t, s, testAuthorization())
}

func mustCreate(t failer, s *Service, a Authorization) Code {
	t.Helper()
	code, err := s.Create(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func signIn(t failer, s *Service) Tokens {
	t.Helper()
	return mustRedeem(t, s, create(t, s))
}

func mustRedeem(t failer, s *Service, code Code) Tokens {
	t.Helper()
	tokens, err := s.Redeem(context.Background(), code, testRedemption())
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func renewOK(context.Context, Upstream, Identity) (Renewal, error) {
	return Renewal{Upstream: Upstream{RefreshToken: entraRefresh("entra-rt-n")}}, nil
}

type renewKey struct{}

// renewOfContext is the Renew of one request, and otherwise entra.
func renewOfContext(entra Renew) Renew {
	return func(ctx context.Context, up Upstream, id Identity) (Renewal, error) {
		if renew, ok := ctx.Value(renewKey{}).(Renew); ok {
			return renew(ctx, up, id)
		}
		return entra(ctx, up, id)
	}
}

func withRenew(ctx context.Context, renew Renew) context.Context {
	return context.WithValue(ctx, renewKey{}, renew)
}

// Refresh is that of the Service, with Entra answering as renew does.
func (i *instance) Refresh(ctx context.Context, token RefreshToken, clientID string, scopes oauth.Scopes, renew Renew) (Tokens, error) {
	return i.Service.Refresh(withRenew(ctx, renew), token, clientID, scopes)
}

// refresh is what a client does with its newest token.
func refresh(s *Service, token RefreshToken) (Tokens, error) {
	return s.Refresh(withRenew(context.Background(), renewOK), token, testClient, nil)
}

func mustRefresh(t failer, s *Service, token RefreshToken) Tokens {
	t.Helper()
	tokens, err := refresh(s, token)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func mustRevoke(t failer, s *Service, token string) {
	t.Helper()
	if err := s.Revoke(context.Background(), token, testClient); err != nil {
		t.Fatal(err)
	}
}

// mustAnnounce is the first of the two writes of a revocation.
func mustAnnounce(t failer, s *Service, a announcement) {
	t.Helper()
	if err := s.announce(context.Background(), a); err != nil {
		t.Fatal(err)
	}
}

func mustBlock(t failer, s *Service, kind BlockKind, value, reason string) {
	t.Helper()
	if err := s.Block(context.Background(), kind, value, reason); err != nil {
		t.Fatal(err)
	}
}

func mustGet(t failer, s *Service, subject Subject, id string) Grant {
	t.Helper()
	g, err := s.Get(context.Background(), subject, id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func mustRotate(t failer, i *instance) {
	t.Helper()
	if err := i.ring.Rotate(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// mustRetire retires the first key, whose successor signs at once.
func mustRetire(t failer, i *instance) {
	t.Helper()
	if err := i.ring.Retire(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t failer, err error, want oauth.Code) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	if e := oauth.AsError(err); e.Code != want {
		t.Fatalf("%v, want %s", err, want)
	}
}

func mustVerify(t failer, s *Service, token AccessToken) *Access {
	t.Helper()
	access, err := s.Verify(context.Background(), token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	return access
}
