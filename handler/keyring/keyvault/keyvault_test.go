package keyvault

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/keyring"
)

var secret = []byte("an epoch of exactly 32 bytes ...")

func newKey(t *testing.T, v *vault, keyURL string) *Key {
	t.Helper()
	k, err := New(keyURL, v, Options{Transport: v, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wrapped(t *testing.T, k *Key) (string, []byte) {
	t.Helper()
	id, data, err := k.Wrap(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, secret) {
		t.Fatal("not encrypted")
	}
	return id, data
}

func TestKeyThatKeyVaultRotatesStillUnwraps(t *testing.T) {
	v := newVault(t)
	k := newKey(t, v, goodURL)
	id1, data1 := wrapped(t, k)
	v.addVersion(version2)
	id2, data2 := wrapped(t, k)
	if id1 != goodURL+"/"+version1 || id2 != goodURL+"/"+version2 {
		t.Errorf("ids %s and %s do not name the versions that wrapped", id1, id2)
	}
	for id, data := range map[string][]byte{id1: data1, id2: data2} {
		got, err := k.Unwrap(t.Context(), id, data)
		if err != nil || !bytes.Equal(got, secret) {
			t.Errorf("unwrap with %s: %v", id, err)
		}
		if k.Status(id) != keyring.Current {
			t.Errorf("%s is %v, want Current", id, k.Status(id))
		}
	}
	if !slices.Contains(v.seen, "unwrapkey "+version1) {
		t.Errorf("the stored version was not asked for: %q", v.seen)
	}
}

func TestPinnedVersionWrapsAndOthersUnwrap(t *testing.T) {
	v := newVault(t)
	id, data := wrapped(t, newKey(t, v, goodURL))
	v.addVersion(version2)
	pinned := newKey(t, v, goodURL+"/"+version1)
	if again, _ := wrapped(t, pinned); again != id {
		t.Errorf("wrapped with %s, want %s", again, id)
	}
	if _, err := newKey(t, v, goodURL+"/"+version2).Unwrap(t.Context(), id, data); err != nil {
		t.Error(err)
	}
}

func TestKeyURLForms(t *testing.T) {
	v := newVault(t)
	for keyURL, id := range map[string]string{
		goodURL:       goodURL,
		goodURL + "/": goodURL,
		"  https://RING.vault.azure.net/keys/Ring\n": goodURL,
		goodURL + "/" + version1:                     goodURL + "/" + version1,
		goodURL + "/" + version1 + "/":               goodURL + "/" + version1,
	} {
		k := newKey(t, v, keyURL)
		if k.ID() != id {
			t.Errorf("%q: ID %s, want %s", keyURL, k.ID(), id)
		}
		wrapped(t, k)
	}
	for _, keyURL := range []string{
		"", "ring", "http://ring.vault.azure.net/keys/ring", "https://ring.vault.azure.net", "https:///keys/ring",
		"https://ring.vault.azure.net/keys", "https://ring.vault.azure.net/keys/", "https://ring.vault.azure.net/secrets/ring",
		goodURL + "/v/x", goodURL + "?a=b", goodURL + "#f", "https://u@ring.vault.azure.net/keys/ring",
		"https://ring.vault.azure.net/keys/ri%2Fng", "https://ring.vault.azure.net/keys/ring/..",
	} {
		if _, err := New(keyURL, v, Options{}); err == nil || !strings.Contains(err.Error(), "KEY_VAULT_KEY_URL must be https://") {
			t.Errorf("%q: %v", keyURL, err)
		}
	}
}

func TestForeignKeysAreNotAskedFor(t *testing.T) {
	v := newVault(t)
	k := newKey(t, v, goodURL)
	for _, id := range []string{
		"", goodURL, goodURL + "/", goodURL + "s/" + version1, goodURL + "/" + version1 + "/unwrapkey", goodURL + "/..",
		"https://other.vault.azure.net/keys/ring/" + version1, "master-key-0011223344556677",
	} {
		if _, err := k.Unwrap(t.Context(), id, secret); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("%q: %v, want ErrWrongKey", id, err)
		}
		if k.Status(id) != keyring.Unknown {
			t.Errorf("%q is %v, want Unknown", id, k.Status(id))
		}
	}
	if len(v.seen) != 0 {
		t.Errorf("the vault was asked: %q", v.seen)
	}
}

func TestAlteredCiphertextIsTheWrongKey(t *testing.T) {
	v := newVault(t)
	k := newKey(t, v, goodURL)
	id, data := wrapped(t, k)
	data[7] ^= 1
	if _, err := k.Unwrap(t.Context(), id, data); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("%v, want ErrWrongKey", err)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	const byRBAC = "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or " +
		"role definitions were changed recently, please observe propagation time.\r\nCaller: appid=a;oid=b"
	for name, c := range map[string]struct {
		status               int
		code, inner, message string
		want                 string
		attempts             int
	}{
		"no role":       {403, "Forbidden", "ForbiddenByRbac", byRBAC, "role Key Vault Crypto User", 1},
		"no policy":     {403, "Forbidden", "AccessDenied", "The user does not have keys wrapKey permission", "role Key Vault Crypto User", 1},
		"other tenant":  {401, "Unauthorized", "", "AKV10032: Invalid issuer.", "another tenant", 1},
		"firewall":      {403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized", "firewall", 1},
		"disabled":      {403, "Forbidden", "KeyDisabled", "Operation wrapKey is not allowed on a disabled key.", "enable the key", 1},
		"missing":       {404, "KeyNotFound", "", "A key with (name/id) ring was not found", "recover it if it was deleted", 1},
		"not RSA":       {400, "BadParameter", "", "Key and algorithm are not compatible", "must be an RSA key", 1},
		"throttled":     {429, "Throttled", "", "Request was not processed because too many requests were received", "unavailable: status 429", 3},
		"broken":        {500, "InternalServerError", "", "", "unavailable: status 500", 3},
		"shutting down": {503, "ServiceUnavailable", "", "", "unavailable: status 503", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t)
			v.fail = func(int, string) (int, string, string, string) { return c.status, c.code, c.inner, c.message }
			_, _, err := newKey(t, v, goodURL).Wrap(t.Context(), secret)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), goodURL) {
				t.Errorf("%v; want it to name the key and say %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "oid=b") || errors.Is(err, keyring.ErrWrongKey)) {
				t.Errorf("unexpected: %v", err)
			}
			if v.attempts != c.attempts {
				t.Errorf("%d attempts, want %d", v.attempts, c.attempts)
			}
		})
	}
}

func TestShortOutageIsRetried(t *testing.T) {
	v := newVault(t)
	v.fail = func(attempt int, _ string) (int, string, string, string) {
		if attempt == 1 {
			return http.StatusServiceUnavailable, "ServiceUnavailable", "", ""
		}
		return 0, "", "", ""
	}
	wrapped(t, newKey(t, v, goodURL))
}

func TestStalledVaultIsGivenUp(t *testing.T) {
	v := newVault(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	v.fail = func(int, string) (int, string, string, string) { <-release; return 500, "", "", "" }
	k, err := New(goodURL, v, Options{Transport: v, Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	_, _, err = k.Wrap(context.Background(), secret)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(started), err)
	}
}

func TestUnreachableVaultIsAnOutage(t *testing.T) {
	v := newVault(t)
	_, _, err := newKey(t, v, "https://elsewhere.vault.azure.net/keys/ring").Wrap(t.Context(), secret)
	if err == nil || !strings.Contains(err.Error(), "no answer") || errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("got %v", err)
	}
}

// A challenge that names another resource would have the token sent to
// whoever answers (https://aka.ms/azsdk/blog/vault-uri).
func TestTokenIsNotGivenToAForeignResource(t *testing.T) {
	v := newVault(t)
	v.resource = "https://vault.example.com"
	if _, _, err := newKey(t, v, goodURL).Wrap(t.Context(), secret); err == nil || v.attempts != 0 {
		t.Errorf("%d authenticated requests, %v", v.attempts, err)
	}
}
