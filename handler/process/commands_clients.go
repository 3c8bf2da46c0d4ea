package process

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"entramcp/handler/clients"
	"entramcp/handler/grants"
	"entramcp/handler/operator"
)

// secretOverlap is how long the secret before a rotation stays valid.
const secretOverlap = 24 * time.Hour

// texts collects a flag that may be repeated.
type texts []string

func (t *texts) String() string     { return strings.Join(*t, ",") }
func (t *texts) Set(v string) error { *t = append(*t, v); return nil }

var clientCommands = []command{
	{
		name: "clients list", summary: "show the clients that an operator has made",
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				list, err := o.Clients(c.ctx)
				if err != nil {
					return err
				}
				rows := make([][]string, 0, len(list))
				for _, m := range list {
					rows = append(rows, []string{m.ID, m.Name, day(m.Created), kindOf(m), strings.Join(m.RedirectURIs, " ")})
				}
				return c.table("CLIENT\tNAME\tCREATED\tKIND\tREDIRECT URIS", rows)
			})
		},
	},
	{
		name: "clients create", args: "--name NAME --redirect-uri URI… [--public | --without-pkce]",
		summary: "make a client for an application that cannot register itself",
		examples: []string{
			"clients create --name 'Contoso Foundry' --redirect-uri https://later.invalid/ --without-pkce",
			"clients create --name 'Contoso web app' --redirect-uri https://app.contoso.com/callback",
		},
		run: func(c *call) error {
			var m clients.OperatorClient
			var uris texts
			c.flags.StringVar(&m.Name, "name", "", "")
			c.flags.Var(&uris, "redirect-uri", "")
			c.flags.BoolVar(&m.Public, "public", false, "")
			c.flags.BoolVar(&m.WithoutPKCE, "without-pkce", false, "")
			if err := c.parse(0, 0); err != nil {
				return err
			}
			if m.Name == "" || len(uris) == 0 {
				return errUsage("--name and --redirect-uri are required")
			}
			m.RedirectURIs = uris
			return c.withOperator(func(o *operator.Operator) error {
				made, secret, err := o.CreateClient(c.ctx, m)
				if err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "client_id      %s\n", made.ID)
				if !secret.IsZero() {
					fmt.Fprintf(c.stdout, "client_secret  %s\n\nThe secret is shown once.\n", secret.Reveal())
				}
				if made.WithoutPKCE {
					fmt.Fprintln(c.stdout, "This client may leave out PKCE: whoever intercepts a code of it and knows its secret can use the code.")
				}
				return nil
			})
		},
	},
	{
		name: "clients rotate-secret", args: "CLIENT", summary: "give a client another secret; the one before stays valid for 24 hours",
		examples: []string{"clients rotate-secret 2f3c…"},
		run: func(c *call) error {
			if err := c.parse(1, 1); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				secret, err := o.RotateSecret(c.ctx, c.args[0], secretOverlap)
				if err != nil {
					return unknownClient(err)
				}
				fmt.Fprintf(c.stdout, "client_secret  %s\n\nThe secret is shown once. The one before stays valid for 24 hours.\n", secret.Reveal())
				return nil
			})
		},
	},
	{
		name: "clients set-redirect", args: "CLIENT URI…", summary: "replace the redirect URIs of a client",
		examples: []string{"clients set-redirect 2f3c… https://global.consent.azure-apim.net/redirect/contoso-5f3c"},
		run: func(c *call) error {
			if err := c.parse(2, -1); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				if err := o.SetRedirectURIs(c.ctx, c.args[0], c.args[1:]); err != nil {
					return unknownClient(err)
				}
				fmt.Fprintln(c.stdout, "The redirect URIs are replaced. Every instance acts on it within a minute.")
				return nil
			})
		},
	},
	{
		name: "clients block", args: "[--reason TEXT] CLIENT", summary: "block a client on every instance until it is unblocked, and end its grants",
		examples: []string{"clients block https://app.example/client.json"},
		run: func(c *call) error {
			reason := c.flags.String("reason", "", "")
			if err := c.parse(1, 1); err != nil {
				return err
			}
			return c.block(grants.BlockClient, c.args[0], *reason)
		},
	},
	{
		name: "clients unblock", args: "CLIENT", summary: "unblock a client",
		examples: []string{"clients unblock 2f3c…"},
		run: func(c *call) error {
			if err := c.parse(1, 1); err != nil {
				return err
			}
			return c.unblock(grants.BlockClient, c.args[0])
		},
	},
	{
		name: "clients delete", args: "CLIENT", summary: "remove a client and sign out everybody who used it",
		examples: []string{"clients delete 2f3c…"},
		run: func(c *call) error {
			if err := c.parse(1, 1); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				if err := o.DeleteClient(c.ctx, c.args[0]); err != nil {
					return unknownClient(err)
				}
				fmt.Fprintln(c.stdout, "The client is removed, and everybody who used it is signed out.")
				return nil
			})
		},
	},
}

func kindOf(c clients.OperatorClient) string {
	switch {
	case c.Public:
		return "public"
	case c.WithoutPKCE:
		return "secret, without PKCE"
	}
	return "secret"
}

func unknownClient(err error) error {
	if errors.Is(err, clients.ErrNoClient) {
		return fmt.Errorf("%w, and nothing was done: see app clients list", err)
	}
	return err
}
