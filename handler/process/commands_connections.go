package process

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"entramcp/handler/grants"
	"entramcp/handler/operator"
)

// party is the one party that flags name.
type party struct {
	user, tenant, client, app, documentHost, redirectHost string
}

// define adds the flags of a party.
func (p *party) define(c *call) {
	c.flags.StringVar(&p.user, "user", "", "")
	c.flags.StringVar(&p.tenant, "tenant", "", "")
	c.flags.StringVar(&p.client, "client", "", "")
	c.flags.StringVar(&p.app, "app", "", "")
	c.flags.StringVar(&p.documentHost, "document-host", "", "")
	c.flags.StringVar(&p.redirectHost, "redirect-host", "", "")
}

// named is the kind and the value. A user is an object ID in a tenant; never a
// name, which changes hands.
func (p *party) named() (grants.BlockKind, string, error) {
	if p.user != "" {
		if p.tenant == "" {
			return "", "", errUsage("--user needs --tenant: object IDs are those of one tenant")
		}
		user, userErr := uuid.Parse(p.user)
		tenant, tenantErr := uuid.Parse(p.tenant)
		if userErr != nil || tenantErr != nil {
			return "", "", errUsage("--user and --tenant take the object ID and the tenant ID, which are GUIDs")
		}
		return grants.BlockUser, string(grants.SubjectOf(tenant.String(), user.String())), nil
	}
	var kind grants.BlockKind
	var value string
	for k, v := range map[grants.BlockKind]string{
		grants.BlockTenant: p.tenant, grants.BlockClient: p.client, grants.BlockApp: p.app,
		grants.BlockDocumentHost: p.documentHost, grants.BlockRedirectHost: p.redirectHost,
	} {
		if v == "" {
			continue
		}
		if kind != "" {
			return "", "", errUsage("name one party")
		}
		kind, value = k, v
	}
	if kind == "" {
		return "", "", errUsage("name a party")
	}
	return kind, value, nil
}

// parseParty reads the arguments of a command that takes a party. It is called
// after the command has defined its other flags.
func parseParty(c *call) (grants.BlockKind, string, error) {
	var p party
	p.define(c)
	if err := c.parse(0, 0); err != nil {
		return "", "", err
	}
	return p.named()
}

const partyArgs = "--user OBJECT-ID --tenant ID | --client ID | --tenant ID | --app ID | --document-host HOST | --redirect-host HOST"

var connectionCommands = []command{
	{
		name: "connections list", args: "--user OBJECT-ID --tenant ID", summary: "show which apps a user has connected",
		examples: []string{"connections list --user 9f8c… --tenant c0a7…"},
		run: func(c *call) error {
			kind, value, err := parseParty(c)
			if err != nil {
				return err
			}
			if kind != grants.BlockUser {
				return errUsage("it takes a user")
			}
			return c.withOperator(func(o *operator.Operator) error {
				list, err := o.Connections(c.ctx, grants.Subject(value))
				if err != nil {
					return err
				}
				rows := make([][]string, 0, len(list))
				for _, g := range list {
					rows = append(rows, []string{g.ID, g.ClientID, day(g.Created), day(g.LastUsed), g.Scopes.String()})
				}
				return c.table("GRANT\tCLIENT\tCONNECTED\tREFRESHED\tSCOPES", rows)
			})
		},
	},
	{
		name: "connections revoke", args: partyArgs, summary: "sign out a user, or everybody who uses an app, or a tenant; they can connect again",
		examples: []string{"connections revoke --user 9f8c… --tenant c0a7…", "connections revoke --client https://claude.ai/oauth/claude-code-client-metadata"},
		run: func(c *call) error {
			return onParty(c, "Signed out", func(o *operator.Operator, kind grants.BlockKind, value string) error {
				return o.Revoke(c.ctx, kind, value)
			})
		},
	},
}

var blockCommands = []command{
	{
		name: "blocks list", summary: "show who is blocked",
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				list, err := o.Blocks(c.ctx)
				if err != nil {
					return err
				}
				rows := make([][]string, 0, len(list))
				for _, b := range list {
					rows = append(rows, []string{string(b.Kind), b.Value, day(b.At), b.Reason})
				}
				return c.table("KIND\tVALUE\tSINCE\tREASON", rows)
			})
		},
	},
	{
		name: "blocks add", args: partyArgs + " [--reason TEXT]", summary: "refuse a party everywhere until it is unblocked, and end what it has",
		examples: []string{"blocks add --redirect-host evil.example --reason 'phishing, ticket 12'"},
		run: func(c *call) error {
			reason := c.flags.String("reason", "", "")
			return onParty(c, "Blocked", func(o *operator.Operator, kind grants.BlockKind, value string) error {
				return o.Block(c.ctx, kind, value, *reason)
			})
		},
	},
	{
		name: "blocks remove", args: partyArgs, summary: "unblock a party",
		run: func(c *call) error {
			return onParty(c, "Unblocked", func(o *operator.Operator, kind grants.BlockKind, value string) error {
				err := o.Unblock(c.ctx, kind, value)
				if errors.Is(err, operator.ErrNothing) {
					return errors.New("nothing was done: it is not blocked. See app blocks list")
				}
				return err
			})
		},
	},
}

// onParty runs do on the party that the flags name and says what was done.
func onParty(c *call, done string, do func(*operator.Operator, grants.BlockKind, string) error) error {
	kind, value, err := parseParty(c)
	if err != nil {
		return err
	}
	return c.withOperator(func(o *operator.Operator) error {
		if err := do(o, kind, value); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s: %s %s. Every instance acts on it within 15 seconds.\n", done, strings.ReplaceAll(string(kind), "-", " "), value)
		return nil
	})
}
