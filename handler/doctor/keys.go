package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"entramcp/handler/backend"
	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
)

// Wrapping wraps and unwraps a key that is nobody's. setting names where the
// wrapping key was configured.
func Wrapping(ctx context.Context, w keyring.Wrapper, setting string) Finding {
	const check = "wrapping key"
	probe := make([]byte, 32)
	_, _ = rand.Read(probe) // never fails
	id, wrapped, err := w.Wrap(ctx, probe)
	if err != nil {
		return Wrong(check, "it does not wrap: "+err.Error(), wrappingFix(err, setting))
	}
	again, err := w.Unwrap(ctx, id, wrapped)
	if err == nil && !bytes.Equal(again, probe) {
		err = fmt.Errorf("%s returned another key", w.ID())
	}
	if err != nil {
		return Wrong(check, "it does not unwrap: "+err.Error(), wrappingFix(err, setting))
	}
	return OK(check, setting+": "+w.ID()+" wraps and unwraps")
}

func wrappingFix(err error, setting string) string {
	if fix := identityFix(err); fix != "" {
		return fix
	}
	if setting != "KEY_VAULT_KEY_URL" {
		return "Put the output of `openssl rand -base64 32` into " + setting + "."
	}
	return "It takes an enabled RSA key at KEY_VAULT_KEY_URL, a vault whose firewall lets this network in, and the role Key Vault Crypto User on it for this identity."
}

// Ring opens every epoch that is in the table with w. It makes none.
func Ring(ctx context.Context, table store.Table, w keyring.Wrapper) Finding {
	const check = "key ring"
	epochs, err := keyring.New(keyring.Options{Table: table, Wrapper: w}).List(ctx)
	var locked []error
	for _, e := range epochs {
		locked = append(locked, e.Locked)
	}
	switch unreadable := errors.Join(locked...); {
	case err != nil:
		return Unknown(check, err.Error(), "Correct the storage first.")
	case unreadable != nil:
		return Wrong(check, unreadable.Error(), "Set the wrapping key that is named here: KEY_VAULT_KEY_URL, MASTER_KEY, or MASTER_KEY_PREVIOUS while changing it. "+
			"If it is lost, delete the partition keys of the table: everyone signs in again.")
	case len(epochs) == 0:
		return OK(check, "empty: the first start makes it")
	}
	return OK(check, fmt.Sprintf("%d epoch(s), all readable", len(epochs)))
}

// keys tries the wrapping key, and on what is in table unless that is nil.
func keys(ctx context.Context, cfg config.Config, table store.Table) []Finding {
	setting := "KEY_VAULT_KEY_URL"
	switch {
	case !cfg.Keys.MasterKey.IsZero():
		setting = "MASTER_KEY"
	case cfg.Keys.VaultKeyURL == "":
		setting = "DATA_DIR/" + backend.MasterKeyFile
	}
	wrapper, err := backend.OpenWrapper(cfg)
	if err != nil {
		return []Finding{Wrong("wrapping key", err.Error(), "Correct "+setting+".")}
	}
	return inTime(ctx, func(ctx context.Context) []Finding {
		wrapping := Wrapping(ctx, wrapper, setting)
		if table == nil {
			return []Finding{wrapping, Unknown("key ring", "not read, as the storage cannot be", "")}
		}
		return []Finding{wrapping, Ring(ctx, table, wrapper)}
	})
}
