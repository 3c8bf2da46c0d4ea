package process

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
		if p.client != "" || p.app != "" || p.documentHost != "" || p.redirectHost != "" {
			return "", "", errUsage("name one party")
		}
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

// selection is which connections flags select: those for which all of them hold.
type selection struct {
	party
	unusedFor, olderThan string
}

const selectionArgs = "[--user OBJECT-ID] [--tenant ID] [--client ID] [--unused-for DAYS] [--older-than DAYS]"

// define adds its flags, beside those of its party.
func (s *selection) define(c *call) {
	s.party.define(c)
	c.flags.StringVar(&s.unusedFor, "unused-for", "", "")
	c.flags.StringVar(&s.olderThan, "older-than", "", "")
}

// oneByOne reports whether it selects other connections than all of one party.
func (s *selection) oneByOne() bool {
	return s.unusedFor != "" || s.olderThan != "" || (s.user != "" && s.client != "")
}

// filter is the selection at now.
func (s *selection) filter(now time.Time) (grants.Filter, error) {
	if s.app != "" || s.documentHost != "" || s.redirectHost != "" {
		return grants.Filter{}, errUsage("connections are selected by user, tenant, client and age")
	}
	f := grants.Filter{ClientID: s.client, TenantID: s.tenant}
	if s.user != "" {
		// The subject is of the tenant already.
		_, subject, err := (&party{user: s.user, tenant: s.tenant}).named()
		if err != nil {
			return f, err
		}
		f.Subject, f.TenantID = grants.Subject(subject), ""
	}
	var err error
	if f.UnusedSince, err = daysBefore(now, "--unused-for", s.unusedFor); err != nil {
		return f, err
	}
	f.CreatedBefore, err = daysBefore(now, "--older-than", s.olderThan)
	return f, err
}

// daysBefore is zero for an empty text.
func daysBefore(now time.Time, name, days string) (time.Time, error) {
	if days == "" {
		return time.Time{}, nil
	}
	n, err := strconv.Atoi(days)
	if err != nil || n < 0 {
		return time.Time{}, errUsage(name + " takes a number of days")
	}
	return now.AddDate(0, 0, -n), nil
}

var connectionCommands = []command{
	{
		name: "connections list", args: selectionArgs, summary: "show who has connected what: by user, tenant, client and age",
		examples: []string{"connections list --user 9f8c… --tenant c0a7…", "connections list --client https://claude.ai/oauth/claude-code-client-metadata --unused-for 60"},
		run: func(c *call) error {
			var s selection
			s.define(c)
			if err := c.parse(0, 0); err != nil {
				return err
			}
			f, err := s.filter(time.Now())
			if err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				var rows [][]string
				err := o.Connections(c.ctx, f, func(g grants.Connection) {
					rows = append(rows, []string{g.ID, string(g.Subject), g.ClientID, day(g.Created), day(g.LastUsed), g.Scopes.String()})
				})
				if err != nil {
					return err
				}
				return c.table("GRANT\tUSER\tCLIENT\tCONNECTED\tREFRESHED\tSCOPES", rows)
			})
		},
	},
	{
		name: "connections revoke", args: partyArgs + ", with [--unused-for DAYS] [--older-than DAYS]",
		summary: "sign out a user, all users of an app or a tenant, or old connections; they can connect again",
		examples: []string{
			"connections revoke --user 9f8c… --tenant c0a7…", "connections revoke --client https://claude.ai/oauth/claude-code-client-metadata",
			"connections revoke --tenant c0a7… --unused-for 60",
		},
		run: revokeConnections,
	},
}

// revokeConnections ends all connections of a party by one write, and others one by
// one.
func revokeConnections(c *call) error {
	var s selection
	s.define(c)
	if err := c.parse(0, 0); err != nil {
		return err
	}
	if !s.oneByOne() {
		kind, value, err := s.named()
		if err != nil {
			return err
		}
		return c.act("Signed out", kind, value, func(o *operator.Operator) error { return o.Revoke(c.ctx, kind, value) })
	}
	f, err := s.filter(time.Now())
	if err != nil {
		return err
	}
	return c.withOperator(func(o *operator.Operator) error {
		n, err := o.RevokeEach(c.ctx, f)
		switch {
		case errors.Is(err, operator.ErrNothing):
			return errors.New("nothing was done: no connection matches. See app connections list")
		case err != nil:
			return fmt.Errorf("after %d connections: %w. Repeat the command", n, err)
		}
		fmt.Fprintf(c.stdout, "Ended: %d connections. Every instance acts on it within 15 seconds.\n", n)
		return nil
	})
}

// act runs do, which is about a party, and says what was done.
func (c *call) act(done string, kind grants.BlockKind, value string, do func(*operator.Operator) error) error {
	return c.withOperator(func(o *operator.Operator) error {
		if err := do(o); err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "%s: %s %s. Every instance acts on it within 15 seconds.\n", done, strings.ReplaceAll(string(kind), "-", " "), value)
		return nil
	})
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
		name: "blocks add", args: partyArgs + " [--reason TEXT]", summary: "block a client, host, app, user or tenant on every instance until it is unblocked, and end its grants",
		examples: []string{"blocks add --redirect-host evil.example --reason 'phishing, ticket 12'"},
		run: func(c *call) error {
			reason := c.flags.String("reason", "", "")
			kind, value, err := parseParty(c)
			if err != nil {
				return err
			}
			return c.block(kind, value, *reason)
		},
	},
	{
		name: "blocks remove", args: partyArgs, summary: "unblock what blocks add has blocked",
		examples: []string{"blocks remove --redirect-host evil.example"},
		run: func(c *call) error {
			kind, value, err := parseParty(c)
			if err != nil {
				return err
			}
			return c.unblock(kind, value)
		},
	},
}

func (c *call) block(kind grants.BlockKind, value, reason string) error {
	return c.act("Blocked", kind, value, func(o *operator.Operator) error { return o.Block(c.ctx, kind, value, reason) })
}

func (c *call) unblock(kind grants.BlockKind, value string) error {
	return c.act("Unblocked", kind, value, func(o *operator.Operator) error {
		err := o.Unblock(c.ctx, kind, value)
		if errors.Is(err, operator.ErrNothing) {
			return errors.New("nothing was done: it is not blocked. See app blocks list")
		}
		return err
	})
}
