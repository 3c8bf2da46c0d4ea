// Package pages renders what people see in a browser: the home page, the consent
// page, the step to Microsoft's sign-in, errors, the way back to the app, and the
// pages of connected apps.
//
// Pages contain no JavaScript and load nothing: each includes its one style sheet,
// and the Content-Security-Policy names it by its hash.
package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Page is one of the page types of this package.
type Page interface{ file() string }

//go:embed html/*.html html/style.css
var files embed.FS

var style = mustRead("html/style.css")

// Pages renders the pages of one server. It is safe for concurrent use.
type Pages struct {
	policy    string
	templates map[string]*template.Template // by file
}

// New makes the pages of a server that looks like brand.
func New(brand Brand) *Pages {
	css := brand.css()
	layout := template.Must(template.New("").Funcs(template.FuncMap{
		"style":         func() template.CSS { return template.CSS(css) }, // our own file and a colour
		"brand":         func() Brand { return brand },
		"named":         named,
		"link":          link,
		"support":       supportLink,
		"icon":          icon,
		"noDescription": func() string { return NoDescription },
	}).ParseFS(files, "html/layout.html"))
	p := &Pages{policy: contentSecurityPolicy(css), templates: map[string]*template.Template{}}
	for _, page := range kinds {
		p.templates[page.file()] = template.Must(template.Must(layout.Clone()).ParseFS(files, "html/"+page.file()))
	}
	return p
}

// kinds is one of each page.
var kinds = []Page{
	Account{}, AccountErase{}, AccountSignIn{}, Connect{}, Consent{}, Continue{}, Done{}, ErrorPage{}, Home{}, Manage{}, Notice{},
}

// Render answers with page. The body is complete before the first byte is
// written, so a page is never cut short by a template that fails.
func (p *Pages) Render(w http.ResponseWriter, status int, page Page) {
	body := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(body)
	body.Reset()
	if err := p.execute(body, page); err != nil {
		http.Error(w, notShown, http.StatusInternalServerError)
		return
	}
	p.write(w, status, body.Bytes())
}

// buffers are those of Render, for which a page of 12 kB would grow a new one five
// times.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Fixed renders page once and answers with it from then on.
func (p *Pages) Fixed(page Page) (http.Handler, error) {
	var body bytes.Buffer
	if err := p.execute(&body, page); err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { p.write(w, http.StatusOK, body.Bytes()) }), nil
}

func (p *Pages) execute(body *bytes.Buffer, page Page) error {
	return p.templates[page.file()].ExecuteTemplate(body, "page", page)
}

func (p *Pages) write(w http.ResponseWriter, status int, body []byte) {
	secure(w.Header(), p.policy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // else it goes out in chunks
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// secure sets the headers that every page carries. Cross-Origin-Opener-Policy
// is left out on purpose: web clients open the sign-in in a popup and wait for
// it with window.opener, and a page with that header in the middle of the
// redirect chain would separate the two permanently (HTML, "browsing context
// group switch").
func secure(h http.Header, policy string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cache-Control", "no-store")
}

// contentSecurityPolicy allows the one style sheet and forms to this origin.
// form-action can stay strict because no form is answered with a redirect:
// browsers apply it to the redirects that follow a submission (CSP 3 §6.4.1).
func contentSecurityPolicy(css string) string {
	sum := sha256.Sum256([]byte(css))
	return strings.Join([]string{
		"default-src 'none'",
		"style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
		"img-src data:", // the server's icon
		"form-action 'self'",
		"frame-ancestors 'none'",
		"base-uri 'none'",
	}, "; ")
}

func mustRead(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // a file that the embed directive above guarantees
	}
	return string(b)
}
