package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"entramcp/handler/backend"
	"entramcp/handler/config"
	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/embedded"
)

// Storage inserts, reads and deletes a row of its own, after prepare has made
// the table. If the process dies in between, the sweep removes the row. setting
// names where the table was configured.
func Storage(ctx context.Context, table store.Table, prepare func(context.Context) error, setting string) Finding {
	const check = "storage"
	if prepare != nil {
		if err := prepare(ctx); err != nil {
			return Wrong(check, "the table cannot be created: "+err.Error(), storageFix(err, setting))
		}
	}
	row := store.Row{Partition: store.ProbePartition, Key: rand.Text(), Value: []byte("probe"),
		Expires: time.Now().UTC().Truncate(time.Second).Add(time.Hour)}
	etag, err := table.Insert(ctx, row)
	if err != nil {
		return Wrong(check, "a row cannot be written: "+err.Error(), storageFix(err, setting))
	}
	read, err := table.Get(ctx, row.Partition, row.Key)
	if err == nil && !bytes.Equal(read.Value, row.Value) {
		err = errors.New("what was read is not what was written")
	}
	if err != nil {
		return Wrong(check, "a row cannot be read: "+err.Error(), storageFix(err, setting))
	}
	if err := table.Delete(ctx, row.Partition, row.Key, etag); err != nil {
		return Wrong(check, "a row cannot be deleted: "+err.Error(), storageFix(err, setting))
	}
	return OK(check, setting+": a row was written, read and deleted")
}

// storageFix follows the error codes of
// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
func storageFix(err error, setting string) string {
	if fix := identityFix(err); fix != "" {
		return fix
	}
	if setting == "DATA_DIR" {
		return "Check the file's owner and the space that is left, or name another directory in DATA_DIR."
	}
	var refused *azuretable.Refusal
	if !errors.As(err, &refused) {
		return fmt.Sprintf("Check %s, and that this machine can reach it: DNS, firewall, private endpoint.", setting)
	}
	switch {
	case refused.Code == "AuthorizationFailure":
		return "Let this network in under Networking of the storage account."
	case refused.Code == "AuthenticationFailed":
		return fmt.Sprintf("Copy the value of %s again from the storage account, and check this machine's clock.", setting)
	case refused.Status == http.StatusForbidden || refused.Status == http.StatusUnauthorized:
		return "Assign the role Storage Table Data Contributor on the storage account to this identity; a new assignment takes some minutes."
	case refused.Status == http.StatusNotFound:
		return fmt.Sprintf("Check %s and TABLES_NAME.", setting)
	}
	return "Try again; if it persists, look at the storage account's health in the portal."
}

// identityFix is for errors of getting a token for Azure's own services.
func identityFix(err error) string {
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) || strings.Contains(err.Error(), "failed to acquire a token") || strings.Contains(err.Error(), "ManagedIdentityCredential") {
		return "On your computer, sign in with az login. In Azure, assign a managed identity to the app and, if it is a user-assigned one, its client ID to AZURE_CLIENT_ID."
	}
	return ""
}

// writable reports whether files can be made in dir or, if there is none yet,
// in the nearest directory above it.
func writable(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return err
		}
		dir = filepath.Dir(dir)
	}
	probe, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// storageAndKeys checks storage and keys.
func storageAndKeys(ctx context.Context, cfg config.Config) []Finding {
	if cfg.Store.Embedded() {
		return embeddedStorage(ctx, cfg)
	}
	setting := "TABLES_URL"
	if !cfg.Store.ConnectionString.IsZero() {
		setting = "TABLES_CONNECTION_STRING"
	}
	table, err := backend.OpenTable(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return append([]Finding{Wrong("storage", err.Error(), "Correct "+setting+".")}, keys(ctx, cfg, nil)...)
	}
	defer table.Close()
	return append(inTime(ctx, func(ctx context.Context) []Finding {
		return []Finding{Storage(ctx, table, table.Prepare, setting)}
	}), keys(ctx, cfg, table)...)
}

// embeddedStorage makes neither the store nor its master key.
func embeddedStorage(ctx context.Context, cfg config.Config) []Finding {
	dir := cfg.Store.DataDir
	if err := writable(dir); err != nil {
		return []Finding{Wrong("storage", err.Error(), "Make DATA_DIR writable for this user, or name another directory in it.")}
	}
	if !present(dir, embedded.FileName) {
		return []Finding{OK("storage", fmt.Sprintf("DATA_DIR %s is empty and writable: the first start fills it", dir))}
	}
	if cfg.Keys.VaultKeyURL == "" && cfg.Keys.MasterKey.IsZero() && !present(dir, backend.MasterKeyFile) {
		return []Finding{Wrong("wrapping key", fmt.Sprintf("%s is gone, and %s cannot be read without it", backend.MasterKeyFile, embedded.FileName),
			"Restore "+backend.MasterKeyFile+" from a backup, or delete DATA_DIR and start again: everyone signs in again.")}
	}
	table, err := embedded.Open(dir)
	if errors.Is(err, embedded.ErrInUse) {
		return append([]Finding{Unknown("storage", fmt.Sprintf("DATA_DIR %s is in use by a running server; its /readyz reports whether the store works", dir),
			"To check the store itself, stop the server.")}, keys(ctx, cfg, nil)...)
	}
	if err != nil {
		return []Finding{Wrong("storage", err.Error(), "Restore the file from a backup, or name another directory in DATA_DIR.")}
	}
	defer table.Close()
	return append(inTime(ctx, func(ctx context.Context) []Finding {
		return []Finding{Storage(ctx, table, nil, "DATA_DIR")}
	}), keys(ctx, cfg, table)...)
}

func present(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return !errors.Is(err, fs.ErrNotExist)
}
