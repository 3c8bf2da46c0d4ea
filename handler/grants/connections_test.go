package grants

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// signInAs signs a user of a tenant in for a client.
func signInAs(t failer, i *instance, tenant, user, client string) Tokens {
	t.Helper()
	a := testAuthorization()
	a.ClientID, a.Identity.TenantID, a.Identity.ObjectID = client, tenant, user
	code := mustCreate(t, i.Service, a)
	tokens, err := i.Redeem(context.Background(), code, Redemption{ClientID: client, RedirectURI: testRedirect, Verifier: testVerifier})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// What a tool and the page of connected apps show of a grant is what was
// approved.
func TestGrantsSayWhatWasApproved(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	a := testAuthorization()
	a.ClientID, a.ClientName, a.Verified = "https://app.example/client.json", "An App", true
	code := mustCreate(t, i.Service, a)
	by := testRedemption()
	by.ClientID = a.ClientID
	tokens, err := i.Redeem(context.Background(), code, by)
	if err != nil {
		t.Fatal(err)
	}
	created := c.Now()
	c.Advance(time.Hour)
	if _, err := i.Refresh(context.Background(), tokens.Refresh, a.ClientID, nil, renewOK); err != nil {
		t.Fatal(err)
	}
	list, err := i.List(context.Background(), tokens.Grant.Subject)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d grants, %v", len(list), err)
	}
	got := mustGet(t, i.Service, tokens.Grant.Subject, tokens.Grant.ID)
	for where, g := range map[string]Grant{"listed": list[0], "read": got} {
		if g.ClientID != a.ClientID || g.ClientName != "An App" || !g.Verified || g.DocumentHost != "app.example" || g.RedirectHost != "127.0.0.1" ||
			g.Scopes.String() != testScopes.String() || !g.Created.Equal(created) || !g.LastUsed.Equal(c.Now()) || g.Identity.Name != testIdentity.Name {
			t.Errorf("%s: %+v", where, g)
		}
	}
}

func TestDisconnectFailsIfNothingWasWritten(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	tokens := signIn(t, i.Service)
	i.wire.Before(storetest.Fail(errDown, storetest.Insert))
	wantCode(t, i.Disconnect(context.Background(), tokens.Grant.Subject, tokens.Grant.ID), oauth.TemporarilyUnavailable)
	_, err := i.DisconnectAll(context.Background(), tokens.Grant.Subject)
	wantCode(t, err, oauth.TemporarilyUnavailable)
	i.wire.Repair()
	if _, err := refresh(i.Service, tokens.Refresh); err != nil {
		t.Errorf("and yet the grant has ended: %v", err)
	}
}

func TestUserDisconnectsEverything(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	var mine []Tokens
	for n := range 3 {
		mine = append(mine, signInAs(t, a, "contoso", "ada", fmt.Sprintf("client-%d", n)))
	}
	other := signInAs(t, a, "contoso", "bob", testClient)
	mustVerify(t, b.Service, mine[0].Access)
	if n, err := a.DisconnectAll(context.Background(), mine[0].Grant.Subject); err != nil || n != 3 {
		t.Fatalf("%d ended, %v", n, err)
	}
	c.Advance(MaxStale + time.Second)
	for n, tokens := range mine {
		_, err := b.Verify(context.Background(), tokens.Access.Reveal())
		wantCode(t, err, oauth.InvalidToken)
		_, err = b.Refresh(context.Background(), tokens.Refresh, fmt.Sprintf("client-%d", n), nil, renewOK)
		wantCode(t, err, oauth.InvalidGrant)
	}
	mustVerify(t, b.Service, other.Access)
	if n, err := a.DisconnectAll(context.Background(), mine[0].Grant.Subject); err != nil || n != 0 {
		t.Errorf("again: %d ended, %v", n, err)
	}
}

func TestErasedUserLeavesNoRowAndNoValidToken(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	mine, other := signInAs(t, a, "contoso", "ada", testClient), signInAs(t, a, "contoso", "bob", testClient)
	create(t, a.Service)
	mustVerify(t, b.Service, mine.Access)
	if err := a.Erase(context.Background(), mine.Grant.Subject); err != nil {
		t.Fatal(err)
	}
	page, err := table.List(context.Background(), store.Partition(mine.Grant.Subject.partition()), "")
	if err != nil || len(page.Rows) != 0 {
		t.Errorf("%d rows are left, %v", len(page.Rows), err)
	}
	c.Advance(MaxStale + time.Second)
	_, err = b.Verify(context.Background(), mine.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	_, err = refresh(b.Service, mine.Refresh)
	wantCode(t, err, oauth.InvalidGrant)
	mustVerify(t, b.Service, other.Access)
}

// An administrator finds and ends connections without seeing who the users are.
func TestScanSelectsConnections(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	old := signInAs(t, i, "contoso", "ada", "client-1")
	c.Advance(48 * time.Hour)
	young := signInAs(t, i, "contoso", "ada", "client-2")
	other := signInAs(t, i, "fabrikam", "bob", "client-1")
	for name, tt := range map[string]struct {
		filter Filter
		want   []Tokens
	}{
		"everything":  {Filter{}, []Tokens{old, young, other}},
		"by tenant":   {Filter{TenantID: "CONTOSO"}, []Tokens{old, young}},
		"by client":   {Filter{ClientID: "client-1"}, []Tokens{old, other}},
		"by user":     {Filter{Subject: old.Grant.Subject}, []Tokens{old, young}},
		"unused":      {Filter{UnusedSince: c.Now().Add(-24 * time.Hour)}, []Tokens{old}},
		"both":        {Filter{TenantID: "contoso", ClientID: "client-2"}, []Tokens{young}},
		"nothing":     {Filter{TenantID: "nobody"}, nil},
		"by neither":  {Filter{Subject: other.Grant.Subject, ClientID: "client-2"}, nil},
		"by document": {Filter{ClientID: "client"}, nil},
	} {
		list, next, err := i.Scan(context.Background(), tt.filter, "")
		got := map[string]bool{}
		for _, c := range list {
			got[c.ID] = c.Connected && c.Identity.Name == "" && c.Identity.ObjectID == ""
		}
		ok := err == nil && next == "" && len(got) == len(tt.want)
		for _, w := range tt.want {
			ok = ok && got[w.Grant.ID]
		}
		if !ok {
			t.Errorf("%s: %v, next %q, %v", name, got, next, err)
		}
	}
	if n, _, err := i.DisconnectPage(context.Background(), Filter{ClientID: "client-1"}, ""); err != nil || n != 2 {
		t.Errorf("%d ended, %v", n, err)
	}
	_, err := i.Verify(context.Background(), other.Access.Reveal())
	wantCode(t, err, oauth.InvalidToken)
	mustVerify(t, i.Service, young.Access)
	if n, _, err := i.DisconnectPage(context.Background(), Filter{ClientID: "client-1"}, ""); err != nil || n != 0 {
		t.Errorf("again: %d ended, %v", n, err)
	}
}

// refused is ErrSignInOver with a reason of Entra's.
type refused struct{ error }

func (refused) AuditReason() string { return "AADSTS50057" }
func (r refused) Unwrap() error     { return r.error }

// Every decision is one audit event, and none names the user.
func TestDecisionsAreAudited(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	ctx := context.Background()
	want := func(what string, events ...string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(i.log.String()) {
			if _, rest, ok := strings.Cut(line, " event="); ok && strings.Contains(line, "category=audit") {
				got = append(got, strings.Fields(rest)[0])
				if strings.Contains(line, testIdentity.Name) || strings.Contains(line, testIdentity.Username) || !strings.Contains(line, "grant_id=") && !strings.Contains(line, "target=") {
					t.Errorf("%s", line)
				}
			}
		}
		i.log.Reset()
		if !slices.Equal(got, events) {
			t.Errorf("%s: %v, want %v", what, got, events)
		}
	}
	logged := func(what string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(i.log.String(), part) {
				t.Errorf("%s is logged without %s: %s", what, part, i.log)
			}
		}
	}
	// The end of a grant is a warning, unless somebody who may has asked for it; the
	// audit event, where there is one, says why.
	ended := func(level, reason string) {
		t.Helper()
		found := false
		for line := range strings.Lines(i.log.String()) {
			if strings.Contains(line, " presented_by=") && strings.Contains(line, reason) {
				found = strings.Contains(line, "level="+level)
			}
			if strings.Contains(line, "category=audit") && !strings.Contains(line, "event=signed_in") && !strings.Contains(line, "event=code_redeemed") &&
				!strings.Contains(line, reason) {
				t.Errorf("audited without its reason: %s", line)
			}
		}
		if !found {
			t.Errorf("the end of a grant, %s, is not logged as %s: %s", reason, level, i.log)
		}
	}
	a := testAuthorization()
	a.AuthorizationID = "authorization-1"
	code := mustCreate(t, i.Service, a)
	logged("sign-in", "authorization-1", "files.read")
	want("sign-in", "signed_in")
	tokens := mustRedeem(t, i.Service, code)
	logged("redemption", "files.read")
	want("redemption", "code_redeemed")
	mustRedeem(t, i.Service, code)
	want("redemption again", "code_repeated")
	mustRefresh(t, i.Service, tokens.Refresh)
	want("refresh", "token_refreshed")
	for range manyRepeats {
		mustRefresh(t, i.Service, tokens.Refresh)
	}
	if !strings.Contains(i.log.String(), "in_a_row=10") {
		t.Error("many answers within the grace in a row cause no warning")
	}
	want("within the grace", slices.Repeat([]string{"token_repeated"}, manyRepeats)...)
	// A rotation between them begins a new row.
	tokens = signIn(t, i.Service)
	for next := tokens; next.Grant.LastUsed.Sub(tokens.Grant.LastUsed) < DefaultRefreshGrace/5; c.Advance(DefaultRefreshGrace / 15) {
		next = mustRefresh(t, i.Service, next.Refresh)
		for range manyRepeats - 1 {
			mustRefresh(t, i.Service, tokens.Refresh)
		}
	}
	if strings.Contains(i.log.String(), "in_a_row") {
		t.Errorf("answers with a rotation between them are warned of: %s", i.log)
	}
	i.log.Reset()
	c.Advance(DefaultRefreshGrace + time.Second)
	_, _ = refresh(i.Service, tokens.Refresh)
	logged("reuse", "generation=1", `reason="refresh token reuse"`)
	ended("WARN", `reason="refresh token reuse"`)
	want("after the grace", "token_reused")

	code = create(t, i.Service)
	tokens = mustRedeem(t, i.Service, code)
	c.Advance(RepeatWindow + time.Second)
	_, _ = i.Redeem(ctx, code, testRedemption())
	want("late replay", "signed_in", "code_redeemed", "code_reused")

	tokens = signIn(t, i.Service)
	_, _ = i.Refresh(ctx, tokens.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, ErrSignInOver })
	logged("the end at Entra", `reason="sign-in is over"`)
	want("over at Entra", "signed_in", "code_redeemed", "refresh_refused")
	tokens = signIn(t, i.Service)
	_, _ = i.Refresh(ctx, tokens.Refresh, testClient, nil, func(context.Context, Upstream, Identity) (Renewal, error) { return Renewal{}, refused{ErrSignInOver} })
	logged("the end at Entra", "reason=AADSTS50057")
	want("over at Entra, which says why", "signed_in", "code_redeemed", "refresh_refused")
	tokens = signIn(t, i.Service)
	_ = i.Revoke(ctx, tokens.Refresh.Reveal(), testClient)
	ended("INFO", "revoked by the client")
	want("revoked", "signed_in", "code_redeemed", "grant_revoked")
	tokens = signIn(t, i.Service)
	_ = i.Disconnect(ctx, tokens.Grant.Subject, tokens.Grant.ID)
	ended("INFO", "disconnected by the user")
	want("disconnected", "signed_in", "code_redeemed", "disconnected")
	tokens = signIn(t, i.Service)
	_ = i.DisconnectForUser(ctx, tokens.Grant.Subject, tokens.Grant.ID)
	ended("INFO", "revoked by an administrator")
	want("disconnected by an administrator", "signed_in", "code_redeemed") // whom the caller audits
	tokens = signIn(t, i.Service)
	_ = i.Block(ctx, BlockClient, testClient, "")
	_, _ = refresh(i.Service, tokens.Refresh)
	_ = i.Unblock(ctx, BlockClient, testClient)
	ended("WARN", "blocked: client")
	want("blocked", "signed_in", "code_redeemed", "block_enforced")
}

// A grant whose tokens were sealed by an epoch that was retired has ended, for
// good: a 503 would be repeated for ever.
func TestRetiredEpochEndsItsGrants(t *testing.T) {
	c := newClock()
	table := newTable(t)
	a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
	tokens := signIn(t, a.Service)
	mustVerify(t, b.Service, tokens.Access)
	mustRotate(t, a)
	c.Advance(11 * time.Minute)
	mustVerify(t, b.Service, tokens.Access)
	mustRetire(t, a)
	if err := a.AnnounceKeyChange(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.Advance(MaxStale + time.Second)
	for _, i := range []*instance{a, b} {
		_, err := i.Verify(context.Background(), tokens.Access.Reveal())
		wantCode(t, err, oauth.InvalidToken)
		_, err = refresh(i.Service, tokens.Refresh)
		wantCode(t, err, oauth.InvalidGrant)
		_, err = i.Get(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
		wantCode(t, err, oauth.InvalidToken)
	}
	if list, err := a.List(context.Background(), tokens.Grant.Subject); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	mustVerify(t, b.Service, signIn(t, a.Service).Access)
}
