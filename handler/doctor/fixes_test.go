package doctor_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"entramcp/handler/doctor"
	"entramcp/handler/keyring"
	"entramcp/handler/keyring/keyvault"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/storetest"
)

// refusing is a service that answers every request alike.
type refusing struct {
	status     int
	code, body string
}

func (s refusing) Do(r *http.Request) (*http.Response, error) {
	h := http.Header{"Content-Type": {"application/json"}}
	if s.code != "" {
		h.Set("x-ms-error-code", s.code)
	}
	return &http.Response{StatusCode: s.status, Header: h, Body: io.NopCloser(strings.NewReader(s.body)), Request: r}, nil
}

type identity struct{ err error }

func (i identity) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "an-identity-token", ExpiresOn: time.Now().Add(time.Hour)}, i.err
}

var errNoIdentity = errors.New("DefaultAzureCredential: failed to acquire a token.\nAttempted credentials:\n\tEnvironmentCredential: missing")

func TestStorageNamesTheRightThatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		status    int
		code, fix string
		identity  error
	}{
		{403, "AuthorizationPermissionMismatch", "Storage Table Data Contributor", nil},
		{403, "AuthorizationFailure", "Networking", nil},
		{403, "AuthenticationFailed", "TABLES_URL", nil},
		{404, "ResourceNotFound", "TABLES_URL", nil},
		{500, "InternalError", "health", nil},
		{0, "", "az login", errNoIdentity},
	} {
		table, err := azuretable.New(azuretable.Options{ServiceURL: "https://account.table.core.windows.net", Credential: identity{tt.identity}, Transport: refusing{tt.status, tt.code, ""}})
		if err != nil {
			t.Fatal(err)
		}
		f := doctor.Storage(t.Context(), table, table.CreateIfMissing, "TABLES_URL")
		if f.Verdict != doctor.Failed || !strings.Contains(f.Fix, tt.fix) || strings.Contains(f.Detail, "an-identity-token") {
			t.Errorf("%d %s: %+v", tt.status, tt.code, f)
		}
	}
}

func TestWrappingKeyNamesTheRightThatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		status            int
		body, detail, fix string
		identity          error
	}{
		{403, `{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByRbac"}}}`, "may not wrap", "Key Vault Crypto User", nil},
		{403, `{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByFirewall"}}}`, "firewall", "firewall", nil},
		{404, `{"error":{"code":"KeyNotFound"}}`, "there is no https://vault.vault.azure.net/keys/wrap", "KEY_VAULT_KEY_URL", nil},
		{0, "", "no answer", "az login", errNoIdentity},
	} {
		w, err := keyvault.New("https://vault.vault.azure.net/keys/wrap", identity{tt.identity}, keyvault.Options{Transport: challenged{refusing{tt.status, "", tt.body}}})
		if err != nil {
			t.Fatal(err)
		}
		f := doctor.Wrapping(t.Context(), w, "KEY_VAULT_KEY_URL")
		if f.Verdict != doctor.Failed || !strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Fix, tt.fix) {
			t.Errorf("%d %s: %+v", tt.status, tt.body, f)
		}
	}
}

// challenged asks for a token first, as Key Vault does.
type challenged struct{ refusing }

func (c challenged) Do(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") == "" {
		return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody, Request: r, Header: http.Header{
			"Www-Authenticate": {`Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"`}}}, nil
	}
	return c.refusing.Do(r)
}

func TestTheRingIsReadAndNeverMade(t *testing.T) {
	table := storetest.Embedded(t)
	first, second := masterKey(t, "first"), masterKey(t, "second")
	if f := doctor.Ring(t.Context(), table, first); f.Verdict != doctor.Passed || !strings.Contains(f.Detail, "the first start creates it") {
		t.Errorf("an empty table: %+v", f)
	}
	if page, err := table.List(t.Context(), store.Partition(keyring.Partition), ""); err != nil || len(page.Rows) != 0 {
		t.Errorf("the doctor made a ring: %d rows, %v", len(page.Rows), err)
	}
	if err := keyring.New(keyring.Options{Table: table, Wrapper: first}).Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := doctor.Ring(t.Context(), table, first); f.Verdict != doctor.Passed {
		t.Errorf("its own ring: %+v", f)
	}
	if f := doctor.Ring(t.Context(), table, second); f.Verdict != doctor.Failed || !strings.Contains(f.Detail, first.ID()) || !strings.Contains(f.Fix, "MASTER_KEY_PREVIOUS") {
		t.Errorf("another's ring: %+v", f)
	}
	if f := doctor.Ring(t.Context(), table, keyring.Migrating(second, first)); f.Verdict != doctor.Passed {
		t.Errorf("while the key is changed: %+v", f)
	}
}

func masterKey(t *testing.T, text string) keyring.Wrapper {
	t.Helper()
	w, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(text + "-0123456789-abcdefghijklmnopqrstuvw")})
	if err != nil {
		t.Fatal(err)
	}
	return w
}
