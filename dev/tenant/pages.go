package tenant

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// pages parse once; the text is fixed at build time.
var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// pagePolicy has no form-action: browsers apply it to the redirect that follows a
// form, and ours leads to the application.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'"
}()

// page is what page.html shows; empty parts are left out.
type page struct {
	Title, Text string
	Intro       string // what this page is, below the text
	App         string
	Code        int
	Correlation string
	Fields      map[string]string // hidden
	Action      string            // where the form posts; empty: this page's own URL
	Groups      []group
	List        []string // permissions
	Buttons     []button
	CSS         template.CSS
}

// group are accounts whose sign-in ends alike.
type group struct {
	Outcome string
	Users   []choice
}

type choice struct {
	Username, Name, Note string
	Suggested            bool
}

type button struct {
	Name, Value, Label string
	Primary            bool
}

// render writes a page.
func (t *Tenant) render(w http.ResponseWriter, status int, p page) {
	p.CSS = template.CSS(pageCSS)
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, p); err != nil {
		t.log.Error("simulated tenant: page", "cause", err)
		http.Error(w, "page", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the browser hung up: nothing left to tell it
}

func (t *Tenant) accountPage(w http.ResponseWriter, r *http.Request, req *request) {
	t.mu.Lock()
	var groups []group
	for _, outcome := range []string{outcomeSignsIn, outcomeStep, outcomeRefused} {
		g := group{Outcome: outcome}
		for _, u := range t.users {
			if u.Outcome == outcome {
				g.Users = append(g.Users, choice{u.Username, u.Name, u.Note, strings.EqualFold(u.Username, req.hint)})
			}
		}
		groups = append(groups, g)
	}
	t.mu.Unlock()
	p := page{
		Title: "Pick an account", App: req.client.Name, Groups: groups,
		Intro:   "These people are made up. One click signs in as one of them: there is no password, and nothing leaves this computer. A real server uses Microsoft's own sign-in page instead.",
		Buttons: []button{{Name: "cancel", Value: "1", Label: "Cancel: go back without signing in"}},
	}
	if r.PostForm.Get("user") != "" {
		p.Text = "There is no such account in the simulated tenant."
	}
	t.render(w, http.StatusOK, p)
}

func (t *Tenant) factorPage(w http.ResponseWriter, s *session) {
	t.mu.Lock()
	name := s.user.Name
	t.mu.Unlock()
	t.render(w, http.StatusOK, page{
		Title: "Approve the sign-in",
		Text:  name + " must use a second factor.",
		Buttons: []button{
			{Name: "mfa", Value: "approve", Label: "Approve", Primary: true},
			{Name: "mfa", Value: "deny", Label: "Deny"},
		},
	})
}

func (t *Tenant) consentPage(w http.ResponseWriter, s *session, req *request) {
	t.mu.Lock()
	missing := t.unconsented(s.user, req.client, req.wanted)
	if req.prompt == "consent" {
		missing = req.wanted
	}
	username := s.user.Username
	t.mu.Unlock()
	t.render(w, http.StatusOK, page{
		Title: "Permissions requested", App: req.client.Name, List: missing.words(),
		Text: "Signed in as " + username + ".",
		Buttons: []button{
			{Name: "consent", Value: "accept", Label: "Accept", Primary: true},
			{Name: "consent", Value: "decline", Label: "Decline"},
		},
	})
}

// refusePage shows a refusal. Where the application may be told, the user can
// go back to it or pick another account, as on Entra's own pages.
func (t *Tenant) refusePage(w http.ResponseWriter, r *http.Request, f *refusal, mayReturn bool) {
	s := t.stamp(f, r)
	p := page{Title: "Sign-in failed", Code: f.code, Correlation: s.correlation,
		Text: "AADSTS" + strconv.Itoa(f.code) + ": " + f.text}
	status := http.StatusBadRequest
	if mayReturn {
		status = http.StatusOK
		p.Buttons = []button{
			{Name: "user", Value: "", Label: "Use another account"},
			{Name: "return", Value: "1", Label: "Return to the application", Primary: true},
		}
	}
	t.render(w, status, p)
}

// formPost is response_mode=form_post. Entra's page submits itself; without
// JavaScript the user does.
func (t *Tenant) formPost(w http.ResponseWriter, to string, q url.Values) {
	fields := map[string]string{}
	for name := range q {
		fields[name] = q.Get(name)
	}
	t.render(w, http.StatusOK, page{Title: "Continue", Action: to, Fields: fields,
		Buttons: []button{{Label: "Continue", Primary: true}}})
}

func (t *Tenant) home(w http.ResponseWriter, _ *http.Request) {
	t.render(w, http.StatusOK, page{Title: "Simulated tenant",
		Text: "This replaces Microsoft Entra ID on this machine. Sign-in starts at the application."})
}
