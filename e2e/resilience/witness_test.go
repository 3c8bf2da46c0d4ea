package resilience

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// secretNames are the parameters and members whose values must never be logged.
var secretNames = []string{
	"code", "state", "nonce", "code_verifier", "client_secret", "client_assertion", "assertion",
	"access_token", "refresh_token", "id_token", "token", "request",
}

// witness sees what travels between client, browser, server and tenant, and
// keeps every secret.
type witness struct {
	mu   sync.Mutex
	seen map[string]map[string]bool // name → values
	told bytes.Buffer               // every answer to a client or browser
}

// shortest leaves out what is no secret, such as a token that is made up.
const shortest = 16

func (w *witness) note(name, value string) {
	if len(value) < shortest {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[string]map[string]bool{}
	}
	if w.seen[name] == nil {
		w.seen[name] = map[string]bool{}
	}
	w.seen[name][value] = true
}

func (w *witness) values(v url.Values) {
	for _, name := range secretNames {
		for _, value := range v[name] {
			w.note(name, value)
		}
	}
}

func (w *witness) request(r *http.Request, body []byte) {
	w.values(r.URL.Query())
	if form, err := url.ParseQuery(string(body)); err == nil {
		w.values(form)
	}
	if _, bearer, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		w.note("access_token", bearer)
	}
	for _, c := range r.Cookies() {
		w.note("cookie", c.Value)
	}
}

var (
	sealedForm = regexp.MustCompile(`name="request" value="([^"]+)"`)
	links      = regexp.MustCompile(`https?://[^"'<> ]+`)
)

func (w *witness) response(res *http.Response, body []byte) {
	for _, c := range res.Cookies() {
		w.note("cookie", c.Value)
	}
	if to, err := res.Location(); err == nil {
		w.values(to.Query())
	}
	for _, m := range sealedForm.FindAllSubmatch(body, -1) {
		w.note("request", html.UnescapeString(string(m[1])))
	}
	for _, link := range links.FindAll(body, -1) {
		if u, err := url.Parse(html.UnescapeString(string(link))); err == nil {
			w.values(u.Query())
		}
	}
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return
	}
	for _, name := range secretNames {
		if value, ok := object[name].(string); ok {
			w.note(name, value)
		}
	}
}

// RoundTrip is the way of clients and browsers.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	w.request(r, body)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	w.response(res, answer)
	w.mu.Lock()
	_ = res.Header.Write(&w.told)
	w.told.Write(answer)
	w.mu.Unlock()
	res.Body = io.NopCloser(bytes.NewReader(answer))
	return res, err
}

// between stands before the tenant.
func (w *witness) between(tenant http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.request(r, body)
		recorded := httptest.NewRecorder()
		tenant.ServeHTTP(recorded, r)
		res := recorded.Result()
		w.response(res, recorded.Body.Bytes())
		maps.Copy(rw.Header(), res.Header)
		rw.WriteHeader(res.StatusCode)
		_, _ = rw.Write(recorded.Body.Bytes())
	})
}

// names are those of which at least one value was seen.
func (w *witness) names() []string { return slices.Sorted(maps.Keys(w.seen)) }

// in finds a secret in text, whole or its beginning, as it is or escaped.
func (w *witness) in(text string) (name string, found bool) {
	for name, values := range w.seen {
		for value := range values {
			for _, form := range []string{value[:shortest], url.QueryEscape(value)[:shortest]} {
				if strings.Contains(text, form) {
					return name, true
				}
			}
		}
	}
	return "", false
}
