package entra

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const keysPath, metadataPath = "discovery/v2.0/keys", "v2.0/.well-known/openid-configuration"

func mustExchange(t *testing.T, c *Client) {
	t.Helper()
	if _, err := c.Exchange(context.Background(), goodCallback()); err != nil {
		t.Fatal(err)
	}
}

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
		mustExchange(t, c)
	}
	if e.fetched(metadataPath) != 1 || e.fetched(keysPath) != 1 {
		t.Errorf("metadata was fetched %d times, keys %d times", e.fetched(metadataPath), e.fetched(keysPath))
	}
}

func TestRolledKeyIsFoundAndUnknownOnesFetchRarely(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	mustExchange(t, c)

	e.set(func() { e.published["key-1"], e.signWith = signingKeys()[1], "key-1" })
	mustExchange(t, c)
	if n := e.fetched(keysPath); n != 2 {
		t.Fatalf("keys were fetched %d times, want 2", n)
	}

	e.set(func() { e.respond = e.answerSignedBy("key-9") })
	for range 5 {
		if f := exchangeFailure(t, c); f.Kind != Unavailable || f.EndsGrant() {
			t.Errorf("an unknown key gives %v", f)
		}
	}
	if n := e.fetched(keysPath); n != 2 {
		t.Errorf("within five minutes keys were fetched %d times, want 2", n)
	}
	e.clock.advance(unknownKeyEvery + time.Second)
	exchangeFailure(t, c)
	if n := e.fetched(keysPath); n != 3 {
		t.Errorf("after five minutes keys were fetched %d times, want 3", n)
	}
}

func TestLastGoodKeysOutliveAnOutage(t *testing.T) {
	e := newTenant(t)
	c := e.client()
	mustExchange(t, c)
	e.set(func() { e.down = true })
	c.refreshDocuments(context.Background())
	if err := c.Ready(context.Background()); err != nil {
		t.Errorf("not ready although the last copy is good: %v", err)
	}
	if _, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{State: "s"}); err != nil {
		t.Error(err)
	}
	e.set(func() { e.down = false })
	mustExchange(t, c)
}

func TestOutageBeforeTheFirstFetchIsUnavailableAndHeals(t *testing.T) {
	e := newTenant(t)
	e.down = true
	c := e.client()
	if c.Ready(context.Background()) == nil {
		t.Error("ready without metadata")
	}
	if _, err := c.AuthorizeURL(context.Background(), AuthorizeRequest{}); err == nil || AsFailure(err).Kind != Unavailable {
		t.Errorf("got %v", err)
	}
	if f := exchangeFailure(t, c); f.Kind != Unavailable {
		t.Errorf("got %v", f)
	}
	e.set(func() { e.down = false })
	mustExchange(t, c)
}

func TestFetchesThatCoincideAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fetches := 0
		d := &document[int]{now: time.Now, timeout: time.Minute, fetch: func(context.Context) (int, error) {
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
		d := &document[int]{now: time.Now, timeout: time.Minute, fetch: func(ctx context.Context) (int, error) {
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
			metadata: &document[metadata]{fetch: count, now: time.Now, timeout: time.Second},
			keys:     &document[keySet]{fetch: func(context.Context) (keySet, error) { return keySet{}, nil }, now: time.Now, timeout: time.Second},
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
		"another tenant": {"/" + otherTenant + "/v2.0", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTenant(t)
			e.keyIssuer = e.server.URL + test.issuer
			_, err := e.client().Exchange(context.Background(), goodCallback())
			if (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOnlySigningKeysOfEnoughBitsAreUsed(t *testing.T) {
	good := jwk{KeyType: "RSA", Use: "sig", KeyID: "k", Modulus: jwkOf("k", signingKeys()[0], "")["n"].(string), Exponent: "AQAB"}
	if _, ok := good.rsa(); !ok {
		t.Fatal("a good key was refused")
	}
	for name, spoil := range map[string]func(*jwk){
		"encryption key": func(k *jwk) { k.Use = "enc" },
		"EC":             func(k *jwk) { k.KeyType = "EC" },
		"no id":          func(k *jwk) { k.KeyID = "" },
		"short modulus":  func(k *jwk) { k.Modulus = k.Modulus[:100] },
		"exponent 1":     func(k *jwk) { k.Exponent = "AQ" },
		"garbage":        func(k *jwk) { k.Modulus = "!" },
	} {
		k := good
		spoil(&k)
		if _, ok := k.rsa(); ok {
			t.Errorf("%s was accepted", name)
		}
	}
}
