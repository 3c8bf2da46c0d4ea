package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"entramcp/handler/config"
	"entramcp/handler/home"
	"entramcp/handler/manifest"
	"entramcp/handler/version"
)

// manifestCommands write the files with which others list the server. They need
// PUBLIC_URL and no other setting.
var manifestCommands = []command{
	{
		name: "manifest m365", args: "--developer NAME [--reference-id ID] [--version X.Y.Z] FILE.zip",
		summary: "write the app package for Microsoft 365: manifest, tools, icons",
		examples: []string{
			"manifest m365 --developer Contoso contoso-tools.zip",
			"manifest m365 --developer Contoso --reference-id 4f1c… --version 1.0.1 contoso-tools.zip",
		},
		run: func(c *call) error {
			m := manifest.M365{About: c.catalogue.About}
			c.flags.StringVar(&m.Developer, "developer", "", "")
			c.flags.StringVar(&m.ReferenceID, "reference-id", "", "")
			c.flags.StringVar(&m.Version, "version", "1.0.0", "")
			if err := c.parse(1, 1); err != nil {
				return err
			}
			file := c.args[0]
			switch {
			case m.Developer == "":
				return errUsage("--developer is required")
			case !threeNumbers.MatchString(m.Version):
				return errUsage(fmt.Sprintf("--version is %q, and must be three numbers such as 1.0.0", m.Version))
			case !strings.HasSuffix(file, ".zip"):
				return errUsage(fmt.Sprintf("the file is %q, and must end in .zip", file))
			}
			cfg, err := c.address()
			if err != nil {
				return err
			}
			m.Issuer, m.Endpoint = cfg.Issuer, string(cfg.Resource)
			tools, others := c.catalogue.OpenTools()
			m.Tools = tools
			var archive bytes.Buffer
			if err := m.Write(&archive); err != nil {
				return err
			}
			if err := writeNew(file, archive.Bytes()); err != nil {
				return err
			}
			fmt.Fprintf(c.stdout, "%s is written, with the tools that every user may call: %d.\n", file, len(tools))
			if len(others) > 0 {
				fmt.Fprintf(c.stdout, "Left out, because they need a scope or role: %s.\n", strings.Join(others, ", "))
			}
			fmt.Fprint(c.stdout, "Next: upload it in the Microsoft 365 admin center under Agents, or in Teams under Apps > Manage your apps.\nWrite it again when the tools change, with a higher --version.\n")
			return nil
		},
	},
	{
		name: "manifest registry", summary: "print the server.json with which the MCP registry lists this server",
		examples: []string{"manifest registry > server.json"},
		run: func(c *call) error {
			if err := c.parse(0, 0); err != nil {
				return err
			}
			cfg, err := c.address()
			if err != nil {
				return err
			}
			return home.WriteRegistryEntry(c.stdout, home.Options{About: c.catalogue.About, Endpoint: cfg.Resource, Version: version.String()})
		},
	},
}

var threeNumbers = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)

// address is where the server of the settings is.
func (c *call) address() (config.Config, error) {
	getenv, err := config.WithLocalSettings(c.getenv)
	if err != nil {
		return config.Config{}, err
	}
	return config.LoadAddress(getenv)
}

// writeNew writes a file that is not there yet.
func writeNew(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: remove it or name another file", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
