package process

import (
	"errors"
	"fmt"

	"github.com/google/uuid"

	"entramcp/handler/config"
	"entramcp/handler/operator"
)

var tenantCommands = []command{
	{
		name: "tenants list", summary: "show which tenants the table allows and denies, in addition to ENTRA_ALLOWED_TENANTS",
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				list, err := o.Tenants(c.ctx)
				if err != nil {
					return err
				}
				rows := make([][]string, 0, len(list))
				for _, t := range list {
					state := "denied"
					if t.Allowed {
						state = "allowed"
					}
					rows = append(rows, []string{t.ID, state, day(t.At), t.Reason})
				}
				if err := c.table("TENANT\tSTATE\tSINCE\tREASON", rows); err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "\nOthers are allowed if the server's own ENTRA_ALLOWED_TENANTS names them; here it is %s.\n", c.setting("ENTRA_ALLOWED_TENANTS"))
				return nil
			})
		},
	},
	{
		name: "tenants allow", args: "[--reason TEXT] TENANT", summary: "allow a tenant's users and applications, in addition to ENTRA_ALLOWED_TENANTS",
		examples: []string{"tenants allow --reason 'contract 12' c0a7050c-0000-4000-8000-000000000001"},
		run: func(c *call) error {
			reason := c.flags.String("reason", "", "")
			return onTenant(c, func(o *operator.Operator, id string) error {
				if err := o.AllowTenant(c.ctx, id, *reason); err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "Allowed: tenant %s. Every instance acts on it within 15 seconds, where ENTRA_TENANT_ID is organizations or common.\n", id)
				return nil
			})
		},
	},
	{
		name: "tenants deny", args: "[--reason TEXT] TENANT", summary: "refuse a tenant's sign-ins, refreshes and calls, whatever ENTRA_ALLOWED_TENANTS says",
		examples: []string{"tenants deny --reason 'has left' c0a7050c-0000-4000-8000-000000000001"},
		run: func(c *call) error {
			reason := c.flags.String("reason", "", "")
			return onTenant(c, func(o *operator.Operator, id string) error {
				if err := o.DenyTenant(c.ctx, id, *reason); err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "Denied: tenant %s. Every instance acts on it within 15 seconds.\n", id)
				return nil
			})
		},
	},
	{
		name: "tenants erase", args: "TENANT", summary: "remove all that is kept of the users of a tenant that is denied",
		examples: []string{"tenants erase c0a7…"},
		run: func(c *call) error {
			return onTenant(c, func(o *operator.Operator, id string) error {
				users, err := o.EraseTenant(c.ctx, id)
				if errors.Is(err, operator.ErrNotDenied) {
					return fmt.Errorf("%w, and nothing was done: see app tenants deny", err)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "Erased: %d users of tenant %s. It stays denied.\n", users, id)
				return nil
			})
		},
	},
}

// onTenant runs do on the tenant that is the one argument. It is called after the
// command has defined its flags.
func onTenant(c *call, do func(o *operator.Operator, id string) error) error {
	if err := c.parse(1, 1); err != nil {
		return err
	}
	id, err := uuid.Parse(c.args[0])
	if err != nil {
		return errUsage(fmt.Sprintf("%q is not a tenant ID, which is a GUID: a domain can be moved to another tenant", c.args[0]))
	}
	return c.withOperator(func(o *operator.Operator) error { return do(o, id.String()) })
}

// setting is the value of a setting as it is on this computer, in words.
func (c *call) setting(name string) string {
	getenv, err := config.WithLocalSettings(c.getenv)
	if err != nil || getenv(name) == "" {
		return "not set"
	}
	return getenv(name)
}
