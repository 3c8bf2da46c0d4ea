package clients

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

const foundry = "https://global.consent.azure-apim.net/redirect/foundry-5f1c"

func create(t *testing.T, r *Registry, c OperatorClient) (OperatorClient, Secret) {
	t.Helper()
	made, secret, err := r.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return made, secret
}

func with(id string, s Secret) url.Values {
	return url.Values{"client_id": {id}, "client_secret": {s.Reveal()}}
}

func TestOperatorsClientAuthenticatesAndIsNeverSwept(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		clock := clocktest.New()
		r := newRegistry(t, Options{Table: table, Now: clock.Now})
		made, secret := create(t, r, OperatorClient{Name: "Foundry", RedirectURIs: []string{foundry}, WithoutPKCE: true})
		clock.Advance(10 * 365 * 24 * time.Hour)
		page, err := table.ListExpired(t.Context(), clock.Now(), "")
		if err != nil || len(page.Rows) != 0 {
			t.Errorf("%d rows can be swept, %v", len(page.Rows), err)
		}
		c, err := r.Authenticate(t.Context(), nil, with(made.ID, secret))
		if err != nil {
			t.Fatal(err)
		}
		if !c.WithoutPKCE || c.Source != SourceOperator || c.Name != "Foundry" || !c.Allows(foundry) || c.Allows(foundry+"/x") || c.Public() || !c.Trusted(foundry) {
			t.Errorf("%+v", c)
		}
		r.Touch(t.Context(), c)
		row, err := table.Get(t.Context(), OperatorPartition, made.ID)
		if err != nil || row.ETag != c.row.ETag || !row.Expires.IsZero() {
			t.Errorf("using it changed its row: %v, %v", row.Expires, err)
		}
		if strings.Contains(string(row.Value), secret.Reveal()) {
			t.Error("the secret is stored in clear")
		}
	})
}

func TestOnlyOperatorsClientsWithASecretMayLeaveOutPKCE(t *testing.T) {
	table := openTable(t)
	r := newRegistry(t, Options{Table: table})
	if _, _, err := r.Create(t.Context(), OperatorClient{Name: "X", RedirectURIs: []string{foundry}, Public: true, WithoutPKCE: true}); err == nil {
		t.Error("a public client without PKCE is made")
	}
	// The flag counts in the operator's partition alone, and with a secret.
	reg := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"client_secret_post","without_pkce":true}`)
	c, err := r.Lookup(t.Context(), reg.ClientID)
	if err != nil || c.WithoutPKCE {
		t.Errorf("a client asks for it: %v", err)
	}
	rec := c.record
	rec.WithoutPKCE = true
	row := c.row
	if row.Value, err = rec.encode(); err != nil {
		t.Fatal(err)
	}
	if c, err := r.decode(row); err != nil || c.WithoutPKCE {
		t.Errorf("a registered client has it: %v", err)
	}
	row.Partition, rec.Metadata.AuthMethod = OperatorPartition, AuthNone
	if row.Value, err = rec.encode(); err != nil {
		t.Fatal(err)
	}
	if c, err := r.decode(row); err != nil || c.WithoutPKCE {
		t.Errorf("a public client has it: %v", err)
	}
}

func TestTwoSecretsAreValidWhileOneIsRotated(t *testing.T) {
	clock := clocktest.New()
	r := newRegistry(t, Options{Now: clock.Now})
	made, first := create(t, r, OperatorClient{Name: "App", RedirectURIs: []string{foundry}})
	rotate := func(overlap time.Duration) Secret {
		t.Helper()
		s, err := r.RotateSecret(t.Context(), made.ID, overlap)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	valid := func(what string, s Secret, want bool) {
		t.Helper()
		_, err := r.Authenticate(t.Context(), nil, with(made.ID, s))
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	second := rotate(24 * time.Hour)
	valid("first, in the overlap", first, true)
	valid("second", second, true)
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 || !list[0].PreviousSecretUntil.Equal(clock.Now().Add(24*time.Hour)) {
		t.Errorf("%+v, %v", list, err)
	}
	third := rotate(24 * time.Hour)
	valid("first, two rotations later", first, false)
	valid("second, in the overlap", second, true)
	clock.Advance(24 * time.Hour)
	valid("second, after the overlap", second, false)
	valid("third", third, true)
	valid("the empty secret", Secret{}, false)
	fourth := rotate(0)
	valid("third, without overlap", third, false)
	valid("fourth", fourth, true)
	if list, err = r.List(t.Context()); err != nil || !list[0].PreviousSecretUntil.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestOperatorManagesClients(t *testing.T) {
	storetest.OnBothStores(t, func(t *testing.T, table store.Table) {
		clock := clocktest.New()
		r, other := newRegistry(t, Options{Table: table, Now: clock.Now}), newRegistry(t, Options{Table: table, Now: clock.Now})
		register(t, r, realRegistrations[0].body) // is not the operator's
		b, _ := create(t, r, OperatorClient{Name: "B", RedirectURIs: []string{foundry}, Public: true})
		a, _ := create(t, r, OperatorClient{Name: "A", RedirectURIs: []string{"https://a.example/2", "https://a.example/1", "https://a.example/2"}, WithoutPKCE: true})
		list, err := r.List(t.Context())
		if err != nil || len(list) != 2 || list[0].ID != a.ID || list[1].ID != b.ID || !list[0].WithoutPKCE || list[0].Public || !list[1].Public || !list[0].Created.Equal(clock.Now()) {
			t.Fatalf("%+v, %v", list, err)
		}
		if want := []string{"https://a.example/1", "https://a.example/2"}; !slices.Equal(list[0].RedirectURIs, want) {
			t.Errorf("redirect URIs %q", list[0].RedirectURIs)
		}
		lookup(t, other, b.ID)
		if err := r.SetRedirectURIs(t.Context(), b.ID, []string{"https://b.example/cb"}); err != nil {
			t.Fatal(err)
		}
		if err := r.SetRedirectURIs(t.Context(), b.ID, []string{"https://b.example/cb#fragment"}); err == nil {
			t.Error("an address with a fragment was set")
		}
		clock.Advance(time.Minute)
		for _, instance := range []*Registry{r, other} {
			if c, err := instance.Lookup(t.Context(), b.ID); err != nil || c.Allows(foundry) || !c.Allows("https://b.example/cb") {
				t.Errorf("%q, %v", c.RedirectURIs, err)
			}
		}
		if err := r.Delete(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Minute)
		for _, instance := range []*Registry{r, other} {
			_, err := instance.Lookup(t.Context(), b.ID)
			wantCode(t, err, oauth.InvalidClient)
		}
		for what, err := range map[string]error{
			"deleted": r.Delete(t.Context(), b.ID), "unknown": r.SetRedirectURIs(t.Context(), operatorPrefix+oauth.RandomID(), []string{foundry}),
			"registered": r.Delete(t.Context(), register(t, r, realRegistrations[0].body).ClientID), "malformed": r.Delete(t.Context(), "o-"),
		} {
			if !errors.Is(err, ErrNoClient) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := r.RotateSecret(t.Context(), a.ID, 0); err != nil {
			t.Error(err)
		}
	})
}

func TestOperatorsMistakesAreNamed(t *testing.T) {
	r := newRegistry(t, Options{})
	for want, c := range map[string]OperatorClient{
		"name":                   {Name: "\u202e", RedirectURIs: []string{foundry}},
		"1 to 50":                {Name: "X"},
		"https URI":              {Name: "X", RedirectURIs: []string{"http://localhost/cb"}},
		`"com.example.app:/cb"`:  {Name: "X", RedirectURIs: []string{foundry, "com.example.app:/cb"}},
		"wildcards":              {Name: "X", RedirectURIs: []string{"https://a.example/*"}},
		"must not contain iss":   {Name: "X", RedirectURIs: []string{"https://a.example/cb?iss=x"}},
		"user name or password":  {Name: "X", RedirectURIs: []string{"https://u@a.example/cb"}},
		"without a secret needs": {Name: "X", RedirectURIs: []string{foundry}, Public: true, WithoutPKCE: true},
	} {
		if _, _, err := r.Create(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	made, _ := create(t, r, OperatorClient{Name: "Public", RedirectURIs: []string{foundry}, Public: true})
	var long []string
	for i := range 5 {
		long = append(long, fmt.Sprintf("https://a.example/%d%s", i, strings.Repeat("x", 2000)))
	}
	_, _, err := r.Create(t.Context(), OperatorClient{Name: "X", RedirectURIs: long})
	for _, err := range []error{err, r.SetRedirectURIs(t.Context(), made.ID, long)} {
		if err == nil || !strings.Contains(err.Error(), "8192") {
			t.Errorf("much to store: %v", err)
		}
	}
	if c, err := r.Lookup(t.Context(), made.ID); err != nil || !c.Allows(foundry) {
		t.Errorf("%q, %v", c.RedirectURIs, err)
	}
	if _, err := r.RotateSecret(t.Context(), made.ID, 0); err == nil || !strings.Contains(err.Error(), "no secret") {
		t.Error(err)
	}
	if n := countRows(t, r.table, OperatorPartition); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestConcurrentChangesToAClientAreAllMade(t *testing.T) {
	table := openTable(t)
	r := newRegistry(t, Options{Table: table})
	made, _ := create(t, r, OperatorClient{Name: "App", RedirectURIs: []string{foundry}})
	var group sync.WaitGroup
	secrets := make([]Secret, 4)
	for i := range secrets {
		instance := newRegistry(t, Options{Table: table})
		group.Go(func() {
			var err error
			if secrets[i], err = instance.RotateSecret(t.Context(), made.ID, time.Hour); err != nil {
				t.Error(err)
			}
			if err := instance.SetRedirectURIs(t.Context(), made.ID, []string{foundry, "https://a.example/cb"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	valid := 0
	for _, s := range secrets {
		if _, err := newRegistry(t, Options{Table: table}).Authenticate(t.Context(), nil, with(made.ID, s)); err == nil {
			valid++
		}
	}
	if valid != 2 {
		t.Errorf("%d secrets are valid, want the last and the one before", valid)
	}
}

func TestFailedWriteOfAnOperatorsClientIsReported(t *testing.T) {
	table := storetest.Instrument(openTable(t))
	r := newRegistry(t, Options{Table: table})
	made, secret := create(t, r, OperatorClient{Name: "App", RedirectURIs: []string{foundry}})
	table.Before(storetest.Fail(errStorage, storetest.Insert, storetest.Replace))
	if _, _, err := r.Create(t.Context(), OperatorClient{Name: "App", RedirectURIs: []string{foundry}}); !errors.Is(err, errStorage) {
		t.Error(err)
	}
	if _, err := r.RotateSecret(t.Context(), made.ID, time.Hour); !errors.Is(err, errStorage) {
		t.Error(err)
	}
	if _, err := r.Authenticate(t.Context(), nil, with(made.ID, secret)); err != nil {
		t.Errorf("the old secret is not valid: %v", err)
	}
	table.Before(storetest.Fail(errStorage, storetest.List))
	if list, err := r.List(t.Context()); !errors.Is(err, errStorage) || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
