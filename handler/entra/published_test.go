package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	sim "entramcp/dev/tenant"
)

func TestNewDoesNoIO(t *testing.T) {
	e := newTenant(t)
	e.client()
	if n := e.fetched(metadataPath) + e.fetched(keysPath); n != 0 {
		t.Errorf("%d fetches", n)
	}
}

func TestMetadataAndKeysAreFetchedOnce(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	for range 3 {
		e.signedInAs(c, sim.Alice)
	}
	if e.fetched(metadataPath) != 1 || e.fetched(keysPath) != 1 {
		t.Errorf("metadata was fetched %d times, keys %d times", e.fetched(metadataPath), e.fetched(keysPath))
	}
}

func TestRolledKeyIsFoundAndUnknownOnesFetchRarely(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	e.signedInAs(c, sim.Alice)
	e.must(e.RollKeys(true))
	e.signedInAs(c, sim.Alice)
	if n := e.fetched(keysPath); n != 2 {
		t.Fatalf("keys were fetched %d times, want 2", n)
	}

	e.answersWith(e.sign(jwt.SigningMethodRS256, "key-9", signingKeys()[1]))
	for range 5 {
		if f := e.exchangeError(c); f.Kind != Unavailable || f.EndsGrant() {
			t.Errorf("an unknown key gives %v", f)
		}
	}
	if n := e.fetched(keysPath); n != 2 {
		t.Errorf("within five minutes keys were fetched %d times, want 2", n)
	}
	e.clock.Advance(unknownKeyEvery + time.Second)
	e.exchangeError(c)
	if n := e.fetched(keysPath); n != 3 {
		t.Errorf("after five minutes keys were fetched %d times, want 3", n)
	}
}

func TestAKeySetWithoutKeysReplacesNothing(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	e.signedInAs(c, sim.Alice)
	e.set(func() { e.edits[keysPath] = func(d map[string]any) { d["keys"] = []any{} } })
	c.refreshPublished(t.Context())
	if n := e.fetched(keysPath); n != 2 {
		t.Fatalf("keys were fetched %d times", n)
	}
	e.signedInAs(c, sim.Alice)
}

func TestDocumentsAreBounded(t *testing.T) {
	e := newTenant(t)
	document := func(size int) func(http.ResponseWriter) {
		base := e.server.URL + "/" + testTenant
		text := `{"issuer":"` + base + `/v2.0","authorization_endpoint":"` + base + `/a","token_endpoint":"` + base + `/t","jwks_uri":"` + base + `/k","x":"`
		return func(w http.ResponseWriter) { fmt.Fprint(w, text+strings.Repeat("x", size-len(text)-2)+`"}`) }
	}
	for size, ok := range map[int]bool{maxBody: true, maxBody + 1: false} {
		e.set(func() { e.replace[metadataPath] = document(size) })
		if _, _, err := e.client().readMetadata(t.Context()); (err == nil) != ok {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestLastGoodKeysOutliveAnOutage(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	e.signedInAs(c, sim.Alice)
	e.set(func() { e.down = true })
	c.refreshPublished(context.Background())
	if err := c.Ready(context.Background()); err != nil {
		t.Errorf("not ready although the last copy is good: %v", err)
	}
	if _, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "s"}); err != nil {
		t.Error(err)
	}
	e.set(func() { e.down = false })
	e.signedInAs(c, sim.Alice)
}

func TestOutageBeforeTheFirstFetchIsUnavailableAndHeals(t *testing.T) {
	e := newTenant(t)
	e.down = true
	c := e.client()
	if c.Ready(context.Background()) == nil {
		t.Error("ready without metadata")
	}
	if _, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{}); err == nil || AsError(err).Kind != Unavailable {
		t.Errorf("got %v", err)
	}
	if f := e.refreshError(c); f.Kind != Unavailable {
		t.Errorf("got %v", f)
	}
	e.set(func() { e.down = false })
	e.signedInAs(c, sim.Alice)
}

func TestFetchesThatCoincideAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		d := &published[int]{now: time.Now, timeout: time.Minute, fetch: func(context.Context) (int, error) {
			fetches++
			time.Sleep(time.Second)
			return 42, nil
		}}
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				if v, err := d.get(t.Context()); v != 42 || err != nil {
					t.Errorf("got %d, %v", v, err)
				}
			})
		}
		callers.Wait()
		if fetches != 1 {
			t.Errorf("%d fetches, want 1", fetches)
		}
	})
}

func TestCallerThatGivesUpDoesNotEndTheSharedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		d := &published[int]{now: time.Now, timeout: time.Minute, fetch: func(ctx context.Context) (int, error) {
			fetches++
			select {
			case <-time.After(time.Second):
				return 42, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}}
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var patient int
		var err error
		go func() { time.Sleep(50 * time.Millisecond); patient, err = d.get(context.Background()) }()
		if _, err := d.get(impatient); err == nil {
			t.Error("the impatient caller got a value")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if patient != 42 || err != nil || fetches != 1 {
			t.Errorf("the patient caller got %d, %v after %d fetches", patient, err, fetches)
		}
	})
}

func TestRunRefreshesWithinTheHourAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		count := func(context.Context) (metadata, error) { fetches++; return metadata{}, nil }
		c := &Client{
			deps:     Deps{Now: time.Now},
			metadata: &published[metadata]{fetch: count, now: time.Now, timeout: time.Second},
			keys:     &published[keySet]{fetch: func(context.Context) (keySet, error) { return keySet{}, nil }, now: time.Now, timeout: time.Second},
		}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		time.Sleep(refreshEvery + time.Second)
		synctest.Wait()
		if fetches != 1 {
			t.Errorf("%d refreshes in the first hour, want 1", fetches)
		}
		cancel()
		synctest.Wait() // Test fails if Run does not return
	})
}

func TestKeyOfAnotherIssuerIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		issuer string
		ok     bool
	}{
		"own tenant":     {"/" + testTenant + "/v2.0", true},
		"any tenant":     {"/{tenantid}/v2.0", true},
		"unsaid":         {"", true},
		"another tenant": {"/" + otherTenant + "/v2.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			issuer := test.issuer
			if issuer != "" {
				issuer = e.server.URL + issuer
			}
			e.publish("own", signingKeys()[0], map[string]any{"issuer": issuer})
			c := e.client()
			callback := e.callback(c, sim.Alice)
			e.answersWith(e.sign(jwt.SigningMethodRS256, "own", signingKeys()[0]))
			if _, err := c.Exchange(t.Context(), callback); (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOnlySigningKeysOfEnoughBitsAreUsed(t *testing.T) {
	modulus := base64.RawURLEncoding.EncodeToString(signingKeys()[0].N.Bytes())
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{
		"good":            {`{"kty":"RSA","use":"sig","kid":"k","n":"` + modulus + `","e":"AQAB"}`, true},
		"unsaid use":      {`{"kty":"RSA","kid":"k","n":"` + modulus + `","e":"AQAB"}`, true},
		"encryption key":  {`{"kty":"RSA","use":"enc","kid":"k","n":"` + modulus + `","e":"AQAB"}`, false},
		"no id":           {`{"kty":"RSA","use":"sig","n":"` + modulus + `","e":"AQAB"}`, false},
		"EC":              {`{"kty":"EC","use":"sig","kid":"k","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`, false},
		"short modulus":   {`{"kty":"RSA","use":"sig","kid":"k","n":"` + modulus[:100] + `","e":"AQAB"}`, false},
		"endless modulus": {`{"kty":"RSA","use":"sig","kid":"k","n":"` + strings.Repeat(modulus, 5) + `","e":"AQAB"}`, false},
		"exponent 1":      {`{"kty":"RSA","use":"sig","kid":"k","n":"` + modulus + `","e":"AQ"}`, false},
		"garbage":         {`{"kty":"RSA","use":"sig","kid":"k","n":"!","e":"AQAB"}`, false},
	} {
		var k publishedKey
		if err := json.Unmarshal([]byte(test.text), &k); err != nil {
			t.Fatal(err)
		}
		if _, ok := k.rsa(); ok != test.ok {
			t.Errorf("%s: %t", name, ok)
		}
	}
}

func TestMetadataThatCannotBeUsedIsRefused(t *testing.T) {
	for name, answer := range map[string]func(*tenant, http.ResponseWriter){
		"no issuer of a tenant": func(e *tenant, w http.ResponseWriter) {
			base := e.server.URL + "/" + testTenant
			fmt.Fprintf(w, `{"issuer":"%s/x","authorization_endpoint":"%s/a","token_endpoint":"%s/t","jwks_uri":"%s/k"}`, e.server.URL, base, base, base)
		},
		"no JSON": func(_ *tenant, w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"cut off": func(_ *tenant, w http.ResponseWriter) { w.Header().Set("Content-Length", "9999"); fmt.Fprint(w, "{}") },
		"not 200": func(e *tenant, w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted); fmt.Fprint(w, "{}") },
		"redirect": func(e *tenant, w http.ResponseWriter) {
			w.Header().Set("Location", "/x")
			w.WriteHeader(http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.set(func() { e.replace[metadataPath] = func(w http.ResponseWriter) { answer(e, w) } })
			c := e.client()
			if m, _, err := c.readMetadata(t.Context()); err == nil || m != (metadata{}) {
				t.Errorf("it was read as %+v, %v", m, err)
			}
			if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "metadata") {
				t.Errorf("ready: %v", err)
			}
			if d, err := c.Discover(t.Context()); err == nil {
				t.Errorf("discovered %+v", d)
			}
		})
	}
}

// Readiness says which of the two is missing, and a failed refresh is in the log.
func TestNotReadyWithoutSigningKeys(t *testing.T) {
	e := newTenant(t)
	var log strings.Builder
	c, err := New(e.config(), Deps{Now: e.clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	e.must(err)
	e.set(func() { e.replace[keysPath] = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) } })
	if err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "signing keys") {
		t.Errorf("got %v", err)
	}
	c.refreshPublished(t.Context())
	if !strings.Contains(log.String(), "signing keys could not be read again") || strings.Contains(log.String(), "metadata could not") {
		t.Errorf("the log says %s", &log)
	}
	e.set(func() { e.down = true })
	c.refreshPublished(t.Context())
	if !strings.Contains(log.String(), "metadata could not be read again") {
		t.Errorf("the log says %s", &log)
	}
}

func TestMetadataOfAnotherHostIsRefused(t *testing.T) {
	for _, member := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri"} {
		for _, elsewhere := range []string{"https://login.example.com/x", "http://localhost:1/x", "https://user@login.example.com/x", "://"} {
			e := newTenant(t)
			e.set(func() { e.edits[metadataPath] = func(d map[string]any) { d[member] = elsewhere } })
			if f := e.refreshError(e.client()); f.Kind != Unavailable || e.tokenRequests() != 0 {
				t.Errorf("%s at %s: %v after %d requests", member, elsewhere, f, e.tokenRequests())
			}
		}
	}
}

// An external tenant (External ID) issues under a host of its own, knows no
// consent by users, and lets refresh tokens end after 12 hours without use.
func TestExternalTenant(t *testing.T) {
	e := newTenant(t, consenting)
	var err error
	e.Tenant, err = sim.New(sim.Options{BaseURL: e.server.URL, Now: e.clock.Now, SigningKey: sim.SharedKey(), External: true})
	e.must(err)
	app := sim.DefaultApp(testSecret, testCallback)
	app.AssignmentRequired = false
	e.must(e.Register(app))
	c := e.client()
	q, _ := e.redirected(c, sim.Bob, "")
	if f := c.FromRedirect(q); f == nil || f.Kind != ConsentNeeded || f.ConsentURL == "" {
		t.Errorf("before an administrator has consented: %v", f)
	}
	e.reconfigure(func(a *sim.App) { a.AdminConsented = true })
	s := e.signedInAs(c, sim.Bob)
	if s.Claims.TenantID != testTenant {
		t.Errorf("claims are %+v", s.Claims)
	}
	if d, err := c.Discover(t.Context()); err != nil || !d.External || d.TenantID != testTenant {
		t.Errorf("discovery says %+v, %v", d, err)
	}
	e.clock.Advance(13 * time.Hour)
	_, err = c.Refresh(t.Context(), s.RefreshToken)
	if f := AsError(err); f.Kind != SignInOver || !strings.Contains(f.Description(), "12 hours") {
		t.Errorf("after 13 hours: %v", f)
	}
	e.refuses("invalid_grant", 65001)
	if f := e.refreshError(c); f.Kind != ConsentNeeded || !f.AdminOnly {
		t.Errorf("users of an external tenant cannot consent: %v", f)
	}
	// A workforce tenant's issuer is another issuer.
	e.set(func() { e.respond = nil })
	e.Forge(func(claims map[string]any) { claims["iss"] = e.server.URL + "/" + testTenant + "/v2.0" })
	if f := e.exchangeError(c); f.Kind != Unavailable {
		t.Errorf("got %v", f)
	}
}

// The keys of an external tenant's document are on the authority's host, also
// behind a custom domain; the same tenant publishes others elsewhere.
func TestKeysOfAnotherHostAreNotRead(t *testing.T) {
	e := newTenant(t)
	e.set(func() {
		e.edits[metadataPath] = func(d map[string]any) {
			d["jwks_uri"] = "https://login.microsoftonline.com/" + testTenant + "/discovery/v2.0/keys"
		}
	})
	if err := e.client().Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "jwks_uri") {
		t.Errorf("got %v", err)
	}
}
