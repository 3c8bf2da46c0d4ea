package grants

import (
	"context"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
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
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t)
			i := newInstance(t, table, newClock().Now)
			ctx := context.Background()
			code := create(t, i.Service)
			var tokens Tokens
			if name != "the first redemption" {
				var err error
				if tokens, err = i.Redeem(ctx, code, testRedemption()); err != nil {
					t.Fatal(err)
				}
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
