package handler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"entramcp/handler/config"
	"entramcp/handler/doctor"
	"entramcp/handler/keyring"
	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
)

// diagnosisTime bounds each part of a diagnosis, so that one that gets no
// answer leaves the others their time: the SDKs of Azure try several identities
// before they give up.
const diagnosisTime = 20 * time.Second

func inTime(ctx context.Context, part func(context.Context) []doctor.Finding) []doctor.Finding {
	ctx, cancel := context.WithTimeout(ctx, diagnosisTime)
	defer cancel()
	return part(ctx)
}

// Diagnose checks what cfg names: Entra and the app registration, storage, keys
// and what clients find. It signs nobody in and makes no keys. The table of
// Azure is made if it is missing, as the first start would.
func Diagnose(ctx context.Context, cfg config.Config) []doctor.Finding {
	scratch, err := os.MkdirTemp("", "entramcp-doctor-")
	if err != nil {
		return []doctor.Finding{doctor.Unknown("all", err.Error(), "Make the directory for temporary files writable.")}
	}
	defer os.RemoveAll(scratch)
	s, err := scratchServer(cfg, scratch)
	if err != nil {
		return []doctor.Finding{doctor.Wrong("configuration", err.Error(), "Correct the setting that is named here.")}
	}
	defer s.Close()
	return slices.Concat(inTime(ctx, s.entra.Diagnose), s.diagnoseRecords(ctx), inTime(ctx, s.diagnoseSite))
}

// scratchServer is the server of cfg on an empty store of its own, so that
// asking it leaves nothing behind.
func scratchServer(cfg config.Config, dir string) (*Server, error) {
	table, err := embedded.Open(dir)
	if err != nil {
		return nil, err
	}
	key, err := generatedMasterKey(dir)
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	wrapper, err := keyring.NewMasterKey(key)
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	s, err := New(cfg, Dependencies{Table: table, Wrapper: wrapper})
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	s.close = table.Close
	return s, nil
}

// diagnoseSite walks what clients see: at PUBLIC_URL if this server answers
// there, else in this process.
func (s *Server) diagnoseSite(ctx context.Context) []doctor.Finding {
	running := doctor.Running(s.cfg.Issuer, string(s.cfg.Resource), s.cfg.Timeout)
	f, answers := running.Up(ctx)
	if answers {
		return append([]doctor.Finding{f}, doctor.Discovery(ctx, running)...)
	}
	return append([]doctor.Finding{f}, doctor.Discovery(ctx, doctor.InProcess(s.cfg.Issuer, string(s.cfg.Resource), s.Handler))...)
}

// diagnoseRecords checks storage and keys.
func (s *Server) diagnoseRecords(ctx context.Context) []doctor.Finding {
	if s.cfg.Store.Embedded() {
		return s.diagnoseEmbedded(ctx)
	}
	setting := "TABLES_URL"
	if s.cfg.Store.ConnectionString != "" {
		setting = "TABLES_CONNECTION_STRING"
	}
	table, prepare, err := openTable(s.cfg, s.deps.Log)
	if err != nil {
		return append([]doctor.Finding{doctor.Wrong("storage", err.Error(), "Correct "+setting+".")}, s.diagnoseKeys(ctx, nil)...)
	}
	defer table.Close()
	return append(diagnoseStorage(ctx, table, prepare, setting), s.diagnoseKeys(ctx, table)...)
}

// diagnoseKeys tries the wrapping key, and on what is in table unless that is
// nil.
func (s *Server) diagnoseKeys(ctx context.Context, table store.Table) []doctor.Finding {
	setting := "KEY_VAULT_KEY_URL"
	switch {
	case s.cfg.Keys.MasterKey != "":
		setting = "MASTER_KEY"
	case s.cfg.Keys.VaultKeyURL == "":
		setting = "DATA_DIR/" + masterKeyFile
	}
	wrapper, err := openWrapper(s.cfg)
	if err != nil {
		return []doctor.Finding{doctor.Wrong("wrapping key", err.Error(), "Correct "+setting+".")}
	}
	return inTime(ctx, func(ctx context.Context) []doctor.Finding {
		wrapping := doctor.Wrapping(ctx, wrapper, setting)
		if table == nil {
			return []doctor.Finding{wrapping, doctor.Unknown("key ring", "not read, as the storage cannot be", "")}
		}
		return []doctor.Finding{wrapping, doctor.Ring(ctx, table, wrapper)}
	})
}

func diagnoseStorage(ctx context.Context, table store.Table, prepare func(context.Context) error, setting string) []doctor.Finding {
	return inTime(ctx, func(ctx context.Context) []doctor.Finding {
		return []doctor.Finding{doctor.Storage(ctx, table, prepare, setting)}
	})
}

// diagnoseEmbedded makes neither the store nor its master key.
func (s *Server) diagnoseEmbedded(ctx context.Context) []doctor.Finding {
	dir := s.cfg.Store.DataDir
	if err := doctor.Writable(dir); err != nil {
		return []doctor.Finding{doctor.Wrong("storage", err.Error(), "Make DATA_DIR writable for this user, or name another directory in it.")}
	}
	if !present(dir, embedded.FileName) {
		return []doctor.Finding{doctor.OK("storage", fmt.Sprintf("DATA_DIR %s is empty and writable: the first start fills it", dir))}
	}
	if s.cfg.Keys.VaultKeyURL == "" && s.cfg.Keys.MasterKey == "" && !present(dir, masterKeyFile) {
		return []doctor.Finding{doctor.Wrong("wrapping key", fmt.Sprintf("%s is gone, and %s cannot be read without it", masterKeyFile, embedded.FileName),
			"Restore "+masterKeyFile+" from a backup, or delete DATA_DIR to begin anew: everyone signs in again.")}
	}
	table, err := embedded.Open(dir)
	if errors.Is(err, embedded.ErrInUse) {
		return append([]doctor.Finding{doctor.Unknown("storage", fmt.Sprintf("DATA_DIR %s is in use by a running server, whose /readyz tells", dir),
			"To check the store itself, stop the server.")}, s.diagnoseKeys(ctx, nil)...)
	}
	if err != nil {
		return []doctor.Finding{doctor.Wrong("storage", err.Error(), "Restore the file from a backup, or name another directory in DATA_DIR.")}
	}
	defer table.Close()
	return append(diagnoseStorage(ctx, table, nil, "DATA_DIR"), s.diagnoseKeys(ctx, table)...)
}

func present(dir, file string) bool {
	_, err := os.Stat(filepath.Join(dir, file))
	return !errors.Is(err, fs.ErrNotExist)
}
