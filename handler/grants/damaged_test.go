package grants

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// What Entra gave is sealed for its row. With that of another row in its place nobody
// gets tokens; that we cannot read our own row says nothing against the client.
func TestAGrantWhoseSealedPartIsAnothersGivesNothing(t *testing.T) {
	for name, use := range map[string]func(i *instance, code Code, tokens Tokens) error{
		"the first redemption": func(i *instance, code Code, _ Tokens) error {
			_, err := i.Redeem(context.Background(), code, testRedemption())
			return err
		},
		"a repeated redemption": func(i *instance, code Code, _ Tokens) error {
			_, err := i.Redeem(context.Background(), code, testRedemption())
			return err
		},
		"a refresh": func(i *instance, _ Code, tokens Tokens) error {
			_, err := refresh(i.Service, tokens.Refresh)
			return err
		},
		"Entra's tokens that are renewed": func(i *instance, _ Code, tokens Tokens) error {
			r, err := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
			if err != nil {
				return err
			}
			_, err = i.UpdateUpstream(context.Background(), r.grant(Identity{}), Upstream{RefreshToken: entraRefresh("new")})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t)
			i := newInstance(t, table, newClock().Now)
			ctx := context.Background()
			code := create(t, i.Service)
			var tokens Tokens
			if name != "the first redemption" {
				tokens = mustRedeem(t, i.Service, code)
			}
			create(t, i.Service)
			page, err := table.List(ctx, store.Prefix(GrantPrefix), "")
			if err != nil || len(page.Rows) != 2 {
				t.Fatalf("%d grants, %v", len(page.Rows), err)
			}
			var both [2]record
			for n, row := range page.Rows {
				if both[n], err = i.read(ctx, Subject(row.Partition[len(GrantPrefix):]), row.Key); err != nil {
					t.Fatal(err)
				}
			}
			both[0].Sealed, both[1].Sealed = both[1].Sealed, both[0].Sealed
			for _, r := range both {
				if _, err := i.replace(ctx, r); err != nil {
					t.Fatal(err)
				}
			}
			wantCode(t, use(i, code, tokens), oauth.TemporarilyUnavailable)
		})
	}
}

// A row that cannot be read is an outage, not a verdict; a revocation among others
// is logged and does not hide them.
func TestDamagedRowsAreNoVerdict(t *testing.T) {
	ctx := context.Background()
	for name, tt := range map[string]struct {
		damage func(i *instance, tokens Tokens) (partition, key string)
		use    func(i *instance, tokens Tokens) error
	}{
		"a grant that is refreshed": {grantRow, func(i *instance, tokens Tokens) error { _, err := refresh(i.Service, tokens.Refresh); return err }},
		"a grant that is revoked":   {grantRow, func(i *instance, tokens Tokens) error { return i.Revoke(ctx, tokens.Refresh.Reveal(), testClient) }},
		"a grant that is listed":    {grantRow, func(i *instance, tokens Tokens) error { _, err := i.List(ctx, tokens.Grant.Subject); return err }},
		"a grant that is found":     {grantRow, func(i *instance, _ Tokens) error { _, _, err := i.Scan(ctx, Filter{}, ""); return err }},
		"a block": {func(i *instance, _ Tokens) (string, string) {
			b := Block{Kind: BlockClient, Value: "c"}
			mustBlock(t, i.Service, b.Kind, b.Value, "")
			return BlockPartition, b.rowKey()
		}, func(i *instance, _ Tokens) error { return i.Ready(ctx) }},
	} {
		t.Run(name, func(t *testing.T) {
			table, c := newTable(t), newClock()
			i := newInstance(t, table, c.Now)
			tokens := signIn(t, i.Service)
			partition, key := tt.damage(i, tokens)
			row := storetest.MustGet(t, table, partition, key)
			row.Value = []byte("{")
			storetest.MustReplace(t, table, row)
			wantCode(t, tt.use(newInstance(t, table, c.Now), tokens), oauth.TemporarilyUnavailable)
		})
	}
	t.Run("a revocation", func(t *testing.T) {
		table, c := newTable(t), newClock()
		i := newInstance(t, table, c.Now)
		tokens := signIn(t, i.Service)
		mustAnnounce(t, i.Service, announcement{Subject: tokens.Grant.Subject, Grant: tokens.Grant.ID})
		damaged := store.Row{Partition: hourPartition(c.Now()), Key: stampKey(c.Now()), Value: []byte("{")}
		storetest.MustInsert(t, table, damaged)
		other := newInstance(t, table, c.Now)
		_, err := other.Verify(ctx, tokens.Access.Reveal())
		wantCode(t, err, oauth.InvalidToken)
		if !strings.Contains(other.log.String(), "a revocation cannot be read") {
			t.Errorf("logged: %s", other.log)
		}
		other.log.Reset()
		if err := other.CompleteRevocations(ctx, storetest.Rows(t, table, store.Prefix(RevocationPrefix))); err != nil {
			t.Error(err)
		}
		wantMarked(t, other, tokens)
		if !strings.Contains(other.log.String(), "a revocation cannot be read") {
			t.Errorf("logged at its end: %s", other.log)
		}
	})
}

func grantRow(_ *instance, tokens Tokens) (partition, key string) {
	return tokens.Grant.Subject.partition(), tokens.Grant.ID
}

// Every row says of which version its format is.
func TestRowsSayTheirVersion(t *testing.T) {
	ctx := context.Background()
	table := newTable(t)
	if err := removeRow(table, BlockPartition, rolloutKey); err != nil {
		t.Fatal(err)
	}
	i := newInstance(t, table, newClock().Now)
	tokens := signIn(t, i.Service)
	create(t, i.Service)
	for _, err := range []error{
		i.Block(ctx, BlockClient, "c", ""), i.SignOut(ctx, BlockClient, "c", ""), i.AllowTenant(ctx, otherTenant, ""),
		i.Disconnect(ctx, tokens.Grant.Subject, tokens.Grant.ID),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	for _, prefix := range []string{GrantPrefix, RevocationPrefix, LegacyRevocationPartition, BlockPartition} {
		for _, row := range storetest.Rows(t, table, store.Prefix(prefix)) {
			seen[prefix]++
			var value struct {
				V int `json:"v"`
			}
			if err := json.Unmarshal(row.Value, &value); err != nil || value.V != 1 {
				t.Errorf("%s/%s is of version %d, %v", row.Partition, row.Key, value.V, err)
			}
		}
	}
	// The keys of blocks are what earlier versions look for.
	for _, key := range []string{"block-client-" + partyHash("c"), "out-client-" + partyHash("c"), "block-allowed-tenant-" + TenantHash(otherTenant)} {
		if _, err := table.Get(ctx, BlockPartition, key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if seen[GrantPrefix] != 2 || seen[RevocationPrefix] == 0 || seen[LegacyRevocationPartition] != 1 || seen[BlockPartition] != 4 {
		t.Errorf("rows: %v", seen)
	}
}

// Rows are never overwritten, so what is announced in one moment must not share a key;
// the same revocation announced twice is one.
func TestAnnouncementsOfOneMomentDoNotHideEachOther(t *testing.T) {
	at := newClock().Now()
	key := func(v announcement) string {
		t.Helper()
		v.At = at
		row, err := v.row(at.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return row.Partition + "/" + row.Key
	}
	seen := map[string]bool{}
	for _, v := range []announcement{{Kind: blocksChanged}, {Kind: keysChanged}, {Kind: blocksChanged}, {Grant: "g1"}, {Grant: "g2"}} {
		if k := key(v); seen[k] {
			t.Errorf("%+v is at %s, where another is", v, k)
		} else {
			seen[k] = true
		}
	}
	if first, again := key(announcement{Grant: "g1"}), key(announcement{Grant: "g1"}); first != again {
		t.Error("one revocation has two rows")
	}
}
