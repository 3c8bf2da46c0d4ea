package grants

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

func TestUpstreamOutageChangesNothing(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	_, writes := i.wire.Counts()
	slow := oauth.Unavailable("Entra is busy.", 7*time.Second, nil)
	for _, fault := range []error{context.DeadlineExceeded, errors.New("502 from upstream"), fmt.Errorf("entra: %w", slow)} {
		_, err := i.Refresh(context.Background(), first.Refresh, testClient, nil,
			func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, fault })
		wantCode(t, err, oauth.TemporarilyUnavailable)
		want := oauth.AsError(renewFailed(fault))
		if got := oauth.AsError(err); got.Description != want.Description || got.RetryAfter != want.RetryAfter || got.RetryAfter <= 0 {
			t.Errorf("%v is answered with %q, and to be repeated after %s", fault, got.Description, got.RetryAfter)
		}
	}
	if e := oauth.AsError(renewFailed(slow)); e.RetryAfter != 7*time.Second || e.Description != "Entra is busy." {
		t.Error("upstream's own answer was lost")
	}
	if _, w := i.wire.Counts(); w != writes {
		t.Error("an outage wrote")
	}
	if next, err := refresh(i.Service, first.Refresh); err != nil || generation(t, i.Service, next.Refresh) != 2 {
		t.Errorf("after the outage: %v", err)
	}
}

func TestUpstreamInvalidGrantEndsGrant(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	first := signIn(t, i.Service)
	_, err := i.Refresh(context.Background(), first.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		return Renewal{}, fmt.Errorf("user is disabled: %w", ErrSignInOver)
	})
	wantCode(t, err, oauth.InvalidGrant)
	if !strings.Contains(i.log.String(), "user is disabled") {
		t.Errorf("the reason is not logged: %s", i.log)
	}
	_, err = refresh(i.Service, first.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	_, err = i.Verify(context.Background(), first.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
}

func TestUpstreamInvalidGrantThatCannotBeRecordedIsRetryable(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	first := signIn(t, i.Service)
	over := func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, ErrSignInOver }
	i.wire.Before(storetest.Fail(errDown, storetest.Insert))
	_, err := i.Refresh(context.Background(), first.Refresh, testClient, nil, over)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	i.wire.Repair()
	_, err = i.Refresh(context.Background(), first.Refresh, testClient, nil, over)
	wantCode(t, err, oauth.InvalidGrant)
}

// Two instances race; the loser asked Entra with the older token and was told
// no. What the winner was told is newer.
func TestRenewalElsewhereOutlivesStaleRefusal(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	first := signIn(t, a.Service)
	tokens, err := a.Refresh(context.Background(), first.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		if _, err := refresh(b.Service, first.Refresh); err != nil {
			t.Error(err)
		}
		return Renewal{}, ErrSignInOver
	})
	if err != nil || generation(t, a.Service, tokens.Refresh) != 2 {
		t.Errorf("%v", err)
	}
}

func TestRenewalReplacesRolesButNeverTheUser(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	first := signIn(t, i.Service)
	now := testIdentity
	now.Roles = []string{"Writer"}
	second, err := i.Refresh(context.Background(), first.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		return Renewal{Upstream: Upstream{RefreshToken: entraRefresh("x")}, Identity: &now}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if access := mustVerify(t, i.Service, second.Access); !slices.Equal(access.Roles, []string{"Writer"}) {
		t.Errorf("roles %v", access.Roles)
	}
	c.Advance(time.Minute)
	now.ObjectID = "33333333-3333-3333-3333-333333333333"
	_, err = i.Refresh(context.Background(), second.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) {
		return Renewal{Identity: &now}, nil
	})
	wantCode(t, err, oauth.TemporarilyUnavailable)
}

func TestRenewalWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens, err := i.Refresh(context.Background(), signIn(t, i.Service).Refresh, testClient, nil,
		func(context.Context, Upstream, Identity) (Renewal, error) {
			return Renewal{Upstream: Upstream{APIToken: entraAPI("entra-at-1")}}, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	up, err := i.Upstream(context.Background(), tokens.Grant)
	if err != nil || up.RefreshToken.Reveal() != "entra-rt-0" || up.APIToken.Reveal() != "entra-at-1" {
		t.Errorf("%v, %v", up, err)
	}
}

func TestOnBehalfOfUpdateWithoutRefreshTokenKeepsTheOldOne(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	g := signIn(t, i.Service).Grant
	before, err := i.Upstream(t.Context(), g)
	if err != nil || before.RefreshToken.IsZero() {
		t.Fatalf("%+v, %v", before, err)
	}
	expires := newClock().Now().Add(time.Hour)
	g, err = i.UpdateUpstream(t.Context(), g, Upstream{APIToken: entraAPI("new"), APITokenExpires: expires})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := i.Upstream(t.Context(), g); err != nil || !after.APITokenExpires.Equal(expires) {
		t.Errorf("it expires at %s, %v", after.APITokenExpires, err)
	}
	if after, err := i.Upstream(t.Context(), g); err != nil || after.RefreshToken.Reveal() != before.RefreshToken.Reveal() || after.APIToken.Reveal() != "new" {
		t.Errorf("kept: %v, %v", after.RefreshToken.Reveal() == before.RefreshToken.Reveal(), err)
	}
}

// Tokens that were renewed for on-behalf-of are stored, and what lost a race or
// failed says so.
func TestOnBehalfOfUpdateIsStored(t *testing.T) {
	ctx := context.Background()
	read := func(t *testing.T, i *instance, tokens Tokens) (Grant, string) {
		t.Helper()
		g := mustGet(t, i.Service, tokens.Grant.Subject, tokens.Grant.ID)
		up, err := i.Upstream(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		return g, up.RefreshToken.Reveal()
	}
	update := func(i *instance, g Grant) (Grant, error) {
		return i.UpdateUpstream(ctx, g, Upstream{RefreshToken: entraRefresh("from-obo")})
	}
	t.Run("as read", func(t *testing.T) {
		i := newInstance(t, newTable(t), newClock().Now)
		tokens := signIn(t, i.Service)
		g, _ := read(t, i, tokens)
		updated, err := update(i, g)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := read(t, i, tokens); got != "from-obo" {
			t.Errorf("stored %q", got)
		}
		if _, err := update(i, updated); err != nil { // its result can be updated again
			t.Error(err)
		}
	})
	t.Run("a rotation wins", func(t *testing.T) {
		c := newClock()
		table := newTable(t)
		a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		tokens := signIn(t, a.Service)
		g, _ := read(t, a, tokens)
		a.wire.Before(storetest.On(func() error { _, err := refresh(b.Service, tokens.Refresh); return err }, storetest.Replace))
		got, err := update(a, g)
		a.wire.Repair()
		if err != nil || got.ID != g.ID {
			t.Fatalf("%+v, %v", got, err)
		}
		if up, err := a.Upstream(ctx, got); err != nil || up.RefreshToken.Reveal() != "entra-rt-n" {
			t.Errorf("the rotation's token is not what is returned: %v", err)
		}
	})
	t.Run("a revocation wins", func(t *testing.T) {
		c := newClock()
		table := newTable(t)
		a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
		tokens := signIn(t, a.Service)
		g, _ := read(t, a, tokens)
		a.wire.Before(storetest.On(func() error { return b.Revoke(ctx, tokens.Access.Reveal(), testClient) }, storetest.Replace))
		_, err := update(a, g)
		wantCode(t, err, oauth.InvalidToken)
	})
	t.Run("the row goes", func(t *testing.T) {
		table := newTable(t)
		i := newInstance(t, table, newClock().Now)
		tokens := signIn(t, i.Service)
		g, _ := read(t, i, tokens)
		i.wire.Before(storetest.On(func() error { return removeRow(table, g.Subject.partition(), g.ID) }, storetest.Replace))
		_, err := update(i, g)
		wantCode(t, err, oauth.InvalidToken)
	})
	t.Run("storage is away", func(t *testing.T) {
		i := newInstance(t, newTable(t), newClock().Now)
		tokens := signIn(t, i.Service)
		g, _ := read(t, i, tokens)
		i.wire.Before(storetest.Fail(errDown, storetest.Replace))
		_, err := update(i, g)
		wantCode(t, err, oauth.TemporarilyUnavailable)
	})
}

// Entra's tokens of users with very many groups are larger than a row.
func TestLargeTokensAreKeptOrRefusedByName(t *testing.T) {
	ctx := context.Background()
	random := func(n int) string { // does not compress
		out := make([]byte, 0, n)
		for len(out) < n {
			out = append(out, oauth.RandomID()...)
		}
		return string(out[:n])
	}
	for name, tt := range map[string]struct {
		refresh, access string
		keeps           bool // the access token
		refused         bool
	}{
		"usual":                          {random(2 << 10), random(4 << 10), true, false},
		"as large as fits":               {random(2 << 10), random(40 << 10), true, false},
		"compressible":                   {random(2 << 10), strings.Repeat("group-0001,", 5<<10), true, false},
		"an access token that is larger": {random(2 << 10), random(64 << 10), false, false},
		"both":                           {random(64 << 10), random(64 << 10), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t, newTable(t), newClock().Now)
			a := testAuthorization()
			a.Upstream = Upstream{RefreshToken: entraRefresh(tt.refresh), APIToken: entraAPI(tt.access)}
			code, err := i.Create(ctx, a)
			if tt.refused {
				wantCode(t, err, oauth.ServerError)
				if !strings.Contains(oauth.AsError(err).Description, "too large") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			tokens := mustRedeem(t, i.Service, code)
			tokens = mustRefresh(t, i.Service, tokens.Refresh)
			g := mustGet(t, i.Service, tokens.Grant.Subject, tokens.Grant.ID)
			// Versions that know no compression read what fits without it.
			if plain, err := encodeUserData(userData{a.Identity, a.Upstream}); err != nil || (plain[0] == '{') != (len(tt.refresh)+len(tt.access) < maxSealed) {
				t.Errorf("%d bytes begin with %q, %v", len(plain), plain[0], err)
			}
			if _, err := i.UpdateUpstream(ctx, g, a.Upstream); err != nil {
				t.Fatal(err)
			}
			g = mustGet(t, i.Service, tokens.Grant.Subject, tokens.Grant.ID)
			up, err := i.Upstream(ctx, g)
			if err != nil || up.RefreshToken.Reveal() != tt.refresh || (up.APIToken.Reveal() == tt.access) != tt.keeps {
				t.Errorf("refresh token kept: %t, access token: %d bytes, %v", up.RefreshToken.Reveal() == tt.refresh, len(up.APIToken.Reveal()), err)
			}
		})
	}
}
