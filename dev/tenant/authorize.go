package tenant

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// request is a validated authorization request.
type request struct {
	realm       realm
	client      *App
	redirectURI string
	mode        string // response_mode
	state       string
	nonce       string
	challenge   string
	method      string
	prompt      string
	hint        string
	claims      string
	wanted      wanted
}

// S256 challenges are 43 characters; plain ones are verifiers (RFC 7636 §4.1).
var challengeForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// authorize validates, signs in, and answers at the redirect URI. Until the
// client and its redirect URI are known to be good nothing is redirected.
func (t *Tenant) authorize(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		t.refusePage(w, r, refuse(900561, "GET, POST", r.Method), false)
		return
	}
	if err := r.ParseForm(); err != nil {
		t.refusePage(w, r, refuse(9002313), false)
		return
	}
	t.record("authorize", r.URL.Query())
	t.mu.Lock()
	req, unsafe := t.identify(r)
	var refused *refusal
	if unsafe == nil {
		refused = t.inspect(req, r.URL.Query())
	}
	t.mu.Unlock()
	switch {
	case unsafe != nil:
		t.refusePage(w, r, unsafe, false)
	case refused != nil:
		t.redirectRefusal(w, r, req, refused)
	default:
		t.signIn(w, r, req)
	}
}

// identify finds out whom the answer may go to. What it refuses is shown to
// the user, never redirected. The caller holds mu.
func (t *Tenant) identify(r *http.Request) (*request, *refusal) {
	q := r.URL.Query()
	realm, ok := t.realm(r.PathValue("tenant"))
	if !ok {
		return nil, refuse(90002, r.PathValue("tenant"))
	}
	if q.Get("client_id") == "" {
		return nil, refuse(900144, "client_id")
	}
	client := t.app(q.Get("client_id"))
	if client == nil || (client.SignInAudience == SingleTenant && realm.tenant != "" && realm.tenant != Contoso) {
		return nil, refuse(700016, q.Get("client_id"), realm.name)
	}
	if !client.allows(q.Get("redirect_uri")) {
		return nil, refuse(50011, q.Get("redirect_uri"), client.ClientID)
	}
	mode := q.Get("response_mode")
	if mode == "" {
		mode = "query"
	}
	return &request{
		realm:       realm,
		client:      client,
		redirectURI: q.Get("redirect_uri"),
		mode:        mode,
		state:       q.Get("state"),
		nonce:       q.Get("nonce"),
		challenge:   q.Get("code_challenge"),
		method:      q.Get("code_challenge_method"),
		prompt:      q.Get("prompt"),
		hint:        q.Get("login_hint"),
		claims:      q.Get("claims"),
	}, nil
}

// inspect checks the rest. The caller holds mu.
func (t *Tenant) inspect(req *request, q url.Values) *refusal {
	switch req.mode {
	case "query", "fragment", "form_post":
	default:
		mode := req.mode
		req.mode = "query"
		return refuse(70007, mode)
	}
	if f := t.matchResource(q); f != nil {
		return f
	}
	switch types := strings.Fields(q.Get("response_type")); {
	case len(types) == 0:
		return refuse(900144, "response_type")
	case slices.Contains(types, "token"):
		return refuse(700051)
	case slices.Contains(types, "id_token"):
		return refuse(700054)
	case !slices.Equal(types, []string{"code"}):
		return refuse(70005, q.Get("response_type"))
	}
	// entra-docs: v2-protocols, "Endpoints": who may sign in where.
	if req.realm.tenant == "" && req.client.SignInAudience == SingleTenant {
		return refuse(50194, req.client.ClientID)
	}
	if req.realm.tenant == Consumers && req.client.SignInAudience != AnyAccount {
		return refuse(9002332, req.client.ClientID)
	}
	if !slices.Contains([]string{"", "login", "none", "consent", "select_account"}, req.prompt) {
		return refuse(90100, "prompt")
	}
	if req.challenge != "" || req.method != "" {
		if !challengeForm.MatchString(req.challenge) {
			return refuse(501491)
		}
		if req.method != "" && req.method != "S256" && req.method != "plain" {
			return refuse(90100, "code_challenge_method")
		}
	}
	if q.Get("scope") == "" {
		return refuse(900144, "scope")
	}
	if req.claims != "" && !isObject(req.claims) {
		return refuse(90100, "claims")
	}
	parsed, refused := t.parseScope(req.client, q.Get("scope"))
	if refused != nil {
		return refused
	}
	req.wanted = parsed
	// field: prompt=consent by an app that asks for a token for itself fails
	// unless the scope names it by its bare GUID.
	if req.prompt == "consent" {
		for _, p := range parsed.on {
			if p.resource.id == req.client.ClientID && !strings.EqualFold(p.prefix, req.client.ClientID) {
				return refuse(90009, req.client.ClientID)
			}
		}
	}
	return nil
}

// respond delivers an answer by the response mode.
func (t *Tenant) respond(w http.ResponseWriter, r *http.Request, req *request, q url.Values) {
	if req.mode == "form_post" {
		t.formPost(w, req.redirectURI, q)
		return
	}
	to, err := url.Parse(req.redirectURI)
	if err != nil {
		t.refusePage(w, r, refuse(50011, req.redirectURI, req.client.ClientID), false)
		return
	}
	if req.mode == "fragment" {
		to.Fragment = ""
		http.Redirect(w, r, to.String()+"#"+q.Encode(), http.StatusFound)
		return
	}
	all := to.Query()
	maps.Copy(all, q)
	to.RawQuery = all.Encode()
	http.Redirect(w, r, to.String(), http.StatusFound)
}

func (t *Tenant) redirectRefusal(w http.ResponseWriter, r *http.Request, req *request, f *refusal) {
	t.respond(w, r, req, t.query(t.stamp(f, r), req.state))
}
