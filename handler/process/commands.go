package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"entramcp/handler/config"
	"entramcp/handler/operator"
	"entramcp/handler/toolkit"
)

// command is one of app's commands.
type command struct {
	// name is one word or two, such as "keys list"; args is what follows it.
	name, args string
	summary    string
	examples   []string
	run        func(*call) error
}

// call is one run of a command.
type call struct {
	ctx    context.Context
	flags  *flag.FlagSet
	args   []string
	stdout io.Writer
	getenv func(string) string
	// catalogue is what the server offers.
	catalogue toolkit.Catalogue
	// operator opens the table of the settings.
	operator func() (*operator.Operator, error)
}

// errUsage says that the arguments do not fit: its text is for the person who typed
// them.
type errUsage string

func (e errUsage) Error() string { return string(e) }

// commands are those beside serving, in the order of the help.
func commands() []command {
	return slices.Concat(keyCommands, signOutCommands, connectionCommands, blockCommands, tenantCommands, clientCommands, manifestCommands)
}

// parse reads the flags that define has made, and the number of other arguments
// that must be left: from least to most, without limit if most is negative.
func (c *call) parse(least, most int) error {
	if err := c.flags.Parse(c.args); err != nil {
		return err
	}
	c.args = c.flags.Args()
	if len(c.args) < least || (most >= 0 && len(c.args) > most) {
		return errUsage("it takes other arguments")
	}
	return nil
}

// withOperator runs do on the table, which it closes.
func (c *call) withOperator(do func(*operator.Operator) error) error {
	o, err := c.operator()
	if err != nil {
		return err
	}
	return errors.Join(do(o), o.Close())
}

// table writes rows under a heading.
func (c *call) table(heading string, rows [][]string) error {
	w := tabwriter.NewWriter(c.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// find returns the command that args begin with, and the rest of args.
func find(args []string) (command, []string, bool) {
	if args[0] == "rotate-keys" { // as it was called at first
		args = append([]string{"keys", "rotate"}, args[1:]...)
	}
	for _, c := range commands() {
		words := strings.Fields(c.name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return c, args[len(words):], true
		}
	}
	return command{}, nil, false
}

// runCommand runs c and returns the exit status.
func runCommand(ctx context.Context, c command, args []string, getenv func(string) string, stdout, stderr io.Writer, catalogue toolkit.Catalogue) int {
	if slices.ContainsFunc(args, isHelp) {
		c.help(stdout)
		return exitOK
	}
	flags := flag.NewFlagSet("app "+c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	open := func() (*operator.Operator, error) {
		getenv, err := config.WithLocalSettings(getenv)
		if err != nil {
			return nil, err
		}
		cfg, err := config.LoadStore(getenv)
		if err != nil {
			return nil, err
		}
		return operator.Open(ctx, cfg, newLog(cfg, stderr, stderr, nil))
	}
	err := c.run(&call{ctx: ctx, flags: flags, args: args, stdout: stdout, getenv: getenv, catalogue: catalogue, operator: open})
	var usage errUsage
	var problems config.Problems
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), isFlagError(err):
		fmt.Fprintf(stderr, "app %s: %v\n\nusage: %s\n", c.name, err, c.usage())
		return exitUsage
	case errors.As(err, &problems):
		fmt.Fprintf(stderr, "The configuration is not valid:\n%v\n", err)
		return exitConfig
	}
	fmt.Fprintf(stderr, "app %s: %v\n", c.name, err)
	return exitFailed
}

// isFlagError recognizes what package flag says of arguments; it has no type for
// it.
func isFlagError(err error) bool {
	return errors.Is(err, flag.ErrHelp) || strings.HasPrefix(err.Error(), "flag provided but not defined") ||
		strings.HasPrefix(err.Error(), "invalid value") || strings.HasPrefix(err.Error(), "invalid boolean value") || strings.HasPrefix(err.Error(), "flag needs an argument")
}

func isHelp(arg string) bool { return arg == "--help" || arg == "-help" || arg == "-h" }

func (c command) usage() string { return strings.TrimRight("app "+c.name+" "+c.args, " ") }

func (c command) help(w io.Writer) {
	fmt.Fprintf(w, "app %s: %s\n\nusage: %s\n", c.name, c.summary, c.usage())
	for i, e := range c.examples {
		if i == 0 {
			fmt.Fprint(w, "\nexamples:\n")
		}
		fmt.Fprintf(w, "  app %s\n", e)
	}
}

// ownCommands are those that run by other means than a call.
var ownCommands = []command{
	{name: "doctor", summary: "check the configuration and everything it names, and say what to fix"},
	{name: "version", summary: "print the version"},
}

// usage is the list of all commands.
func usage(w io.Writer) {
	fmt.Fprint(w, "usage: app [command]\n\n  (none)                  serve\n")
	for _, c := range slices.Concat(ownCommands, commands()) {
		fmt.Fprintf(w, "  %-22s  %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\napp COMMAND --help shows arguments and examples.\n")
}

// nearest is the command that args were probably meant to be, or "": by all that
// was typed, else by the first word.
func nearest(args []string) string {
	if name := nearestTo(strings.Join(args[:min(2, len(args))], " "), 3, func(name string) string { return name }); name != "" {
		return name
	}
	return nearestTo(args[0], 1, func(name string) string {
		first, _, _ := strings.Cut(name, " ")
		return first
	})
}

// nearestTo is the first command of those whose part is nearest to typed, if it
// is not farther than most.
func nearestTo(typed string, most int, part func(name string) string) string {
	best := ""
	for _, name := range append([]string{"doctor", "version"}, names()...) {
		if d := distance(typed, part(name)); d <= most {
			best, most = name, d-1
		}
	}
	return best
}

func names() []string {
	var all []string
	for _, c := range commands() {
		all = append(all, c.name)
	}
	return all
}

// distance is Levenshtein's: how many letters to add, remove or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, change)
		}
	}
	return row[len(b)]
}
