package docs

import (
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entramcp/handler/config"
)

// notRun are the commands of the docs that this test neither runs nor checks, by how
// they begin, and why. A line that no page needs is an error.
var notRun = map[string]string{
	"app …":                               "stands for each of the commands",
	"go run . …":                          "stands for each of the commands",
	"az account get-access-token":         "Azure's",
	"az ad app":                           "Azure's",
	"az ad sp":                            "Azure's",
	"az bicep build":                      "Azure's; the workflow of .github runs it",
	"az functionapp":                      "Azure's",
	"az keyvault":                         "Azure's",
	"az login":                            "Azure's",
	"az monitor":                          "Azure's",
	"az network":                          "Azure's",
	"az provider register":                "Azure's",
	"az rest":                             "Azure's",
	"azd auth login":                      "Azure's",
	"azd deploy":                          "Azure's",
	"azd down":                            "Azure's",
	"azd env new":                         "Azure's",
	"azd env set AZURE_LOCATION":          "a variable of azd itself",
	"azd env set AZURE_SUBSCRIPTION_ID":   "a variable of azd itself",
	"azd env set MCP_…":                   "stands for each of the settings",
	"azd env set":                         "names the command",
	"azd env set NAME VALUE":              "stands for each of the settings",
	"azd init":                            "Azure's",
	"azd pipeline config":                 "Azure's",
	"azd provision":                       "Azure's",
	"azd up":                              "Azure's",
	"cd":                                  "goes to the clone",
	"claude":                              "Claude Code is not part of the tests",
	"code --add-mcp":                      "VS Code is not part of the tests",
	"codex":                               "Codex is not part of the tests",
	"curl":                                "needs Azure's token; account.TestAutomationSignsAUserOut and handler_test.TestEachWayOfMicrosoftsCallersReachesATool send the same",
	"docker":                              "the image is not built here, as the page says",
	"git":                                 "needs the address of a repository; TestTheToolOfAddAToolWorks clones one",
	"go test -modfile":                    "a flag, named in a sentence",
	"goose configure":                     "Goose is not part of the tests",
	"npx @modelcontextprotocol/inspector": "e2e runs the version that it installs",
	"npx mcp-remote":                      "e2e runs the version that it installs",
	"opencode mcp add":                    "OpenCode is not part of the tests",
	"sed":                                 "infra.TestOperatorCommandsFindTheTable has what it does",
}

// TestEveryCommandInTheDocsWorks takes each command of each page, in a block, in a
// sentence or within another command. Commands of this server are run on a table of
// their own; of the others, the target, variable, setting, package or test that they
// name must exist.
func TestEveryCommandInTheDocsWorks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := checker{
		ctx: ctx, app: filepath.Join(t.TempDir(), "app"), dir: t.TempDir(),
		makefile: read(t, "Makefile"), settings: read(t, "infra/main.parameters.json"), outputs: read(t, "infra/main.bicep"),
	}
	if out, err := c.run("go", "build", "-o", c.app, "."); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, hook := range []string{"main.go", "finding.go"} {
		c.settings += read(t, filepath.Join("infra/hooks", hook))
	}
	used, checked := map[string]bool{}, map[string]bool{}
	for page, text := range pages(t) {
		for _, command := range commandsOf(text) {
			line := strings.Join(command, " ")
			if prefix := exception(line); prefix != "" {
				used[prefix] = true
				continue
			}
			if checked[line] {
				continue
			}
			checked[line] = true
			if problem := c.check(command); problem != "" {
				t.Errorf("%s: %s: %s", page, line, problem)
			}
		}
	}
	for prefix := range notRun {
		if !used[prefix] {
			t.Errorf("no page has %q any more", prefix)
		}
	}
	if len(checked) < 60 {
		t.Errorf("only %d commands were checked", len(checked))
	}
}

// exception is the longest entry of notRun that line begins with.
func exception(line string) (longest string) {
	for prefix := range notRun {
		named := prefix == "azd env set" // the settings are checked
		if (line == prefix || strings.HasPrefix(line, prefix+" ") && !named) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	return longest
}

type checker struct {
	ctx                         context.Context
	app, dir                    string
	makefile, settings, outputs string
}

func (c checker) run(name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.ctx, name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// check returns what is wrong with command.
func (c checker) check(command []string) string {
	var variables []string
	for len(command) > 0 && assignment.MatchString(command[0]) {
		name, _, _ := strings.Cut(command[0], "=")
		variables, command = append(variables, name), command[1:]
	}
	if len(command) == 0 { // x=$(…), whose command is another
		return ""
	}
	args := command[1:]
	switch command[0] {
	case "app":
		return c.checkApp(args)
	case "make":
		return c.checkMake(args, variables)
	case "go":
		return c.checkGo(args)
	case "azd":
		return c.checkAZD(args)
	case "export":
		for _, arg := range args {
			name, _, _ := strings.Cut(arg, "=")
			if !slices.ContainsFunc(config.Settings, func(s config.Setting) bool { return s.Name == name }) {
				return "the server has no setting " + name
			}
		}
		return ""
	case "openssl":
		out, err := c.run("openssl", args...)
		if key, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(out)); err != nil || len(key) != 32 {
			return "does not print 32 bytes in base64: " + out
		}
		return ""
	}
	return "is not known: check it here, or list it in notRun"
}

// placeholders are values for what a reader has to replace.
var placeholders = strings.NewReplacer(
	"TENANT-ID", guid, "OBJECT-ID", guid, "CLIENT-ID", guid, "EPOCH", "1", "DAYS", "30", "HOST", "app.example.com",
	"FILE.zip", "tools.zip", "NAME", "Contoso", "URI", "https://app.example/callback", "ID", guid,
)

const guid = "11111111-2222-4333-8444-555555555555"

// checkApp runs the command. It may find nothing to do (1), but has to understand its
// arguments; where a sentence only names a command, its help does.
func (c checker) checkApp(args []string) string {
	run := func(args ...string) (int, string) {
		cmd := exec.CommandContext(c.ctx, c.app, args...) //nolint:gosec // what was just built
		cmd.Dir = c.dir
		cmd.Env = append(os.Environ(), "LOCAL_SETTINGS=none", "PUBLIC_URL=https://mcp.example.com", "DATA_DIR="+filepath.Join(c.dir, "data"))
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	filled := make([]string, len(args))
	for i, arg := range args {
		if filled[i] = arg; !strings.HasPrefix(arg, "--") {
			filled[i] = placeholders.Replace(arg)
		}
	}
	const usage, mistakes = 64, 78
	status, out := run(filled...)
	if status == usage && len(args) == 2 {
		status, out = run(append(filled, "--help")...)
	}
	if status == 0 || status == 1 || status == mistakes && args[0] == "doctor" {
		return ""
	}
	return out
}

// checkMake has make say what it would do.
func (c checker) checkMake(args, variables []string) string {
	for _, arg := range args {
		if name, _, found := strings.Cut(arg, "="); found {
			variables = append(variables, name)
		}
	}
	for _, name := range variables {
		if name != "PORT" && !strings.Contains(c.makefile, "$("+name+")") {
			return "the Makefile has no variable " + name
		}
	}
	if out, err := c.run("make", append([]string{"-n"}, args...)...); err != nil {
		return out
	}
	return ""
}

func (c checker) checkGo(args []string) string {
	switch {
	case len(args) > 2 && args[0] == "run" && args[1] == ".":
		return c.checkApp(args[2:])
	case len(args) > 1 && args[0] == "run":
		if out, err := c.run("go", "list", "-f", "{{.Name}}", args[1]); err != nil || strings.TrimSpace(out) != "main" {
			return "is not a program: " + out
		}
		if len(args) > 2 && args[1] == "./infra/hooks" && !strings.Contains(c.settings, `"`+args[2]+`": `) {
			return "there is no hook " + args[2]
		}
		return ""
	case args[0] == "test" && strings.Contains(strings.Join(args, " "), " ./"):
		pattern := "."
		for _, flag := range []string{"-run", "-bench"} {
			if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
				pattern, _, _ = strings.Cut(args[i+1], "/") // what follows names a subtest
			}
		}
		directory := args[slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "./") })]
		files, err := filepath.Glob(filepath.Join(root, directory, "*_test.go"))
		if err != nil {
			return err.Error()
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err.Error()
			}
			for _, m := range testFunction.FindAllStringSubmatch(string(text), -1) {
				if regexp.MustCompile(pattern).MatchString(m[1]) {
					return ""
				}
			}
		}
		return "runs no test"
	}
	return "is not known: check it here, or list it in notRun"
}

// checkAZD looks for the setting or the output in the template and its hooks.
func (c checker) checkAZD(args []string) string {
	if len(args) < 3 || args[0] != "env" {
		return "is not known: list it in notRun"
	}
	switch args[1] {
	case "set":
		if !regexp.MustCompile(`\b` + args[2] + `\b`).MatchString(c.settings) {
			return "the template has no setting " + args[2]
		}
		return ""
	case "get-value":
		if !strings.Contains(c.outputs, "\noutput "+args[2]+" ") {
			return "the template has no output " + args[2]
		}
		return ""
	}
	return "is not known: list it in notRun"
}

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`)
	assignment   = regexp.MustCompile(`^[A-Za-z_]+=`)
	shBlock      = regexp.MustCompile("(?s)```sh\n(.*?)```")
	runStep      = regexp.MustCompile("(?s)- run: \\|\n(.*?)```")
	indented     = regexp.MustCompile(`\n\n((?:    \S.*\n)+)`)
	inline       = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")
	// What begins a command in the middle of a sentence. A block may hold others.
	programs    = regexp.MustCompile(`^(?:[A-Z]+=\S+ )*(?:app|az|azd|claude|code|codex|curl|docker|git|go|goose|make|npm|npx|openssl|opencode) \S`)
	placeholder = regexp.MustCompile(`<[^<>\n]+>`)
)

// commandsOf are the commands of a page, each as its words.
func commandsOf(page string) (all [][]string) {
	for _, block := range []*regexp.Regexp{shBlock, runStep} {
		for _, m := range block.FindAllStringSubmatch(page, -1) {
			all = append(all, split(m[1])...)
		}
	}
	page = fenced.ReplaceAllString(page, "")
	for _, m := range indented.FindAllStringSubmatch(page, -1) {
		all = append(all, split(m[1])...)
	}
	for _, m := range inline.FindAllStringSubmatch(page, -1) {
		if programs.MatchString(m[1]) {
			all = append(all, split(strings.ReplaceAll(m[1], "\n", " "))...)
		}
	}
	return all
}

// split takes a script apart: its commands, and those in $(…), for each of which a
// word stands in the command around it.
func split(script string) (all [][]string) {
	rest := placeholder.ReplaceAllString(strings.ReplaceAll(script, "\\\n", " "), "X")
	var words []string
	var word strings.Builder
	quote, begun := byte(0), false
	endWord := func() {
		if begun {
			words = append(words, word.String())
		}
		word.Reset()
		begun = false
	}
	endCommand := func() {
		if endWord(); len(words) > 0 {
			all = append(all, words)
		}
		words = nil
	}
	for i := 0; i < len(rest); i++ {
		switch ch := rest[i]; {
		case strings.HasPrefix(rest[i:], "$(") && quote != '\'':
			end := i + 2
			for depth := 1; end < len(rest) && depth > 0; end++ {
				switch rest[end] {
				case '(':
					depth++
				case ')':
					depth--
				}
			}
			all = append(all, split(rest[i+2:end-1])...)
			word.WriteByte('X')
			begun, i = true, end-1
		case quote != 0 && ch == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(ch)
		case ch == '\'' || ch == '"':
			quote, begun = ch, true
		case ch == '#' && !begun:
			for i+1 < len(rest) && rest[i+1] != '\n' {
				i++
			}
		case ch == ' ' || ch == '\t':
			endWord()
		case ch == '\n' || ch == ';' || ch == '|' || ch == '&':
			endCommand()
		default:
			word.WriteByte(ch)
			begun = true
		}
	}
	endCommand()
	return all
}

// TestCommandsAreFoundInEveryForm: what the test above walks over.
func TestCommandsAreFoundInEveryForm(t *testing.T) {
	const page = "Use `app keys list` or `A=b make x`, not `a b`.\n\n```sh\nx=$(az a --b 'c d' | sed 's,|,,'); y && \\\n  z <an id>   # w\n# v\n```\n\n    u t\n\n```yaml\n- run: |\n    curl q\n```\n\n```go\nno command\n```\n"
	var got []string
	for _, command := range commandsOf(page) {
		got = append(got, strings.Join(command, " "))
	}
	want := []string{"az a --b c d", "sed s,|,,", "x=X", "y", "z X", "curl q", "u t", "app keys list", "A=b make x"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// read is a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
