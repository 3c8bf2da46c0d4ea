// Package operator implements the operator's commands on the table: list, rotate
// and retire keys, sign users out, add and remove blocks, and make clients. Each
// function reports what it did. They need only the settings of the store and the
// keys, so that they work where the server itself does not.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"entramcp/handler/backend"
	"entramcp/handler/clients"
	"entramcp/handler/config"
	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/observe"
	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
)

// ErrNothing says that there was nothing to do.
var ErrNothing = errors.New("nothing was done")

// Operator holds an open table.
type Operator struct {
	table   store.Table
	ring    *keyring.Ring
	grants  *grants.Service
	clients *clients.Registry
	log     *slog.Logger
}

// Open opens the table that cfg names. It fails at once if the embedded store is
// in use by a running server.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*Operator, error) {
	table, err := backend.OpenTable(cfg, log)
	if errors.Is(err, embedded.ErrInUse) {
		return nil, fmt.Errorf("the running server has DATA_DIR %s open: stop it first, or use its page /account", cfg.Store.DataDir)
	}
	if err != nil {
		return nil, err
	}
	if err := table.Prepare(ctx); err != nil {
		return nil, errors.Join(err, table.Close())
	}
	wrapper, err := backend.OpenWrapper(cfg)
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	o, err := New(cfg, table, wrapper, log)
	if err != nil {
		return nil, errors.Join(err, table.Close())
	}
	return o, nil
}

// New is Open on a table and a key of the caller's.
func New(cfg config.Config, table store.Table, wrapper keyring.Wrapper, log *slog.Logger) (*Operator, error) {
	ring := keyring.New(keyring.Options{Table: table, Wrapper: wrapper, Retention: max(cfg.RefreshLifetime, cfg.AccessTokenLifetime), Now: time.Now, Log: log})
	registry, err := clients.New(clients.Options{Table: table, Issuer: cfg.Issuer, Log: log})
	if err != nil {
		return nil, err
	}
	return &Operator{
		table: table, ring: ring, clients: registry, log: log,
		grants: grants.New(grants.Options{
			Table: table, Ring: ring, Issuer: cfg.Issuer, Resource: cfg.Resource, AccessLifetime: cfg.AccessTokenLifetime,
			RefreshLifetime: cfg.RefreshLifetime, GrantLifetime: cfg.GrantLifetime, RefreshGrace: cfg.RefreshGrace, Log: log,
		}),
	}, nil
}

// Close releases the table.
func (o *Operator) Close() error { return o.table.Close() }

// audit notes an action of the operator's that no other event says.
func (o *Operator) audit(ctx context.Context, reason, target string) {
	observe.Audit(ctx, o.log, observe.Event{Name: observe.AdminAction, Reason: reason, Target: target})
}

// Keys lists the epochs of the key ring.
func (o *Operator) Keys(ctx context.Context) ([]keyring.Epoch, error) { return o.ring.List(ctx) }

// RotateKeys publishes the next epoch. It signs ten minutes later; nobody is
// signed out.
func (o *Operator) RotateKeys(ctx context.Context) error {
	return o.ring.Rotate(ctx)
}

// RewrapKeys wraps all epochs with the current wrapping key, once every instance
// has it, and returns how many it has wrapped.
func (o *Operator) RewrapKeys(ctx context.Context) (int, error) {
	n, err := o.ring.Rewrap(ctx)
	if err == nil && n == 0 {
		err = ErrNothing
	}
	if err == nil {
		o.audit(ctx, "rewrap_keys", "")
	}
	return n, err
}

// RetireKeys ends epochs that may have leaked. Within grants.MaxStale no instance
// accepts what they have signed.
func (o *Operator) RetireKeys(ctx context.Context, sequences ...uint32) error {
	if err := o.ring.Retire(ctx, sequences...); err != nil {
		return err
	}
	if err := o.grants.AnnounceKeyChange(ctx); err != nil {
		return fmt.Errorf("retired, but the other instances have not been told; repeat the command: %w", err)
	}
	return nil
}

// SignOutEveryone ends all that was granted until now, and retires every epoch
// that there is: what a copy of the table or of a key is worth ends with it.
// Everybody can sign in again.
func (o *Operator) SignOutEveryone(ctx context.Context) (retired int, err error) {
	epochs, err := o.ring.List(ctx)
	if err != nil {
		return 0, err
	}
	var sequences []uint32
	for _, e := range epochs {
		if e.Retired.IsZero() {
			sequences = append(sequences, e.Sequence)
		}
	}
	if err := o.grants.SignOutEveryone(ctx, time.Now(), "operator"); err != nil {
		return 0, err
	}
	if len(sequences) > 0 {
		if err := o.RetireKeys(ctx, sequences...); err != nil {
			return 0, fmt.Errorf("grants are ended, but keys are not retired; repeat the command: %w", err)
		}
	}
	o.audit(ctx, "sign_out", "everyone")
	return len(sequences), nil
}

// Revoke ends everything that was granted for a party until now.
func (o *Operator) Revoke(ctx context.Context, kind grants.BlockKind, value string) error {
	if err := o.grants.SignOut(ctx, kind, value, "operator"); err != nil {
		return err
	}
	o.audit(ctx, "revoke", string(kind)+" "+value)
	return nil
}

// Connections calls each with the live connections that f selects. It reads the
// grants of all users, or with a Subject those of one.
func (o *Operator) Connections(ctx context.Context, f grants.Filter, each func(grants.Connection)) error {
	for from := store.Cursor(""); ; {
		page, next, err := o.grants.Scan(ctx, f, from)
		if err != nil {
			return err
		}
		for _, c := range page {
			if c.Connected {
				each(c)
			}
		}
		if from = next; from == "" {
			return nil
		}
	}
}

// RevokeEach ends the connections that f selects, one by one, and returns how many
// there were; ErrNothing if none. It can be repeated.
func (o *Operator) RevokeEach(ctx context.Context, f grants.Filter) (int, error) {
	total := 0
	var err error
	for from := store.Cursor(""); ; {
		var n int
		n, from, err = o.grants.DisconnectPage(ctx, f, from)
		if total += n; err != nil || from == "" {
			break
		}
	}
	if total > 0 {
		o.audit(ctx, "revoke", fmt.Sprintf("%d connections", total))
	}
	if err == nil && total == 0 {
		err = ErrNothing
	}
	return total, err
}

// Blocks lists the blocks in force. Sign-outs are not among them.
func (o *Operator) Blocks(ctx context.Context) ([]grants.Block, error) {
	all, err := o.grants.Blocks(ctx)
	if err != nil {
		return nil, err
	}
	var blocks []grants.Block
	for _, b := range all {
		if b.SignedOutBefore.IsZero() {
			blocks = append(blocks, b)
		}
	}
	return blocks, nil
}

// Block refuses a party until it is unblocked.
func (o *Operator) Block(ctx context.Context, kind grants.BlockKind, value, reason string) error {
	if err := o.grants.Block(ctx, kind, value, reason); err != nil {
		return err
	}
	observe.Audit(ctx, o.log, observe.Event{Name: observe.Blocked, Target: string(kind) + " " + value})
	return nil
}

// Unblock removes a block. It fails with ErrNothing if there is none.
func (o *Operator) Unblock(ctx context.Context, kind grants.BlockKind, value string) error {
	blocks, err := o.Blocks(ctx)
	if err != nil {
		return err
	}
	found := false
	for _, b := range blocks {
		found = found || (b.Kind == kind && strings.EqualFold(b.Value, value))
	}
	if !found {
		return ErrNothing
	}
	if err := o.grants.Unblock(ctx, kind, value); err != nil {
		return err
	}
	observe.Audit(ctx, o.log, observe.Event{Name: observe.Unblocked, Target: string(kind) + " " + value})
	return nil
}

// Clients are those that an operator has made.
func (o *Operator) Clients(ctx context.Context) ([]clients.OperatorClient, error) {
	return o.clients.List(ctx)
}

// CreateClient makes a client and returns it with its secret, which is empty for
// a public one.
func (o *Operator) CreateClient(ctx context.Context, c clients.OperatorClient) (clients.OperatorClient, clients.Secret, error) {
	made, secret, err := o.clients.Create(ctx, c)
	if err == nil {
		what := "create_client"
		if made.WithoutPKCE {
			what = "create_client_without_pkce"
		}
		o.audit(ctx, what, "client "+made.ID)
	}
	return made, secret, err
}

// RotateSecret gives a client another secret. The one before stays valid for
// overlap.
func (o *Operator) RotateSecret(ctx context.Context, id string, overlap time.Duration) (clients.Secret, error) {
	secret, err := o.clients.RotateSecret(ctx, id, overlap)
	if err == nil {
		o.audit(ctx, "rotate_client_secret", "client "+id)
	}
	return secret, err
}

// SetRedirectURIs replaces the redirect URIs of a client.
func (o *Operator) SetRedirectURIs(ctx context.Context, id string, uris []string) error {
	err := o.clients.SetRedirectURIs(ctx, id, uris)
	if err == nil {
		o.audit(ctx, "set_client_redirect_uris", "client "+id)
	}
	return err
}

// DeleteClient removes a client and signs out everybody who used it.
func (o *Operator) DeleteClient(ctx context.Context, id string) error {
	if err := o.clients.Delete(ctx, id); err != nil {
		return err
	}
	if err := o.grants.SignOut(ctx, grants.BlockClient, id, "client deleted"); err != nil {
		return fmt.Errorf("deleted, but its grants were not ended; run connections revoke --client %s: %w", id, err)
	}
	o.audit(ctx, "delete_client", "client "+id)
	return nil
}
