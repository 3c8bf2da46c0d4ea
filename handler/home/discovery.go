package home

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"entramcp/handler/cors"
	"entramcp/handler/pages"
)

// The paths of the discovery documents. The server card is below the endpoint, so that it
// moves with it.
const (
	cardSuffix        = "/server-card"
	catalogPath       = "/.well-known/mcp/catalog.json"
	registryProofPath = "/.well-known/mcp-registry-auth"
	appsChallengePath = "/.well-known/openai-apps-challenge"
)

const cardType = "application/mcp-server-card+json"

// The schemas of a server card and of an entry in the MCP registry.
const (
	cardSchema     = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
	registrySchema = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
)

// maxDescription is the most runes of a description that both schemas take.
const maxDescription = 100

// card is the server card of SEP-2127. It never lists tools: who may see which
// depends on the caller.
type card struct {
	Schema      string   `json:"$schema"`
	Name        string   `json:"name"`
	Title       string   `json:"title,omitempty"`
	Version     string   `json:"version"`
	Description string   `json:"description"`
	WebsiteURL  string   `json:"websiteUrl,omitempty"`
	Remotes     []remote `json:"remotes"`
}

type remote struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// catalog lists the servers of this host: one.
type catalog struct {
	SpecVersion string         `json:"specVersion"`
	Entries     []catalogEntry `json:"entries"`
}

type catalogEntry struct {
	Identifier  string `json:"identifier"`
	DisplayName string `json:"displayName"`
	Type        string `json:"type"`
	URL         string `json:"url"`
}

// discovery are the handlers of the documents by path.
func discovery(o Options, s server) (map[string]http.Handler, error) {
	endpoint, err := url.Parse(s.endpoint)
	if err != nil {
		return nil, err
	}
	name := registryName(endpoint.Hostname(), s.name)
	cardJSON, err := json.Marshal(card{
		Schema: cardSchema, Name: name, Title: s.title, Version: o.Version, Description: o.shortDescription(),
		WebsiteURL: o.About.Website, Remotes: []remote{{"streamable-http", s.endpoint}},
	})
	if err != nil {
		return nil, err
	}
	catalogJSON, err := json.Marshal(catalog{SpecVersion: "1.0", Entries: []catalogEntry{{
		Identifier: "urn:air:" + endpoint.Hostname() + ":" + s.name, DisplayName: s.title, Type: cardType, URL: s.endpoint + cardSuffix,
	}}})
	if err != nil {
		return nil, err
	}
	routes := map[string]http.Handler{
		endpoint.Path + cardSuffix: o.fixed(cardType, cardJSON),
		catalogPath:                o.fixed("application/json", catalogJSON),
	}
	if o.RegistryProof != "" {
		routes[registryProofPath] = o.fixed("text/plain; charset=utf-8", []byte(o.RegistryProof))
	}
	if o.AppsChallenge != "" {
		routes[appsChallengePath] = o.fixed("text/plain; charset=utf-8", []byte(o.AppsChallenge))
	}
	return routes, nil
}

// shortDescription is never empty: schemas refuse that.
func (o Options) shortDescription() string {
	return pages.Shortened(cmp.Or(o.About.Description, pages.NoDescription), maxDescription)
}

// registryName is the reverse-DNS name that the MCP registry asks for.
func registryName(host, name string) string {
	labels := strings.Split(host, ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, ".") + "/" + name
}

func (o Options) fixed(mediaType string, text []byte) http.Handler {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write(text)
	})
	if o.InAzure {
		return h
	}
	return cors.AnyOrigin(h)
}

// WriteRegistryEntry writes the server.json with which an operator publishes
// the server in the MCP registry.
func WriteRegistryEntry(w io.Writer, o Options) error {
	endpoint, err := url.Parse(string(o.Endpoint))
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(card{
		Schema: registrySchema, Name: registryName(endpoint.Hostname(), o.About.Name), Title: o.About.Title, Version: o.Version,
		Description: o.shortDescription(), WebsiteURL: o.About.Website, Remotes: []remote{{"streamable-http", string(o.Endpoint)}},
	})
}
