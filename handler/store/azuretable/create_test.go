package azuretable_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
)

func TestManyInstancesCreateOneTable(t *testing.T) {
	name := freshName()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { open(t, name) })
	}
	group.Wait()
	if _, err := open(t, name).Insert(t.Context(), store.Row{Partition: "p", Key: "k"}); err != nil {
		t.Error(err)
	}
}

func TestCreateWaitsForTheDeletionOfATable(t *testing.T) {
	p := newProxy(t)
	table := p.open(t, freshName(), time.Minute)
	var n atomic.Int32
	dying := answer(http.StatusConflict, "x-ms-error-code", "TableBeingDeleted")
	p.during(func(w http.ResponseWriter, forward func() *http.Response) {
		if n.Add(1) <= 3 {
			dying(w, forward)
			return
		}
		pass(w, forward())
	}, func() {
		if err := table.CreateIfMissing(t.Context()); err != nil {
			t.Error(err)
		}
	})

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p.during(dying, func() {
		if err := table.CreateIfMissing(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a table that stays in deletion: %v", err)
		}
	})
	p.during(answer(http.StatusForbidden, "x-ms-error-code", "AuthorizationFailure"), func() {
		if err := table.CreateIfMissing(t.Context()); err == nil || !strings.Contains(err.Error(), "AuthorizationFailure") {
			t.Errorf("a refusal: %v", err)
		}
	})
}

func TestDevelopmentStorageIsAzurite(t *testing.T) {
	for _, text := range []string{"UseDevelopmentStorage=true", " usedevelopmentstorage=TRUE; "} {
		var asked string
		table, err := azuretable.New(azuretable.Options{
			ConnectionString: connection(text),
			Transport: transport(func(r *http.Request) (*http.Response, error) {
				asked = r.URL.String()
				return nil, errors.New("no further")
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = table.Insert(t.Context(), store.Row{Partition: "p", Key: "k"})
		if want := "http://127.0.0.1:10002/devstoreaccount1/mcp"; !strings.HasPrefix(asked, want) {
			t.Errorf("%q asked %q, want %q", text, asked, want)
		}
	}
}

func TestCredentialAsksForStorageTokens(t *testing.T) {
	var asked, authorization string
	table, err := azuretable.New(azuretable.Options{
		ServiceURL: "https://account.table.core.windows.net",
		Credential: credential{},
		Transport: transport(func(r *http.Request) (*http.Response, error) {
			asked, authorization = r.URL.Host+r.URL.Path, r.Header.Get("Authorization")
			return nil, errors.New("no further")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = table.Insert(t.Context(), store.Row{Partition: "p", Key: "k"})
	wantUnknown(t, "insert", err)
	if asked != "account.table.core.windows.net/mcp" || authorization != "Bearer token for https://storage.azure.com/.default" {
		t.Errorf("asked %q with %q", asked, authorization)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	connectionString := connection("UseDevelopmentStorage=true")
	for name, opts := range map[string]azuretable.Options{
		"nothing":            {},
		"both":               {ConnectionString: connectionString, ServiceURL: "https://a.table.core.windows.net", Credential: credential{}},
		"no credential":      {ServiceURL: "https://a.table.core.windows.net"},
		"no TLS":             {ServiceURL: "http://a.table.core.windows.net", Credential: credential{}},
		"a SAS in the URL":   {ServiceURL: "https://a.table.core.windows.net?sig=x", Credential: credential{}},
		"no URL":             {ServiceURL: "a.table.core.windows.net", Credential: credential{}},
		"a digit first":      {ConnectionString: connectionString, Name: "1mcp"},
		"a name with a dash": {ConnectionString: connectionString, Name: "mcp-1"},
		"too short a name":   {ConnectionString: connectionString, Name: "mc"},
		"too long a name":    {ConnectionString: connectionString, Name: strings.Repeat("m", 64)},
	} {
		if _, err := azuretable.New(opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(r *http.Request) (*http.Response, error) { return t(r) }

type credential struct{}

func (credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token for " + strings.Join(o.Scopes, " "), ExpiresOn: time.Now().Add(time.Hour)}, nil
}
