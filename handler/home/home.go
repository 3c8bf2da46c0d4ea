// Package home serves the home page, with links and commands for each client, and
// the discovery documents that are not OAuth's (server card and catalogue of
// SEP-2127, proofs of a domain for registries).
//
// Everything is rendered once at start. The Functions host probes the root, so no
// answer depends on storage or Entra.
package home

import (
	"cmp"
	"net/http"

	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/toolkit"
)

// Options are what New needs.
type Options struct {
	About toolkit.About
	// Pages shows the page.
	Pages *pages.Pages
	// Endpoint is the URL of the MCP endpoint.
	Endpoint oauth.Resource
	Version  string
	// Tools are those that every signed-in user sees.
	Tools []toolkit.ToolDescription
	// Account is the path of the page of connected apps, or empty.
	Account string
	// InAzure says that the platform in front answers CORS.
	InAzure bool
	// RegistryProof is what the MCP registry reads to prove who owns the
	// domain, such as "v=MCPv1; k=ed25519; p=…"; AppsChallenge is what OpenAI's
	// review of apps reads. Either may be empty: then it is not served.
	RegistryProof, AppsChallenge string
}

// Home serves the page and the discovery documents. It is safe for concurrent use.
type Home struct {
	endpoint string
	page     http.Handler
	routes   map[string]http.Handler
}

// New makes the page and the discovery documents.
func New(o Options) (*Home, error) {
	s := server{name: o.About.Name, title: cmp.Or(o.About.Title, o.About.Name), endpoint: string(o.Endpoint)}
	page, err := o.Pages.Fixed(o.page(s))
	if err != nil {
		return nil, err
	}
	h := &Home{endpoint: s.endpoint, page: page}
	if h.routes, err = discovery(o, s); err != nil {
		return nil, err
	}
	return h, nil
}

func (o Options) page(s server) pages.Home {
	page := pages.Home{
		Description: o.About.Description, Endpoint: s.endpoint, Account: o.Account, Version: o.Version, ThisComputer: !s.public(),
	}
	for _, t := range o.Tools {
		page.Tools = append(page.Tools, pages.HomeTool(t))
	}
	for _, b := range s.buttons() {
		page.Buttons = append(page.Buttons, pages.HomeButton(b))
	}
	for _, r := range s.recipes() {
		page.Recipes = append(page.Recipes, pages.HomeRecipe(r))
	}
	return page
}

// Routes are the discovery documents by path, for GET.
func (h *Home) Routes() map[string]http.Handler { return h.routes }

// ServeHTTP answers at the root. Clients that were given the origin in the place
// of the endpoint learn where the endpoint is: those that post, and those that
// wait for events and would take a page for a silent stream.
func (h *Home) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		h.misdirected(w, http.StatusMethodNotAllowed)
	case !acceptsPage(r.Header.Values("Accept")):
		h.misdirected(w, http.StatusNotAcceptable)
	default:
		h.page.ServeHTTP(w, r)
	}
}

func (h *Home) misdirected(w http.ResponseWriter, status int) {
	oauth.WriteJSON(w, status, map[string]string{
		"error": string(oauth.InvalidRequest), "error_description": "The MCP endpoint of this server is " + h.endpoint + ".",
	})
}

// acceptsPage reports whether a page is among what is asked for. Everything is
// where nothing is said (RFC 9110 §12.5.1).
func acceptsPage(accept []string) bool {
	return len(accept) == 0 || pages.Accepted(accept, "", "*/*", "text/*", "text/html", "application/xhtml+xml")
}
