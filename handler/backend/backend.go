// Package backend opens the store and the wrapping key that the configuration
// names. Nothing here uses the network.
package backend

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/keyring/keyvault"
	"entramcp/handler/secret"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/embedded"
)

// Table is an open table. Close it.
type Table struct {
	store.Table
	// Prepare creates the table if it is missing. It must have succeeded once
	// before the first use.
	Prepare func(context.Context) error
}

// OpenTable opens the table of Azure, or the file in DATA_DIR.
func OpenTable(cfg config.Config, log *slog.Logger) (Table, error) {
	if cfg.Store.Embedded() {
		t, err := embedded.Open(cfg.Store.DataDir)
		return Table{t, func(context.Context) error { return nil }}, err
	}
	o := azuretable.Options{
		ServiceURL: cfg.Store.TablesURL, Name: cfg.Store.TableName, Log: log,
		ConnectionString: azuretable.ConnectionString{Value: cfg.Store.ConnectionString.Value},
	}
	if o.ServiceURL != "" {
		credential, err := azureCredential(cfg)
		if err != nil {
			return Table{}, err
		}
		o.Credential = credential
	}
	t, err := azuretable.New(o)
	if err != nil {
		return Table{}, err
	}
	return Table{t, t.CreateIfMissing}, nil
}

// OpenWrapper opens the wrapping key. Without a setting that is MasterKeyFile in
// DATA_DIR, which it makes if it is missing.
func OpenWrapper(cfg config.Config) (keyring.Wrapper, error) {
	var previous []keyring.MasterKey
	if !cfg.Keys.Previous.IsZero() {
		previous = append(previous, keyring.MasterKey{Value: cfg.Keys.Previous.Value})
	}
	switch {
	case cfg.Keys.VaultKeyURL != "":
		credential, err := azureCredential(cfg)
		if err != nil {
			return nil, err
		}
		vault, err := keyvault.New(cfg.Keys.VaultKeyURL, credential, keyvault.Options{})
		if err != nil || len(previous) == 0 {
			return vault, err
		}
		old, err := keyring.NewMasterKey(previous[0])
		if err != nil {
			return nil, fmt.Errorf("MASTER_KEY_PREVIOUS: %w", err)
		}
		return keyring.Migrating(vault, old), nil
	case !cfg.Keys.MasterKey.IsZero():
		return keyring.NewMasterKey(keyring.MasterKey{Value: cfg.Keys.MasterKey.Value}, previous...)
	}
	generated, err := generatedMasterKey(cfg.Store.DataDir)
	if err != nil {
		return nil, err
	}
	return keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(generated)}, previous...)
}

// azureCredential is the app's managed identity in Azure and the developer's
// own sign-in elsewhere.
func azureCredential(cfg config.Config) (azcore.TokenCredential, error) {
	if !cfg.InAzure {
		return azidentity.NewDefaultAzureCredential(nil)
	}
	o := &azidentity.ManagedIdentityCredentialOptions{}
	if cfg.IdentityClientID != "" {
		o.ID = azidentity.ClientID(cfg.IdentityClientID)
	}
	return azidentity.NewManagedIdentityCredential(o)
}

// MasterKeyFile is the generated master key, in DATA_DIR.
const MasterKeyFile = "master.key"

// generatedMasterKey reads the key beside the embedded store, or makes one. If
// it was lost while the store was kept, the new one opens nothing: the ring says
// so and refuses to start sign-in.
func generatedMasterKey(dir string) (string, error) {
	path := filepath.Join(dir, MasterKeyFile)
	switch text, err := os.ReadFile(path); {
	case err == nil:
		return strings.TrimSpace(string(text)), nil
	case !errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("read the master key: %w", err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	text := base64.StdEncoding.EncodeToString(key)
	if err := writeWhole(path, text+"\n"); err != nil {
		return "", fmt.Errorf("keep the master key: %w", err)
	}
	return text, nil
}

// writeWhole leaves either all of text at path or nothing, however it is killed.
func writeWhole(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
