// Package keyvault wraps the key ring with an RSA key that never leaves Azure
// Key Vault.
//
// It uses the wrapKey and unwrapKey operations of the Key Vault REST API with
// RSA-OAEP-256, for which the identity needs the role Key Vault Crypto User.
// Each epoch is stored with the version of the key that wrapped it, so a key
// that Key Vault rotates still unwraps what its earlier versions wrapped.
// Those versions must stay enabled; an expired one still unwraps
// (https://learn.microsoft.com/azure/key-vault/keys/about-keys-details).
package keyvault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"entramcp/handler/keyring"
)

// Options are what New needs beside the key; the zero value is the default.
type Options struct {
	// Transport sends requests; the SDK's own unless set.
	Transport policy.Transporter
	// Timeout bounds one operation with its retries: 8 seconds.
	Timeout time.Duration
}

// Key is one key of one vault.
type Key struct {
	client  *azkeys.Client
	timeout time.Duration
	base    string // of its ids: https://vault/keys/name
	name    string
	version string // to wrap with; the latest if empty
}

var _ keyring.Wrapper = (*Key)(nil)

// New makes a wrapper of the key that keyURL names, the value of
// KEY_VAULT_KEY_URL: https://<vault>.vault.azure.net/keys/<name>, with a
// version after another slash to wrap with that version only. It does no I/O.
func New(keyURL string, credential azcore.TokenCredential, opts Options) (*Key, error) {
	vault, name, version, err := parse(keyURL)
	if err != nil {
		return nil, err
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 8 * time.Second
	}
	client, err := azkeys.NewClient(vault, credential, &azkeys.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: opts.Transport,
		// Wrapping and unwrapping have no effect, so they may be repeated.
		Retry: policy.RetryOptions{
			MaxRetries:    2,
			TryTimeout:    opts.Timeout / 2,
			RetryDelay:    200 * time.Millisecond,
			MaxRetryDelay: time.Second,
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("KEY_VAULT_KEY_URL: %w", err)
	}
	return &Key{client: client, timeout: opts.Timeout, base: vault + "/keys/" + name, name: name, version: version}, nil
}

// Check says why keyURL cannot be the URL of a key, or returns nil.
func Check(keyURL string) error {
	_, _, _, err := parse(keyURL)
	return err
}

// parse splits a key's URL. Vault and key names are case-insensitive
// (https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates).
func parse(keyURL string) (vault, name, version string, err error) {
	u, err := url.Parse(strings.TrimSuffix(strings.TrimSpace(keyURL), "/"))
	if err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		segments := strings.Split(u.EscapedPath(), "/")
		if len(segments) == 3 {
			segments = append(segments, "")
		}
		if len(segments) == 4 && segments[1] == "keys" && plain(segments[2]) && segments[2] != "" && plain(segments[3]) {
			return "https://" + strings.ToLower(u.Host), strings.ToLower(segments[2]), strings.ToLower(segments[3]), nil
		}
	}
	return "", "", "", errors.New("KEY_VAULT_KEY_URL must be https://<vault>.vault.azure.net/keys/<name>, " +
		"optionally followed by /<version>")
}

// plain reports whether s has only the characters of key names and versions.
func plain(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// ID is the key's URL, with the version if one is pinned.
func (k *Key) ID() string {
	if k.version == "" {
		return k.base
	}
	return k.base + "/" + k.version
}

// Status is Current for every version of the key, because all of them unwrap.
func (k *Key) Status(id string) keyring.Status {
	if _, ok := k.versionOf(id); ok {
		return keyring.Current
	}
	return keyring.Unknown
}

func (k *Key) versionOf(id string) (string, bool) {
	version, ok := strings.CutPrefix(id, k.base+"/")
	return version, ok && version != "" && plain(version)
}

// Wrap encrypts key with the pinned version or else the latest one. The id
// names the version that was used.
func (k *Key) Wrap(ctx context.Context, key []byte) (string, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	algorithm := azkeys.EncryptionAlgorithmRSAOAEP256
	answer, err := k.client.WrapKey(ctx, k.name, k.version, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: key}, nil)
	if err != nil {
		return "", nil, k.explain("wrap", err)
	}
	if answer.KID == nil || len(answer.Result) == 0 || answer.KID.Version() == "" {
		return "", nil, fmt.Errorf("key vault: %s: the answer to wrapKey names no key version or has no result", k.base)
	}
	return k.base + "/" + answer.KID.Version(), answer.Result, nil
}

// Unwrap decrypts what the version named id has wrapped.
func (k *Key) Unwrap(ctx context.Context, id string, wrapped []byte) ([]byte, error) {
	version, ok := k.versionOf(id)
	if !ok {
		return nil, keyring.ErrWrongKey
	}
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	algorithm := azkeys.EncryptionAlgorithmRSAOAEP256
	answer, err := k.client.UnwrapKey(ctx, k.name, version, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: wrapped}, nil)
	if err != nil {
		return nil, k.explain("unwrap", err)
	}
	return answer.Result, nil
}
