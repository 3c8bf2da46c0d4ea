// Package browser signs people in without a browser: for tests, and for the
// commands of a local run.
package browser

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// Browser signs a person in over plain HTTP: it submits forms, follows
// redirects and meta refreshes, and stops where the client takes over. It keeps
// cookies like a browser. The Chromium tests prove that a real one does the same.
type Browser struct {
	// User is the name the person signs in with.
	User string
	// Prefer is a button, as name=value, to press wherever there is one:
	// cancel=1 for those who do not want to sign in.
	Prefer string
	// Seen are the pages of the last sign-in.
	Seen []*Page
	// Before, if set, is called before each request.
	Before func(*http.Request)
	// Reads, if set, takes the time that a person takes to read a page, in the
	// place of time.Sleep: for servers whose clock the test sets.
	Reads  func(time.Duration)
	client *http.Client
}

// New is a browser without any cookie.
func New(user string) *Browser {
	cookies, _ := cookiejar.New(nil)
	return &Browser{User: user, client: &http.Client{
		Jar:           jar{cookies},
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Through sends the browser's requests through transport, and returns the
// browser.
func (b *Browser) Through(transport http.RoundTripper) *Browser {
	b.client.Transport = transport
	return b
}

// Page is what the browser shows.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
	Forms  []Form
	// Refresh is where the page's meta refresh leads, if it has one.
	Refresh string
	// AppLink leads to an app with its own scheme, if there is such a link.
	AppLink string

	shown time.Time
}

// Form is one HTML form with its hidden fields; Buttons are its named submit
// buttons, as name=value.
type Form struct {
	Action, Method string
	Fields         url.Values
	Buttons        []string
}

// reading is how long a person takes to read a page at least. The consent page
// is shown again to who answers faster.
const reading = 750 * time.Millisecond

// Approve opens an authorization URL, approves the consent page and signs in.
// It returns the redirect to the client, which it does not follow.
func (b *Browser) Approve(authorizationURL string) (*url.URL, error) {
	return b.walk(authorizationURL, func(p *Page) (Form, string, error) {
		for _, wanted := range []string{b.Prefer, "approve", b.User, "accept", "return="} {
			for _, f := range p.Forms {
				for _, button := range f.Buttons {
					if wanted != "" && strings.Contains(button, wanted) {
						return f, button, nil
					}
				}
			}
		}
		return Form{}, "", fmt.Errorf("no way on from %s (%d):\n%s", p.URL, p.Status, p.Body)
	})
}

// walk follows the pages, with choose picking the form and button of each, to
// the first redirect that leaves the origins seen so far for the client's.
func (b *Browser) walk(start string, choose func(*Page) (Form, string, error)) (*url.URL, error) {
	client, err := redirectURIOf(start)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodGet, start, nil)
	if err != nil {
		return nil, err
	}
	b.Seen = nil
	for range 20 {
		page, next, err := b.fetch(req)
		if err != nil {
			return nil, err
		}
		b.Seen = append(b.Seen, page)
		if next == "" && page.Refresh != "" {
			next = page.Refresh
		}
		if next == "" && len(page.Forms) == 0 {
			next = page.AppLink // which a person clicks
		}
		if next != "" {
			u, err := req.URL.Parse(next)
			if err != nil {
				return nil, err
			}
			if u.Scheme == client.Scheme && u.Host == client.Host && u.Path == client.Path {
				return u, nil
			}
			req, err = http.NewRequest(http.MethodGet, u.String(), nil)
			if err != nil {
				return nil, err
			}
			continue
		}
		form, button, err := choose(page)
		if err != nil {
			return nil, err
		}
		if req, err = b.submit(page, form, button); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the sign-in does not end")
}

// SignInAt presses the button of a page of the server's own that begins a
// sign-in, signs in, and returns the page that it ends on.
func (b *Browser) SignInAt(address string) (*Page, error) {
	page, err := b.Open(address)
	if err != nil {
		return nil, err
	}
	button := "="
	for range 20 {
		if len(page.Forms) == 0 {
			return nil, fmt.Errorf("no form on %s (%d):\n%s", page.URL, page.Status, page.Body)
		}
		form := page.Forms[0]
		for _, f := range page.Forms {
			for _, named := range f.Buttons {
				if strings.Contains(named, b.User) || strings.Contains(named, "accept") {
					form, button = f, named
				}
			}
		}
		req, err := b.submit(page, form, button)
		if err != nil {
			return nil, err
		}
		for next := ""; ; {
			if page, next, err = b.fetch(req); err != nil {
				return nil, err
			}
			if next == "" {
				next = page.Refresh
			}
			if next == "" {
				break
			}
			u, err := req.URL.Parse(next)
			if err != nil {
				return nil, err
			}
			if req, err = http.NewRequest(http.MethodGet, u.String(), nil); err != nil {
				return nil, err
			}
		}
		if page.URL.String() == address || page.Status == http.StatusOK && len(page.Forms) == 0 {
			return page, nil
		}
	}
	return nil, errors.New("the sign-in does not end")
}

func redirectURIOf(authorizationURL string) (*url.URL, error) {
	u, err := url.Parse(authorizationURL)
	if err != nil {
		return nil, err
	}
	return url.Parse(u.Query().Get("redirect_uri"))
}

// Open fetches one page.
func (b *Browser) Open(address string) (*Page, error) {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	p, _, err := b.fetch(req)
	return p, err
}

// Press submits the first form of p with the button, name=value.
func (b *Browser) Press(p *Page, button string) (*Page, error) {
	if len(p.Forms) == 0 {
		return nil, fmt.Errorf("no form on %s (%d):\n%s", p.URL, p.Status, p.Body)
	}
	req, err := b.submit(p, p.Forms[0], button)
	if err != nil {
		return nil, err
	}
	next, _, err := b.fetch(req)
	return next, err
}

func (b *Browser) fetch(req *http.Request) (page *Page, location string, err error) {
	if b.Before != nil {
		b.Before(req)
	}
	res, err := b.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, "", err
	}
	page = &Page{URL: req.URL, Status: res.StatusCode, Header: res.Header, Body: string(body), shown: time.Now()}
	page.read(page.Body)
	return page, res.Header.Get("Location"), nil
}

// read collects forms, the meta refresh and a link to an app. It needs no tree: of
// what surrounds an element, only the form matters.
func (p *Page) read(body string) {
	// The style sheet is most of a page of ours.
	if head, rest, ok := strings.Cut(body, "<style>"); ok {
		if _, after, ok := strings.Cut(rest, "</style>"); ok {
			body = head + after
		}
	}
	var form *Form
	for z := html.NewTokenizer(strings.NewReader(body)); ; {
		kind := z.Next()
		name, _ := z.TagName()
		switch {
		case kind == html.ErrorToken: // the end
			return
		case kind == html.EndTagToken && string(name) == "form":
			form = nil
		case kind == html.StartTagToken || kind == html.SelfClosingTagToken:
			form = p.element(z, string(name), form)
		}
	}
}

// element reads one element within form, and returns the form that what follows is
// in.
func (p *Page) element(z *html.Tokenizer, name string, form *Form) *Form {
	switch name {
	case "form", "input", "button", "a", "meta":
	default:
		return form
	}
	attr := map[string]string{}
	for more := true; more; {
		var key, value []byte
		key, value, more = z.TagAttr()
		if _, repeated := attr[string(key)]; !repeated {
			attr[string(key)] = string(value)
		}
	}
	switch name {
	case "form":
		p.Forms = append(p.Forms, Form{Action: attr["action"], Method: attr["method"], Fields: url.Values{}})
		return &p.Forms[len(p.Forms)-1]
	case "input", "button":
		_, checked := attr["checked"]
		switch {
		case form == nil:
		case name == "button" || attr["type"] == "submit":
			form.Buttons = append(form.Buttons, attr["name"]+"="+attr["value"])
		case attr["type"] == "hidden", attr["type"] == "checkbox" && checked:
			form.Fields.Add(attr["name"], attr["value"])
		}
	case "a":
		if u, err := url.Parse(attr["href"]); err == nil && u.IsAbs() && u.Scheme != "https" && u.Scheme != "http" {
			p.AppLink = attr["href"]
		}
	case "meta":
		if strings.EqualFold(attr["http-equiv"], "refresh") {
			if _, to, ok := strings.Cut(attr["content"], "url="); ok {
				p.Refresh = to
			}
		}
	}
	return form
}

// submit makes the request that pressing the button of a form makes, once the
// person has read the page.
func (b *Browser) submit(p *Page, f Form, button string) (*http.Request, error) {
	if strings.HasSuffix(f.Action, "/consent") {
		if b.Reads != nil {
			b.Reads(reading)
		} else {
			time.Sleep(time.Until(p.shown.Add(reading)))
		}
	}
	fields := url.Values{}
	maps.Copy(fields, f.Fields)
	if name, value, ok := strings.Cut(button, "="); ok && name != "" {
		fields.Set(name, value)
	}
	to, err := p.URL.Parse(f.Action)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(f.Method, http.MethodPost) {
		to.RawQuery = fields.Encode()
		return http.NewRequest(http.MethodGet, to.String(), nil)
	}
	req, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.URL.Scheme+"://"+p.URL.Host)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return req, nil
}
