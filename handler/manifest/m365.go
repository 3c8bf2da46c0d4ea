// Package manifest writes the app package with which an operator lists the server in
// Microsoft 365.
package manifest

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"entramcp/handler/pages"
	"entramcp/handler/toolkit"
)

// M365 is what the app package of Microsoft 365 is made from.
type M365 struct {
	About toolkit.About
	// Issuer is PUBLIC_URL, and Endpoint the URL of the MCP endpoint.
	Issuer, Endpoint string
	// Version is that of the app: three numbers, such as "1.0.0".
	Version string
	// Developer is who publishes the app, in at most 32 characters.
	Developer string
	// ReferenceID is that of an OAuth or single sign-on registration in
	// Microsoft's Developer Portal. Without one, Microsoft 365 registers itself.
	ReferenceID string
	// Tools are those of the app, as tools/list has them.
	Tools []*mcp.Tool
}

// manifestVersion is the first with agentConnectors.
// https://learn.microsoft.com/microsoft-365/extensibility/schema/root-agent-connectors
const manifestVersion = "1.27"

// The files of an app package.
const (
	m365Manifest = "manifest.json"
	m365Tools    = "tools.json"
	m365Color    = "color.png"
	m365Outline  = "outline.png"
)

type m365App struct {
	Schema          string          `json:"$schema"`
	ManifestVersion string          `json:"manifestVersion"`
	Version         string          `json:"version"`
	ID              uuid.UUID       `json:"id"`
	Developer       m365Developer   `json:"developer"`
	Name            m365Text        `json:"name"`
	Description     m365Text        `json:"description"`
	Icons           m365Icons       `json:"icons"`
	AccentColor     string          `json:"accentColor"`
	ValidDomains    []string        `json:"validDomains"`
	AgentConnectors []m365Connector `json:"agentConnectors"`
}

type m365Developer struct {
	Name       string `json:"name"`
	Website    string `json:"websiteUrl"`
	Privacy    string `json:"privacyUrl"`
	TermsOfUse string `json:"termsOfUseUrl"`
}

type m365Text struct {
	Short string `json:"short"`
	Full  string `json:"full"`
}

type m365Icons struct {
	Color   string `json:"color"`
	Outline string `json:"outline"`
}

type m365Connector struct {
	ID          string         `json:"id"`
	DisplayName string         `json:"displayName"`
	Description string         `json:"description"`
	ToolSource  m365ToolSource `json:"toolSource"`
}

type m365ToolSource struct {
	RemoteMCPServer m365Server `json:"remoteMcpServer"`
}

type m365Server struct {
	URL             string             `json:"mcpServerUrl"`
	ToolDescription m365File           `json:"mcpToolDescription"`
	Authorization   *m365Authorization `json:"authorization,omitempty"`
}

type m365File struct {
	File string `json:"file"`
}

type m365Authorization struct {
	Type        string `json:"type"`
	ReferenceID string `json:"referenceId"`
}

// Write writes the app package, a zip file. Its error names everything that is missing.
func (m M365) Write(w io.Writer) error {
	host, err := m.check()
	if err != nil {
		return err
	}
	title := cmp.Or(m.About.Title, m.About.Name)
	description := cmp.Or(m.About.Description, pages.NoDescription)
	app := m365App{
		Schema:          "https://developer.microsoft.com/json-schemas/teams/v" + manifestVersion + "/MicrosoftTeams.schema.json",
		ManifestVersion: manifestVersion, Version: m.Version,
		// The ID is the same each time, so that Microsoft 365 updates the app.
		ID:          uuid.NewSHA1(uuid.NameSpaceURL, []byte(m.Endpoint)),
		Developer:   m365Developer{Name: m.Developer, Website: cmp.Or(m.About.Website, m.Issuer+"/"), Privacy: m.About.Privacy, TermsOfUse: m.About.Terms},
		Name:        m365Text{Short: pages.Shortened(title, 30), Full: pages.Shortened(title, 100)},
		Description: m365Text{Short: pages.Shortened(description, 80), Full: pages.Shortened(description, 4000)},
		Icons:       m365Icons{Color: m365Color, Outline: m365Outline},
		AccentColor: m.accent(), ValidDomains: []string{host},
		AgentConnectors: []m365Connector{{
			ID: m.About.Name, DisplayName: pages.Shortened(title, 128), Description: pages.Shortened(description, 4000),
			ToolSource: m365ToolSource{m365Server{URL: m.Endpoint, ToolDescription: m365File{m365Tools}, Authorization: m.authorization()}},
		}},
	}
	icon, err := m.colorIcon()
	if err != nil {
		return err
	}
	outline, err := drawn(32, color.NRGBA{}, color.NRGBA{255, 255, 255, 255})
	if err != nil {
		return err
	}
	archive := zip.NewWriter(w)
	return errors.Join(
		addJSON(archive, m365Manifest, app), addJSON(archive, m365Tools, map[string]any{"tools": m.Tools}),
		add(archive, m365Color, icon), add(archive, m365Outline, outline),
		archive.Close())
}

// check finds what is missing, and returns the host of the server.
func (m M365) check() (host string, err error) {
	var missing []error
	for _, f := range []struct{ name, value string }{{"Name", m.About.Name}, {"Privacy", m.About.Privacy}, {"Terms", m.About.Terms}} {
		if f.value == "" {
			missing = append(missing, fmt.Errorf("the catalogue has no %s, which Microsoft 365 requires: set it in handler/tools/tools.go", f.name))
		}
	}
	if m.Developer == "" || len([]rune(m.Developer)) > 32 {
		missing = append(missing, fmt.Errorf("the developer is %q: write who publishes the app, in at most 32 characters", m.Developer))
	}
	if len(m.Tools) == 0 {
		missing = append(missing, errors.New("the server has no tool that every user may call"))
	}
	u, err := url.Parse(m.Endpoint)
	if err != nil {
		missing = append(missing, err)
		return "", errors.Join(missing...)
	}
	return u.Hostname(), errors.Join(missing...)
}

// authorization is nil where Microsoft 365 registers itself: the schema requires a
// referenceId with "DynamicClientRegistration", and there is none before that.
func (m M365) authorization() *m365Authorization {
	if m.ReferenceID == "" {
		return nil
	}
	return &m365Authorization{Type: "OAuthPluginVault", ReferenceID: m.ReferenceID}
}

func (m M365) accent() string { return cmp.Or(m.About.Accent, pages.DefaultAccent) }

// colorIcon is the server's own icon if that is as Microsoft 365 wants it, a PNG
// of 192 by 192; otherwise one is drawn.
func (m M365) colorIcon() ([]byte, error) {
	for _, icon := range m.About.Icons {
		text, found := strings.CutPrefix(icon.Source, "data:image/png;base64,")
		raw, err := base64.StdEncoding.DecodeString(text)
		if !found || err != nil {
			continue
		}
		if size, err := png.DecodeConfig(bytes.NewReader(raw)); err == nil && size.Width == 192 && size.Height == 192 {
			return raw, nil
		}
	}
	accent, err := pages.ParseColour(m.accent())
	if err != nil {
		return nil, err
	}
	return drawn(192, color.NRGBA{accent[0], accent[1], accent[2], 255}, color.NRGBA{255, 255, 255, 255})
}

// drawn is a ring with a dot on a square, as PNG.
func drawn(size int, background, foreground color.NRGBA) ([]byte, error) {
	picture := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			// d is the square of the distance from the centre, in units of half the width.
			dx, dy := 2*float64(x)+1-float64(size), 2*float64(y)+1-float64(size)
			d := (dx*dx + dy*dy) / float64(size*size)
			picture.SetNRGBA(x, y, background)
			if d < 0.04 || d > 0.25 && d < 0.4 {
				picture.SetNRGBA(x, y, foreground)
			}
		}
	}
	var out bytes.Buffer
	err := png.Encode(&out, picture)
	return out.Bytes(), err
}

func addJSON(archive *zip.Writer, name string, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	return add(archive, name, text.Bytes())
}

func add(archive *zip.Writer, name string, content []byte) error {
	f, err := archive.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return err
}
