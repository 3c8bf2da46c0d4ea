package handler

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
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/embedded"
)

// Open is New with the store and the wrapping key that the configuration
// names. It reads local files; what needs the network happens in Run.
func Open(cfg config.Config, log *slog.Logger) (*Server, error) {
	table, prepare, err := OpenTable(cfg, log)
	if err != nil {
		return nil, err
	}
	wrapper, err := OpenWrapper(cfg)
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	s, err := New(cfg, Dependencies{Table: table, Wrapper: wrapper, Log: log})
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	s.prepare, s.close = prepare, table.Close
	return s, nil
}

// OpenTable opens the table that cfg names, and returns what must be done once,
// over the network, before it can be used, or nil.
func OpenTable(cfg config.Config, log *slog.Logger) (store.Table, func(context.Context) error, error) {
	if cfg.Store.Embedded() {
		t, err := embedded.Open(cfg.Store.DataDir)
		return t, nil, err
	}
	o := azuretable.Options{
		ServiceURL: cfg.Store.TablesURL, Name: cfg.Store.TableName, Log: log,
		ConnectionString: azuretable.ConnectionString(cfg.Store.ConnectionString),
	}
	if o.ServiceURL != "" {
		credential, err := azureCredential(cfg)
		if err != nil {
			return nil, nil, err
		}
		o.Credential = credential
	}
	t, err := azuretable.New(o)
	if err != nil {
		return nil, nil, err
	}
	return t, t.CreateIfMissing, nil
}

// OpenWrapper opens the wrapping key that cfg names. With neither KEY_VAULT_KEY_URL
// nor MASTER_KEY it makes one in DATA_DIR if there is none.
func OpenWrapper(cfg config.Config) (keyring.Wrapper, error) {
	var previous []string
	if cfg.Keys.Previous != "" {
		previous = append(previous, string(cfg.Keys.Previous))
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
	case cfg.Keys.MasterKey != "":
		return keyring.NewMasterKey(string(cfg.Keys.MasterKey), previous...)
	}
	generated, err := generatedMasterKey(cfg.Store.DataDir)
	if err != nil {
		return nil, err
	}
	return keyring.NewMasterKey(generated, previous...)
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

// MasterKeyFile is the generated wrapping key, in DATA_DIR.
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
	if _, err := rand.Read(key); err != nil {
		return "", err
	}
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
