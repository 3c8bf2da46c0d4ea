package authserver_test

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/dev/tenant"
	"entramcp/handler/authserver"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/store/storetest"
)

// events are the audit events in the log so far, and the values of flow in them.
func (w *world) events() (names, flows []string) {
	for line := range strings.Lines(w.log.String()) {
		if m := regexp.MustCompile(`category=audit .*event=(\w+)`).FindStringSubmatch(line); m != nil && m[1] != "client_registered" && m[1] != "key_ring_changed" {
			names = append(names, m[1])
			if m := regexp.MustCompile(`flow=(\S+)`).FindStringSubmatch(line); m != nil {
				flows = append(flows, m[1])
			}
		}
	}
	return names, slices.Compact(flows)
}

func TestEachDecisionIsAuditedOnceAndTiedTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		act  func(w *world, b *browser, id string)
		want []string
	}{
		"approved and signed in": {func(_ *world, b *browser, id string) { b.signIn(request(id)) }, []string{"consent_shown", "consent_approved", "signed_in"}},
		"cancelled":              {func(_ *world, b *browser, id string) { b.decide(b.open(request(id)), "cancel") }, []string{"consent_shown", "consent_refused"}},
		"refused by Entra": {func(w *world, b *browser, id string) {
			b.get(w.upstream.refuse(w.t, b.approve(request(id)), "access_denied", "AADSTS50105: x"))
		}, []string{"consent_shown", "consent_approved", "sign_in_failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.act(w, w.browser(), w.publicClient())
			names, flows := w.events()
			if !slices.Equal(names, tt.want) || len(flows) != 1 {
				t.Errorf("events %v of the flows %v, want %v of one", names, flows, tt.want)
			}
			if name == "refused by Entra" && !strings.Contains(w.log.String(), "reason=AADSTS50105") {
				t.Error("the reason is not Entra's number")
			}
		})
	}
}

func TestBlockedPartiesGetNowhere(t *testing.T) {
	w := newWorld(t)
	id := w.publicClient()
	tokens := w.tokens(id, w.browser().signIn(request(id)).Get("code"))
	subject := w.subject()
	for kind, value := range map[grants.BlockKind]string{grants.BlockClient: id, grants.BlockRedirectHost: "client.example"} {
		b := w.browser()
		form := b.open(request(id))
		w.block(kind, value)
		blocked := func(resp *http.Response) {
			t.Helper()
			wantPage(t, resp, http.StatusForbidden)
			if !strings.Contains(text(t, resp), "blocked") {
				t.Errorf("%s: the page does not say why", kind)
			}
		}
		blocked(b.get(issuer + "/authorize?" + request(id).Encode()))
		blocked(b.decide(form, "approve"))
		if kind == grants.BlockClient {
			wantError(t, w.post("/token", renewal(id, tokens)), http.StatusBadRequest, oauth.UnauthorizedClient)
		}
		w.unblock(kind, value)
	}
	for kind, value := range map[grants.BlockKind]string{grants.BlockUser: string(subject), grants.BlockTenant: tenant.Contoso} {
		b := w.browser()
		back := w.upstream.signIn(t, b.approve(request(id)))
		before := w.rows("g-")
		w.block(kind, value)
		resp := b.get(back)
		wantStatus(t, resp, http.StatusForbidden)
		if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.AccessDenied) || got.Has("code") {
			t.Errorf("%s: the client is told %v", kind, got)
		}
		if w.rows("g-") != before {
			t.Errorf("%s: a grant was made", kind)
		}
		w.unblock(kind, value)
	}
	if names, _ := w.events(); slices.Index(names, "block_enforced") < 0 || slices.Index(names, "sign_in_failed") >= 0 {
		t.Errorf("events %v, want blocks and nothing beside them", names)
	}
	if got := w.browser().signIn(request(id)); got.Get("code") == "" {
		t.Errorf("after the blocks the client got %v", got)
	}
}

// Nobody knows who is blocked: the person is told, and can connect again.
func TestBlocksThatCannotBeReadLetNobodyIn(t *testing.T) {
	w, b, back := signedInAtEntra(t)
	w.clock.Advance(grants.MaxStale + time.Second)
	w.table.Before(storetest.Fail(errStorage).In(grants.RevocationPrefix))
	resp := b.get(back)
	wantStatus(t, resp, http.StatusServiceUnavailable)
	if got := reached(t, onward(t, resp)); got.Get("error") != string(oauth.TemporarilyUnavailable) || w.rows("g-") != 0 {
		t.Errorf("the client is told %v, %d grants", got, w.rows("g-"))
	}
	if names, _ := w.events(); !slices.Equal(names, []string{"consent_shown", "consent_approved", "sign_in_failed"}) {
		t.Errorf("events %v", names)
	}
}

func TestABlockedClientCannotRegister(t *testing.T) {
	w := newWorld(t)
	check := authserver.RegistrationCheck{Grants: w.grants, Log: w.log.Text()}.Check
	w.block(grants.BlockRedirectHost, "blocked.example")
	w.block(grants.BlockClient, "p-blocked")
	for name, tt := range map[string]struct {
		id        string
		addresses []string
		code      oauth.Code
	}{
		"none of them":    {"", []string{callback}, ""},
		"one of its own":  {"", []string{callback, "https://blocked.example/callback"}, oauth.InvalidRedirectURI},
		"its id is known": {"p-blocked", []string{callback}, oauth.InvalidRedirectURI},
	} {
		err := check(t.Context(), tt.id, tt.addresses)
		if (err != nil) != (tt.code != "") || err != nil && oauth.ErrorCode(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := strings.Count(w.log.String(), "event=block_enforced"); n != 2 {
		t.Errorf("%d events:\n%s", n, w.log)
	}
	w.clock.Advance(grants.MaxStale + time.Second)
	w.table.Before(storetest.Fail(errStorage).In(grants.RevocationPrefix))
	if err := check(t.Context(), "", []string{callback}); oauth.ErrorCode(err) != oauth.TemporarilyUnavailable {
		t.Errorf("the blocks cannot be read: %v", err)
	}
}

func (w *world) block(kind grants.BlockKind, value string) {
	w.t.Helper()
	if err := w.grants.Block(w.t.Context(), kind, value, "test"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) unblock(kind grants.BlockKind, value string) {
	w.t.Helper()
	if err := w.grants.Unblock(w.t.Context(), kind, value); err != nil {
		w.t.Fatal(err)
	}
}
