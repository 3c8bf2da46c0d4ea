package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"entramcp/handler/backend"
	"entramcp/handler/clients"
	"entramcp/handler/config"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
	"entramcp/handler/sweep"
	"entramcp/handler/warnings"
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
	return "It needs an enabled RSA key at KEY_VAULT_KEY_URL, a vault whose firewall lets this network in, and the role Key Vault Crypto User on it for this identity."
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
		return OK(check, "empty: the first start creates it")
	}
	newest := epochs[len(epochs)-1].Created
	return judged(check, fmt.Sprintf("%d epoch(s), all readable, the newest of %s", len(epochs), newest.UTC().Format(time.DateOnly)),
		warnings.Facts{Now: time.Now(), NewestKey: newest, RotateAfter: keyring.Period})
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
			return []Finding{wrapping, Unknown("key ring", "not read, because the storage cannot be reached", "")}
		}
		return []Finding{wrapping, Ring(ctx, table, wrapper), Swept(ctx, table, cfg.SweepInterval, time.Now()), documents(ctx, cfg, table)}
	})
}

// Swept reports when what has expired was last removed. A server that has been
// stopped for longer than that is behind, and catches up when it starts.
func Swept(ctx context.Context, table store.Table, every time.Duration, now time.Time) Finding {
	const check = "sweep"
	done, err := sweep.LastDone(ctx, table)
	switch {
	case err != nil:
		return Unknown(check, err.Error(), "Correct the storage first.")
	case done.IsZero():
		return Unknown(check, "none has finished yet", "")
	}
	f := judged(check, "last finished at "+done.UTC().Format(time.RFC3339), warnings.Facts{Now: now, Swept: done, SweepEvery: every})
	if f.Verdict == Failed {
		f.Fix += " If the server was stopped, start it: it catches up."
	}
	return f
}

// documents fetches what clients in use publish.
func documents(ctx context.Context, cfg config.Config, table store.Table) Finding {
	const check, most = "documents of clients", 20
	registry, err := clients.New(clients.Options{
		Table: table, Issuer: cfg.Issuer, Documents: clients.Documents{Hosts: cfg.MetadataHosts, Pinned: cfg.Pinned}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return Wrong(check, err.Error(), "Correct PINNED_CLIENTS.")
	}
	asked, failing, err := registry.ProbeDocuments(ctx, most)
	switch {
	case err != nil:
		return Unknown(check, err.Error(), "Correct the storage first.")
	case len(failing) > 0:
		return Wrong(check, "cannot be fetched: "+strings.Join(failing, ", "),
			"Open the address from this server's network. If the app has moved or stays away, name its document in PINNED_CLIENTS.")
	}
	if asked == 0 {
		return OK(check, "no client in use has one")
	}
	return OK(check, fmt.Sprintf("%d of those in use can be fetched", asked))
}
