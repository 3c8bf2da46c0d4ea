package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"entramcp/handler/authserver"
	"entramcp/handler/grants"
	"entramcp/handler/store"
	"entramcp/handler/toolkit"
)

// ErrNotDenied says that a tenant is not denied, and so may still be in use.
var ErrNotDenied = errors.New("the tenant is not denied")

// Tenants lists what the table says of tenants, beside ENTRA_ALLOWED_TENANTS.
func (o *Operator) Tenants(ctx context.Context) ([]grants.Tenant, error) {
	return o.grants.Tenants(ctx)
}

// AllowTenant admits a tenant beside those of the setting.
func (o *Operator) AllowTenant(ctx context.Context, id, reason string) error {
	if err := o.grants.AllowTenant(ctx, id, reason); err != nil {
		return err
	}
	o.audit(ctx, "allow_tenant", "tenant "+id)
	return nil
}

// DenyTenant refuses a tenant whatever the setting says.
func (o *Operator) DenyTenant(ctx context.Context, id, reason string) error {
	if err := o.grants.DenyTenant(ctx, id, reason); err != nil {
		return err
	}
	o.audit(ctx, "deny_tenant", "tenant "+id)
	return nil
}

// EraseTenant removes all that is kept of the users of a tenant: grants, remembered
// approvals and what tools keep. It fails with ErrNotDenied while they may still
// come. Rows are found by the tenant that they name, so it reads all grants,
// approvals and data. It can be repeated, and goes on after an error.
func (o *Operator) EraseTenant(ctx context.Context, id string) (users int, err error) {
	tenants, err := o.grants.Tenants(ctx)
	if err != nil {
		return 0, err
	}
	denied := false
	for _, t := range tenants {
		denied = denied || (strings.EqualFold(t.ID, id) && !t.Allowed)
	}
	if !denied {
		return 0, ErrNotDenied
	}
	subjects := map[grants.Subject]bool{}
	for _, prefix := range []string{grants.GrantPrefix, authserver.ApprovalPrefix, toolkit.DataPrefix} {
		if err := o.subjectsOf(ctx, prefix, grants.TenantHash(id), subjects); err != nil {
			return 0, err
		}
	}
	for subject := range subjects {
		if err := o.eraseUser(ctx, subject); err != nil {
			return users, fmt.Errorf("%d users are erased, others remain; repeat the command: %w", users, err)
		}
		users++
	}
	o.audit(ctx, "erase_tenant", "tenant "+id)
	return users, nil
}

// subjectsOf adds the subjects of rows below prefix that name the tenant.
func (o *Operator) subjectsOf(ctx context.Context, prefix, tenantHash string, found map[grants.Subject]bool) error {
	const subjectLength = 64
	for row, err := range store.Rows(ctx, o.table, store.Prefix(prefix)) {
		if err != nil {
			return err
		}
		var value struct {
			Tenant string `json:"tenant"`
		}
		rest := strings.TrimPrefix(row.Partition, prefix)
		if err := json.Unmarshal(row.Value, &value); err == nil && value.Tenant == tenantHash && len(rest) >= subjectLength {
			found[grants.Subject(rest[:subjectLength])] = true
		}
	}
	return nil
}

// eraseUser ends what is in use first, so that a part that fails loses nothing: the
// grant is what finds the rest again.
func (o *Operator) eraseUser(ctx context.Context, subject grants.Subject) error {
	if _, err := o.grants.DisconnectAll(ctx, subject); err != nil {
		return err
	}
	if _, err := toolkit.EraseData(ctx, o.table, subject); err != nil {
		return err
	}
	if err := authserver.EraseUser(ctx, o.table, subject); err != nil {
		return err
	}
	return o.grants.Erase(ctx, subject)
}
