package process

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/operator"
)

var keyCommands = []command{
	{
		name: "keys list", summary: "show the epochs of the key ring",
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				epochs, err := o.Keys(c.ctx)
				if err != nil {
					return err
				}
				rows := make([][]string, 0, len(epochs))
				for _, e := range epochs {
					rows = append(rows, []string{strconv.FormatUint(uint64(e.Sequence), 10), e.KeyID, day(e.Created), state(e), e.Wrapping})
				}
				return c.table("EPOCH\tKID\tCREATED\tSTATE\tWRAPPED BY", rows)
			})
		},
	},
	{
		name: "keys rotate", summary: "publish the next epoch; it signs 10 minutes later, and nobody is signed out",
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				if err := o.RotateKeys(c.ctx); err != nil {
					return err
				}
				fmt.Fprintln(c.stdout, "The next epoch is published. It signs in 10 minutes; earlier ones go on verifying.")
				return nil
			})
		},
	},
	{
		name: "keys retire", args: "EPOCH…", summary: "end epochs that may have leaked: what they signed is refused within 15 seconds",
		examples: []string{"keys list", "keys retire 3"},
		run: func(c *call) error {
			if err := c.parse(1, -1); err != nil {
				return err
			}
			var sequences []uint32
			for _, arg := range c.args {
				n, err := strconv.ParseUint(arg, 10, 32)
				if err != nil {
					return errUsage(fmt.Sprintf("%q is not the number of an epoch: see app keys list", arg))
				}
				sequences = append(sequences, uint32(n))
			}
			return c.withOperator(func(o *operator.Operator) error {
				err := o.RetireKeys(c.ctx, sequences...)
				if errors.Is(err, keyring.ErrNoEpoch) {
					return fmt.Errorf("%w, and nothing was retired: see app keys list", err)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "Retired: %d. Within 15 seconds no instance accepts what they signed. Clients that hold such tokens sign in again.\n", len(sequences))
				return nil
			})
		},
	},
	{
		name: "keys rewrap", summary: "wrap all epochs with the new wrapping key, once every instance has it",
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			return c.withOperator(func(o *operator.Operator) error {
				n, err := o.RewrapKeys(c.ctx)
				if errors.Is(err, operator.ErrNothing) {
					return errors.New("nothing was done: all epochs are wrapped with this key already")
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(c.stdout, "Wrapped again: %d. MASTER_KEY_PREVIOUS can be removed.\n", n)
				return nil
			})
		},
	},
}

var signOutCommands = []command{{
	name: "sign-out everyone", summary: "end every sign-in and retire every key, after a leak of the keys or of the table",
	run: func(c *call) error {
		if err := c.parse(0, 0); err != nil {
			return err
		}
		return c.withOperator(func(o *operator.Operator) error {
			retired, err := o.SignOutEveryone(c.ctx)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.stdout, "Everybody is signed out, within 15 seconds on every instance. Epochs retired: %d.\n", retired)
			return nil
		})
	},
}}

func state(e keyring.Epoch) string {
	switch {
	case !e.Retired.IsZero():
		return "retired " + day(e.Retired)
	case e.Locked != nil:
		return "cannot be opened with this key"
	case e.Signs:
		return "signs"
	case e.Expires.IsZero():
		return "signs from " + e.Activates.UTC().Format(time.RFC3339)
	}
	return "verifies until " + day(e.Expires)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
