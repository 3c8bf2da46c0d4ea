package keyvault

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

const (
	tenant   = "11111111-2222-3333-4444-555555555555"
	goodURL  = "https://ring.vault.azure.net/keys/ring"
	bearer   = "token-for-the-vault"
	version1 = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
	version2 = "f9e8d7c6b5a4938271605f4e3d2c1b0a"
)

// vault speaks the part of the Key Vault REST API that wraps, and refuses all
// that the documentation does not allow: api-version 2025-07-01, challenge
// authentication, the wrapKey and unwrapKey bodies and the error bodies of
// learn.microsoft.com/rest/api/keyvault and
// learn.microsoft.com/azure/key-vault/general/rest-error-codes.
type vault struct {
	tb       testing.TB
	server   *httptest.Server
	mu       sync.Mutex
	versions map[string]*rsa.PrivateKey
	latest   string
	resource string // of the challenge
	fail     func(attempt int, operation string) (status int, code, inner, message string)
	seen     []string // operations, with the version in the path
	attempts int
}

func newVault(tb testing.TB) *vault {
	tb.Helper()
	v := &vault{tb: tb, versions: map[string]*rsa.PrivateKey{}, resource: "https://vault.azure.net"}
	v.addVersion(version1)
	v.server = httptest.NewServer(http.HandlerFunc(v.serve))
	tb.Cleanup(v.server.Close)
	return v
}

func (v *vault) addVersion(version string) {
	v.tb.Helper()
	key, err := rsaKeys[version]()
	if err != nil {
		v.tb.Fatal(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.versions[version], v.latest = key, version
}

// rsaKeys are made once for all tests: making one takes a second with the
// race detector.
var rsaKeys = map[string]func() (*rsa.PrivateKey, error){
	version1: sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
	version2: sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
}

// Do is the transport: it brings requests for the vault's real name here.
func (v *vault) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || r.URL.Host != "ring.vault.azure.net" {
		return nil, fmt.Errorf("dial %s: no such host", r.URL.Host)
	}
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(v.server.URL, "http://")
	return v.server.Client().Do(r)
}

// GetToken is the credential: it gives a token for the vault's resource only.
func (v *vault) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://vault.azure.net/.default" || o.TenantID != tenant {
		v.tb.Errorf("token requested for %v in %q", o.Scopes, o.TenantID)
	}
	return azcore.AccessToken{Token: bearer, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (v *vault) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Authorization") == "" {
		if len(body) != 0 {
			v.tb.Error("a key was sent before the vault was authenticated to")
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(
			`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, tenant, v.resource))
		refuse(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10022: Invalid audience.")
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	path := strings.Split(r.URL.Path, "/") // "", keys, name, version, operation
	if len(path) == 4 {
		path = slices.Insert(path, 3, "") // the latest version
	}
	if r.Method != http.MethodPost || len(path) != 5 || path[1] != "keys" {
		refuse(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "", "")
		return
	}
	version, operation := path[3], strings.ToLower(path[4])
	v.seen = append(v.seen, operation+" "+version)
	v.attempts++
	if v.fail != nil {
		if status, code, inner, message := v.fail(v.attempts, operation); status != 0 {
			refuse(w, status, code, inner, message)
			return
		}
	}
	if r.URL.Query().Get("api-version") != "2025-07-01" {
		refuse(w, http.StatusBadRequest, "BadParameter", "", "api-version is missing or not supported")
		return
	}
	if version == "" {
		version = v.latest
	}
	key := v.versions[version]
	if path[2] != "ring" || key == nil {
		refuse(w, http.StatusNotFound, "KeyNotFound", "",
			"A key with (name/id) "+path[2]+"/"+version+" was not found in this key vault.")
		return
	}
	v.operate(w, operation, version, key, body)
}

func (v *vault) operate(w http.ResponseWriter, operation, version string, key *rsa.PrivateKey, body []byte) {
	var in struct {
		Algorithm string `json:"alg"`
		Value     string `json:"value"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Algorithm != "RSA-OAEP-256" {
		refuse(w, http.StatusBadRequest, "BadParameter", "", "Property alg is not a supported value")
		return
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(in.Value)
	if err == nil && operation == "wrapkey" {
		value, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil)
	} else if err == nil {
		value, err = key.Decrypt(rand.Reader, value, &rsa.OAEPOptions{Hash: crypto.SHA256})
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "BadParameter", "", "The parameter is incorrect.")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"kid": goodURL + "/" + version, "value": base64.RawURLEncoding.EncodeToString(value),
	})
}

func refuse(w http.ResponseWriter, status int, code, inner, message string) {
	e := map[string]any{"code": code, "message": message}
	if inner != "" {
		e["innererror"] = map[string]string{"code": inner}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": e})
}
