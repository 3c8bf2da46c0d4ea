package grants

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"entramcp/handler/store"
)

// A tenant is allowed if the setting or the table names it, and the table does not
// deny it: a denial outweighs the setting, and a tenant that is named nowhere is
// refused. The rows are beside those of the blocks, and a denial is a block, so that
// both are read by every instance within MaxStale, and a request that comes while
// they cannot be read is a 503.

// allowedTenant is the kind of the rows that admit tenants. They block nobody:
// earlier versions read them and look for none of the kind.
const allowedTenant BlockKind = "allowed-tenant"

// A Tenant is one that the table admits or denies.
type Tenant struct {
	ID      string
	Allowed bool
	Reason  string
	At      time.Time
}

// AllowTenant admits a tenant beside those of the setting, and removes its
// denial. It takes effect on other instances within MaxStale.
func (s *Service) AllowTenant(ctx context.Context, id, reason string) error {
	id, err := canonicalParty(BlockTenant, id)
	if err != nil {
		return err
	}
	// The denial is removed last: if only one of the writes is made, the tenant
	// stays refused.
	if err := s.putBlock(ctx, Block{Kind: allowedTenant, Value: id, Reason: reason, At: s.now().UTC()}, time.Time{}); err != nil {
		return err
	}
	return s.Unblock(ctx, BlockTenant, id)
}

// DenyTenant refuses a tenant whatever the setting says, until it is allowed
// again, and ends what it has, as Block does.
func (s *Service) DenyTenant(ctx context.Context, id, reason string) error {
	id, err := canonicalParty(BlockTenant, id)
	if err != nil {
		return err
	}
	if err := s.Block(ctx, BlockTenant, id, reason); err != nil {
		return err
	}
	// The denial outweighs the admission, which could come back with the
	// removal of the block.
	err = s.removeBlock(ctx, Block{Kind: allowedTenant, Value: id})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Tenants lists what the table says of tenants, by ID.
func (s *Service) Tenants(ctx context.Context) ([]Tenant, error) {
	if err := s.loadBlocks(ctx); err != nil {
		return nil, unavailable(err)
	}
	t := s.blocks.Load()
	var list []Tenant
	for _, b := range t.blocks {
		if b.Kind == BlockTenant {
			list = append(list, Tenant{ID: strings.ToLower(b.Value), Reason: b.Reason, At: b.At})
		}
	}
	for hash, b := range t.allowed {
		if !t.denies(hash) {
			list = append(list, Tenant{ID: b.Value, Allowed: true, Reason: b.Reason, At: b.At})
		}
	}
	slices.SortFunc(list, func(a, b Tenant) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// TenantAllowed reports whether the table admits a tenant and does not deny it. It
// does no I/O while the list of revocations is current; an error is a 503.
func (s *Service) TenantAllowed(ctx context.Context, id string) (bool, error) {
	s.noteRequest()
	if err := s.ensureCurrent(ctx); err != nil {
		return false, err
	}
	t, hash := s.blocks.Load(), partyHash(id)
	return t.allows(hash) && !t.denies(hash), nil
}

// denies and allows report what the table says of a tenant, by its hash.
func (t *blockTable) denies(tenant string) bool {
	_, denied := t.blocks[blockKey{BlockTenant, tenant}]
	return denied
}

func (t *blockTable) allows(tenant string) bool {
	_, allowed := t.allowed[tenant]
	return allowed
}

// named reports whether the setting or the table names the tenant of an access
// token, which may have been issued before they changed.
func (s *Service) named(tenantHash string) bool {
	if s.tenants == nil {
		return true
	}
	_, set := s.tenants[tenantHash]
	return set || s.blocks.Load().allows(tenantHash)
}

// tenantSet is the setting as Options has it, by hash; nil for nil.
func tenantSet(ids []string) map[string]struct{} {
	if ids == nil {
		return nil
	}
	set := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		set[partyHash(id)] = struct{}{}
	}
	return set
}

var errTenant = errors.New("the tenant is not allowed to use this server")
