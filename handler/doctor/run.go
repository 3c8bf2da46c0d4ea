package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"entramcp/handler"
	"entramcp/handler/config"
	"entramcp/handler/entra"
	"entramcp/handler/keyring"
	"entramcp/handler/secret"
	"entramcp/handler/store/embedded"
)

// partTime bounds each part of a diagnosis, so that one that gets no answer
// leaves the others their time: the SDKs of Azure try several identities
// before they give up.
const partTime = 20 * time.Second

// Run checks what cfg names: Entra and the app registration, storage, keys and
// what clients find. It signs nobody in and makes no keys. The table of Azure
// is made if it is missing, as the first start would.
func Run(ctx context.Context, cfg config.Config) []Finding {
	return slices.Concat(
		inTime(ctx, func(ctx context.Context) []Finding { return upstream(ctx, cfg) }),
		storageAndKeys(ctx, cfg),
		inTime(ctx, func(ctx context.Context) []Finding { return site(ctx, cfg) }),
	)
}

func inTime(ctx context.Context, part func(context.Context) []Finding) []Finding {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	return part(ctx)
}

func upstream(ctx context.Context, cfg config.Config) []Finding {
	e := handler.EntraConfig(cfg)
	client, err := entra.New(e, entra.Deps{HTTPClient: &http.Client{Timeout: cfg.Timeout}})
	if err != nil {
		return []Finding{Wrong("configuration", err.Error(), "Correct the setting that is named here.")}
	}
	return Entra(ctx, cfg.Entra, client, e.RedirectURI, time.Now)
}

// site walks what clients see: at PUBLIC_URL if this server answers there, else
// in this process.
func site(ctx context.Context, cfg config.Config) []Finding {
	running := Running(cfg.Issuer, string(cfg.Resource), cfg.Timeout)
	f, answers := running.Up(ctx)
	if answers {
		return append([]Finding{f}, Discovery(ctx, running)...)
	}
	server, err := scratchServer(cfg)
	if err != nil {
		return []Finding{f, Wrong("configuration", err.Error(), "Correct the setting that is named here.")}
	}
	defer server.close()
	return append([]Finding{f}, Discovery(ctx, InProcess(cfg.Issuer, string(cfg.Resource), server))...)
}

// scratch is the server of a configuration on an empty store of its own, so
// that asking it leaves nothing behind.
type scratch struct {
	http.Handler
	close func()
}

func scratchServer(cfg config.Config) (scratch, error) {
	dir, err := os.MkdirTemp("", "entramcp-doctor-")
	if err != nil {
		return scratch{}, err
	}
	table, err := embedded.Open(dir)
	if err != nil {
		return scratch{}, errors.Join(err, os.RemoveAll(dir))
	}
	clean := func() { _, _ = table.Close(), os.RemoveAll(dir) } // a directory for temporary files
	wrapper, err := keyring.NewMasterKey(keyring.MasterKey{Value: secret.New(rand.Text() + rand.Text())})
	if err != nil {
		clean()
		return scratch{}, err
	}
	server, err := handler.New(cfg, handler.Dependencies{Table: table, Wrapper: wrapper, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		clean()
		return scratch{}, err
	}
	return scratch{server, clean}, nil
}
