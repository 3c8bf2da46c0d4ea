package grants

import (
	"context"
	"strings"
	"testing"
	"time"

	"entramcp/handler/oauth"
)

func TestCodeRedeemsOnceWithOneReadAndOneWrite(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	reads, writes := i.wire.counts()
	if reads != 0 || writes != 1 {
		t.Errorf("create: %d reads and %d writes, want 0 and 1", reads, writes)
	}
	tokens, err := i.Redeem(context.Background(), code, testRedemption())
	if err != nil {
		t.Fatal(err)
	}
	r, w := i.wire.counts()
	if r-reads != 1 || w-writes != 1 {
		t.Errorf("redeem: %d reads and %d writes, want 1 and 1", r-reads, w-writes)
	}
	access := mustVerify(t, i.Service, tokens.Access)
	if access.ClientID != testClient || !access.Scopes.Has(testScopes...) || access.Subject != tokens.Grant.Subject ||
		len(access.Roles) != 1 || access.Expires.Sub(access.Issued) != 30*time.Minute || access.TenantID != testIdentity.TenantID {
		t.Errorf("access token says %+v", access)
	}
	if tokens.Grant.Identity.Name != testIdentity.Name || tokens.ExpiresIn != 30*time.Minute {
		t.Errorf("tokens %+v", tokens)
	}
	r0, _ := i.read(context.Background(), tokens.Grant.Subject, tokens.Grant.ID)
	if r0.Code != nil {
		t.Error("the bindings are still there after redemption")
	}
}

// Every peer that accepts one of these was broken by running it.
func TestCodeIsRefusedAndUnharmed(t *testing.T) {
	for name, change := range map[string]func(*Redemption){
		"another client":        func(r *Redemption) { r.ClientID = "client-2" },
		"another redirect port": func(r *Redemption) { r.RedirectURI = "http://127.0.0.1:33419/callback" },
		"redirect with a slash": func(r *Redemption) { r.RedirectURI += "/" },
		"no verifier":           func(r *Redemption) { r.Verifier = "" },
		"the challenge itself":  func(r *Redemption) { r.Verifier = oauth.S256(testVerifier) },
		"verifier of 42":        func(r *Redemption) { r.Verifier = testVerifier[:42] },
		"verifier with padding": func(r *Redemption) { r.Verifier += "=" },
		"a very long verifier":  func(r *Redemption) { r.Verifier = strings.Repeat("a", 129) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			i := newInstance(t, newTable(t), c.Now)
			code := create(t, i.Service)
			by := testRedemption()
			change(&by)
			_, err := i.Redeem(context.Background(), code, by)
			wantCode(t, err, oauth.InvalidGrant)
			if _, err := i.Redeem(context.Background(), code, testRedemption()); err != nil {
				t.Errorf("a stranger's attempt destroyed the code: %v", err)
			}
		})
	}
}

func TestCodeReplayRevokesGrant(t *testing.T) {
	for name, change := range map[string]func(*Redemption){
		"by the client itself": func(*Redemption) {},
		"by another client":    func(r *Redemption) { r.ClientID = "client-2" },
		"without the verifier": func(r *Redemption) { r.Verifier = "" },
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			table := newTable(t)
			a, b := newInstance(t, table, c.Now), newInstance(t, table, c.Now)
			code := create(t, a.Service)
			tokens, err := a.Redeem(context.Background(), code, testRedemption())
			if err != nil {
				t.Fatal(err)
			}
			mustVerify(t, a.Service, tokens.Access)
			by := testRedemption()
			change(&by)
			_, err = b.Redeem(context.Background(), code, by)
			wantCode(t, err, oauth.InvalidGrant)
			_, err = refresh(a.Service, tokens.Refresh)
			wantCode(t, err, oauth.InvalidGrant)
			c.Advance(MaxStale + time.Second)
			_, err = a.Verify(context.Background(), tokens.Access.Reveal())
			wantCode(t, err, oauth.InvalidToken)
			if !strings.Contains(b.log.String(), "presented_by="+by.ClientID) {
				t.Errorf("the log does not say who presented it: %s", b.log)
			}
		})
	}
}

func TestExpiredCodeIsRefusedWithoutIOAndEndsNothing(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	unused, used := create(t, i.Service), create(t, i.Service)
	tokens, err := i.Redeem(context.Background(), used, testRedemption())
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(CodeLifetime)
	reads, writes := i.wire.counts()
	for _, code := range []Code{unused, used} {
		_, err := i.Redeem(context.Background(), code, testRedemption())
		wantCode(t, err, oauth.InvalidGrant)
	}
	if r, w := i.wire.counts(); r != reads || w != writes {
		t.Error("an expired code caused I/O")
	}
	if _, err := refresh(i.Service, tokens.Refresh); err != nil {
		t.Errorf("an old code ended the sign-in: %v", err)
	}
}

func TestUnredeemedGrantIsLeftToTheSweep(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	h, err := i.openHandle(context.Background(), "code handle", code.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	row, err := i.wire.Get(context.Background(), h.subjectID().partition(), h.grantID())
	if err != nil {
		t.Fatal(err)
	}
	if until := row.Expires.Sub(c.Now()); until <= CodeLifetime || until > 10*time.Minute {
		t.Errorf("row expires in %s", until)
	}
	if strings.Contains(string(row.Value), "Ada") || strings.Contains(string(row.Value), "entra-rt") {
		t.Error("the row shows the user's name or token")
	}
	if list, err := i.List(context.Background(), h.subjectID()); err != nil || len(list) != 0 {
		t.Errorf("an unredeemed grant is listed: %v, %v", list, err)
	}
}

func TestChallengeMustBeS256(t *testing.T) {
	i := newInstance(t, newTable(t), newClock().Now)
	for _, challenge := range []string{"", "short", strings.Repeat("a", 44), oauth.S256("x") + "="} {
		a := testApproval()
		a.Challenge = challenge
		_, err := i.Create(context.Background(), a)
		wantCode(t, err, oauth.InvalidRequest)
	}
}

func TestLostAnswerOfRedemptionIsCleanlyRefused(t *testing.T) {
	c := newClock()
	i := newInstance(t, newTable(t), c.Now)
	code := create(t, i.Service)
	i.wire.disturb(nil, func(op string) error {
		if op == "replace" {
			return errLate
		}
		return nil
	})
	_, err := i.Redeem(context.Background(), code, testRedemption())
	wantCode(t, err, oauth.TemporarilyUnavailable)
	i.wire.disturb(nil, nil)
	_, err = i.Redeem(context.Background(), code, testRedemption())
	wantCode(t, err, oauth.InvalidGrant)
}

func TestStorageFaultBeforeRedemptionIsRetryable(t *testing.T) {
	for _, failing := range []string{"get", "replace"} {
		i := newInstance(t, newTable(t), newClock().Now)
		code := create(t, i.Service)
		i.wire.disturb(func(op string) error {
			if op == failing {
				return errDown
			}
			return nil
		}, nil)
		_, err := i.Redeem(context.Background(), code, testRedemption())
		wantCode(t, err, oauth.TemporarilyUnavailable)
		i.wire.disturb(nil, nil)
		if _, err := i.Redeem(context.Background(), code, testRedemption()); err != nil {
			t.Errorf("%s: %v", failing, err)
		}
	}
}
