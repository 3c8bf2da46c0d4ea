package toolkit_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
	"entramcp/handler/toolkit"
	"entramcp/handler/toolkit/toolkittest"
)

// issuer gives a new token each time the last one was refused.
type issuer struct {
	mu      sync.Mutex
	asked   []string
	refused int
}

func (i *issuer) Token(_ context.Context, _ grants.Grant, scopes ...string) (entra.APIToken, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, strings.Join(scopes, " "))
	return entra.APIToken{Value: secret.New("token-" + string(rune('a'+i.refused)))}, nil
}

func (i *issuer) Refused(grants.Grant, entra.APIToken, ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refused++
}

// api answers and remembers which tokens it got.
func api(t *testing.T, answer http.HandlerFunc) (url string, tokens func() []string) {
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.URL.Path+" "+r.Header.Get("Authorization"))
		mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func calling(t *testing.T, o toolkit.OnBehalfOf, graphURL string, scopes []string, f func(context.Context, *toolkit.Caller) error, rules ...toolkit.Rule) toolkittest.Result {
	t.Helper()
	tool := toolkit.Define("call", "Call.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) { return "done", f(ctx, c) }, rules...)
	var open bodies
	defer func() {
		if n := open.Load(); n != 0 {
			t.Errorf("%d answers of the API are not closed", n)
		}
	}()
	return toolkittest.SignIn(t, offering(tool), toolkittest.User{Scopes: scopes}, toolkittest.ServerOptions(func(s *toolkit.Options) {
		s.API, s.GraphURL, s.HTTPClient = o, graphURL, &http.Client{Timeout: 8 * time.Second, Transport: &open}
	})).Call("call", nil)
}

// bodies counts the answers whose connection is still taken.
type bodies struct{ atomic.Int32 }

func (b *bodies) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		b.Add(1)
		resp.Body = &counted{resp.Body, sync.OnceFunc(func() { b.Add(-1) })}
	}
	return resp, err
}

type counted struct {
	io.ReadCloser
	closed func()
}

func (c *counted) Close() error { c.closed(); return c.ReadCloser.Close() }

// TestARefusedTokenIsReplacedOnce: the API's 401 drops it, and the request is repeated with
// another; a second refusal is the answer.
func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	for name, good := range map[string]string{"the second is good": "Bearer token-b", "none is good": "Bearer never"} {
		var i issuer
		url, tokens := api(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != good {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write([]byte(`{"name":"Ada"}`))
		})
		got := calling(t, &i, url, []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
			return c.GetJSON(ctx, "/v1.0/me", &inner{}, "User.Read")
		}, toolkit.CallAPI("User.Read"))
		if diff := cmp.Diff([]string{"/v1.0/me Bearer token-a", "/v1.0/me Bearer token-b"}, tokens()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if got.Failed != (good == "Bearer never") || i.asked[0] != url+"/User.Read" {
			t.Errorf("%s: %q, asked %q", name, got.Text, i.asked)
		}
	}
}

// TestARequestIsRepeatedWithItsBody, where the token was refused.
func TestARequestIsRepeatedWithItsBody(t *testing.T) {
	var bodies []string
	url, _ := api(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bodies = append(bodies, string(body)); len(bodies) == 1 {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	got := calling(t, &issuer{}, url, []string{"Mail.Send"}, func(ctx context.Context, c *toolkit.Caller) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1.0/me/sendMail", strings.NewReader("a mail"))
		if err != nil {
			return err
		}
		resp, err := c.HTTPClient("Mail.Send").Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}, toolkit.CallAPI("Mail.Send"))
	if diff := cmp.Diff([]string{"a mail", "a mail"}, bodies); diff != "" || got.Failed {
		t.Errorf("%q %s", got.Text, diff)
	}
}

// TestWhyThereIsNoTokenIsSaid in the words that Entra's refusal, the server's own or the
// toolkit's has for the user, and not as an outage of the API.
func TestWhyThereIsNoTokenIsSaid(t *testing.T) {
	for want, refused := range map[string]error{
		"Your account is locked. Ask an administrator.": &entra.Error{Kind: entra.NotAllowed, Summary: "Your account is locked.", NextStep: "Ask an administrator."},
		"The sign-in has ended.":                        oauth.New(oauth.InvalidToken, "The sign-in has ended."),
		"Not today.":                                    toolkit.Fail("Not today.", nil),
	} {
		got := calling(t, without{refused}, "http://127.0.0.1:1", []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
			return c.GetJSON(ctx, "/v1.0/me", &inner{}, "User.Read")
		}, toolkit.CallAPI("User.Read"))
		if !got.Failed || got.Text != want {
			t.Errorf("%q, want %q", got.Text, want)
		}
	}
}

// without gives no token.
type without struct{ err error }

func (w without) Token(context.Context, grants.Grant, ...string) (entra.APIToken, error) {
	return entra.APIToken{}, w.err
}

func (without) Refused(grants.Grant, entra.APIToken, ...string) {}

// TestScopesForAPIsAreDeclaredAndGranted: a tool gets no token that its definition does not
// name, that the client was not granted, or for two APIs at once.
func TestScopesForAPIsAreDeclaredAndGranted(t *testing.T) {
	for name, test := range map[string]struct {
		granted, asked []string
		want           string
	}{
		"not declared":  {[]string{"User.Read", "Mail.Read"}, []string{"Mail.Read"}, "failed unexpectedly"},
		"not granted":   {nil, []string{"User.Read"}, "needs the scope User.Read"},
		"two APIs":      {[]string{"User.Read", "api://x/Y"}, []string{"User.Read", "api://x/Y"}, "failed unexpectedly"},
		"none":          {[]string{"User.Read"}, nil, "failed unexpectedly"},
		"what is right": {[]string{"User.Read"}, []string{"User.Read"}, ""},
	} {
		var i issuer
		got := calling(t, &i, "https://graph.example", test.granted, func(ctx context.Context, c *toolkit.Caller) error {
			_, err := c.Token(ctx, test.asked...)
			return err
		}, toolkit.CallAPI("User.Read", "api://x/Y"))
		if got.Failed != (test.want != "") || !strings.Contains(got.Text, test.want) || len(i.asked) > 0 != (test.want == "") {
			t.Errorf("%s: %q, asked %q", name, got.Text, i.asked)
		}
	}
	got := calling(t, nil, "", []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
		_, err := c.Token(ctx, "User.Read")
		return err
	}, toolkit.CallAPI("User.Read"))
	if !got.Failed || !strings.Contains(got.Text, "not set up") {
		t.Errorf("without an API: %q", got.Text)
	}
}

// TestTheTokenGoesToItsAPIOnly: to no other origin, not over plain http, and not along with
// a redirect, even one to the same place.
func TestTheTokenGoesToItsAPIOnly(t *testing.T) {
	elsewhere, leaked := api(t, func(http.ResponseWriter, *http.Request) {})
	url, tokens := api(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, elsewhere+"/there", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/again", http.StatusFound)
		}
	})
	var i issuer
	get := func(address string) error {
		var failed error
		calling(t, &i, url, []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
			if err != nil {
				return err
			}
			resp, err := c.HTTPClient("User.Read").Do(req)
			if failed = err; err == nil {
				_ = resp.Body.Close()
			}
			return nil
		}, toolkit.CallAPI("User.Read"))
		return failed
	}
	for _, address := range []string{url + "/away", url + "/here"} {
		if err := get(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{elsewhere + "/other", "http://graph.example/x", strings.Replace(url, "127.0.0.1", "127.0.0.2", 1)} {
		if get(address) == nil {
			t.Errorf("%s was called", address)
		}
	}
	if diff := cmp.Diff([]string{"/away Bearer token-a", "/here Bearer token-a", "/again "}, tokens()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/there "}, leaked()); diff != "" {
		t.Error(diff)
	}
}

// TestOtherAPIsAreCalledWhereTheyAre: by an identifier that is a URL, or by the rule that
// says where.
func TestOtherAPIsAreCalledWhereTheyAre(t *testing.T) {
	url, tokens := api(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"name":"x"}`)) })
	for _, scope := range []string{"api://files/Files.Read", url + "/.default"} {
		var i issuer
		got := calling(t, &i, "", []string{scope}, func(ctx context.Context, c *toolkit.Caller) error {
			return c.GetJSON(ctx, url+"/files", &inner{}, scope)
		},
			toolkit.CallAPI(scope), toolkit.APIOrigin("api://files", url))
		if got.Failed || len(i.asked) != 1 || i.asked[0] != scope {
			t.Errorf("%s: %q, asked %q", scope, got.Text, i.asked)
		}
	}
	if len(tokens()) != 2 {
		t.Errorf("called %q", tokens())
	}
	if got := calling(t, &issuer{}, "", []string{"api://other/X"}, func(ctx context.Context, c *toolkit.Caller) error {
		return c.GetJSON(ctx, url+"/files", &inner{}, "api://other/X")
	}, toolkit.CallAPI("api://other/X")); !got.Failed || len(tokens()) != 2 {
		t.Errorf("an API whose place nobody named: %q", got.Text)
	}
}

// TestWhatAnAPIRefusesIsToldApart: permission of the account, absence, too many requests
// and an outage. Consent is Entra's; see TestMissingConsentIsALink.
func TestWhatAnAPIRefusesIsToldApart(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		header http.Header
		body   string
		want   string
	}{
		"permission": {403, nil, `{"error":{"code":"Authorization_RequestDenied"}}`, "your account may not"},
		"absence":    {404, nil, `{"error":{"code":"ResourceNotFound"}}`, "no such thing"},
		"throttled":  {429, http.Header{"Retry-After": {"7"}}, ``, "Try again in 7s"},
		"wrong":      {400, nil, `{"error":{"code":"BadRequest"}}`, "status 400 BadRequest"},
		"outage":     {502, nil, `<html>`, "does not answer now"},
		"no JSON":    {200, nil, `<html>`, "does not answer now"},
		"too large":  {200, nil, `{"name":"` + strings.Repeat("x", 5<<20) + `"}`, "does not answer now"},
	} {
		url, _ := api(t, func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), test.header)
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
		})
		var status int
		got := calling(t, &issuer{}, url, []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
			err := c.GetJSON(ctx, "/v1.0/me", &inner{}, "User.Read")
			if refused := new(toolkit.APIError); errors.As(err, &refused) {
				status = refused.Status
			}
			return err
		}, toolkit.CallAPI("User.Read"))
		if wantStatus := test.status; !got.Failed || !strings.Contains(got.Text, test.want) || test.status != 200 && status != wantStatus {
			t.Errorf("%s: %q, status %d", name, got.Text, status)
		}
	}
	if got := calling(t, &issuer{}, "http://127.0.0.1:1", []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
		return c.GetJSON(ctx, "/v1.0/me", &inner{}, "User.Read")
	}, toolkit.CallAPI("User.Read")); !got.Failed || strings.Contains(got.Text, "refused") || !strings.Contains(got.Text, "does not answer") {
		t.Errorf("nobody listens: %q", got.Text)
	}
}

// TestAnswersOfAPIsAreBounded by 4 MiB, whatever is in the rest.
func TestAnswersOfAPIsAreBounded(t *testing.T) {
	for size, fits := range map[int]bool{4 << 20: true, 4<<20 + 1: false} {
		url, _ := api(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("{}" + strings.Repeat(" ", size-2)))
		})
		got := calling(t, &issuer{}, url, []string{"User.Read"}, func(ctx context.Context, c *toolkit.Caller) error {
			return c.GetJSON(ctx, "/v1.0/me", &inner{}, "User.Read")
		}, toolkit.CallAPI("User.Read"))
		if got.Failed == fits {
			t.Errorf("%d bytes: %q", size, got.Text)
		}
	}
}

// TestTheIdentityIsReadOnceOnDemand: a call that does not ask costs no storage operation,
// one that asks often costs one.
func TestTheIdentityIsReadOnceOnDemand(t *testing.T) {
	for asks, reads := range map[int]int{0: 0, 1: 1, 5: 1} {
		var counting countingGrants
		tool := toolkit.Define("who", "Who.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
			var wg sync.WaitGroup
			for range asks {
				wg.Go(func() {
					if who, err := c.Identity(ctx); err != nil || who.Name != "Grace" || who.ObjectID != "oid" {
						t.Errorf("%+v, %v", who, err)
					}
				})
			}
			wg.Wait()
			return "", nil
		})
		got := toolkittest.SignIn(t, offering(tool), toolkittest.User{}, toolkittest.Grants(&counting)).Call("who", nil)
		if got.Failed || counting.reads != reads {
			t.Errorf("asked %d times: %d reads, %q", asks, counting.reads, got.Text)
		}
	}
}

type countingGrants struct {
	mu    sync.Mutex
	reads int
}

func (g *countingGrants) Get(context.Context, grants.Subject, string) (grants.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads++
	return grants.Grant{Identity: grants.Identity{Name: "Grace", ObjectID: "oid"}}, nil
}

// TestCallersWithoutAGrantAreKnownByTheirToken, and act for nobody else.
func TestCallersWithoutAGrantAreKnownByTheirToken(t *testing.T) {
	var got toolkit.Caller
	tool := toolkit.Define("who", "Who.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
		got.Kind, got.GrantID = c.Kind, c.GrantID
		who, err := c.Identity(ctx)
		if err != nil || who.ObjectID != "pipeline" {
			t.Errorf("%+v, %v", who, err)
		}
		_, err = c.Token(ctx, "User.Read")
		return "", err
	}, toolkit.CallAPI("User.Read"))
	app := toolkittest.User{Kind: grants.Application, ObjectID: "pipeline", Roles: []string{"Mcp.Call"}, Scopes: []string{"User.Read"}}
	result := toolkittest.SignIn(t, offering(tool), app, toolkittest.Graph{}, toolkittest.Grants(nil)).Call("who", nil)
	if !result.Failed || !strings.Contains(result.Text, "not for application callers") || got.Kind != grants.Application || got.GrantID != "" {
		t.Errorf("%q, %v", result.Text, got.Kind)
	}
}

// TestConsentIsGivenAtALinkOfOurs by users who can give it; where only an
// administrator can, the link stays Entra's.
func TestConsentIsGivenAtALinkOfOurs(t *testing.T) {
	const ours = "https://mcp.example.com/consent?x"
	missing := entra.Error{Kind: entra.ConsentNeeded, Summary: "Not yet.", NextStep: "Ask.", ConsentURL: toolkittest.ConsentURL}
	forAdmins, other := missing, missing
	forAdmins.AdminOnly, other.Kind = true, entra.NotAllowed
	for name, test := range map[string]struct {
		failure entra.Error
		link    func(context.Context, grants.Grant, []string) (string, error)
		want    string
	}{
		"users": {missing, func(_ context.Context, g grants.Grant, scopes []string) (string, error) {
			return ours + g.ClientID + scopes[0], nil
		}, "Not yet. Open the link, agree there, and come back. " + ours + "client-1https://graph.example/User.Read"},
		"administrators":  {forAdmins, func(context.Context, grants.Grant, []string) (string, error) { return ours, nil }, "Not yet. Ask. " + toolkittest.ConsentURL},
		"no consent":      {other, func(context.Context, grants.Grant, []string) (string, error) { return ours, nil }, "Not yet. Ask. " + toolkittest.ConsentURL},
		"no link":         {missing, nil, "Not yet. Ask. " + toolkittest.ConsentURL},
		"storage is away": {missing, func(context.Context, grants.Grant, []string) (string, error) { return "", errors.New("a cause") }, "You cannot be asked for your consent now. Try again in a minute."},
	} {
		tool := toolkit.Define("call", "Call.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) {
			_, err := c.Token(ctx, "User.Read")
			return "done", err
		}, toolkit.CallAPI("User.Read"))
		got := toolkittest.SignIn(t, offering(tool), toolkittest.User{Scopes: []string{"User.Read"}}, toolkittest.ServerOptions(func(o *toolkit.Options) {
			o.API, o.GraphURL, o.ConsentLink = without{&test.failure}, "https://graph.example/", test.link
		})).Call("call", nil)
		if !got.Failed || got.Text != test.want {
			t.Errorf("%s: %q, want %q", name, got.Text, test.want)
		}
	}
}

// TestNoTokenForASignInThatHasEnded: not for another service, and no identity.
func TestNoTokenForASignInThatHasEnded(t *testing.T) {
	for name, use := range map[string]func(context.Context, *toolkit.Caller) error{
		"token":    func(ctx context.Context, c *toolkit.Caller) error { _, err := c.Token(ctx, "User.Read"); return err },
		"identity": func(ctx context.Context, c *toolkit.Caller) error { _, err := c.Identity(ctx); return err },
	} {
		tool := toolkit.Define("call", "Call.", func(ctx context.Context, c *toolkit.Caller, _ struct{}) (string, error) { return "done", use(ctx, c) }, toolkit.CallAPI("User.Read"))
		got := toolkittest.SignIn(t, offering(tool), toolkittest.User{Scopes: []string{"User.Read"}}, toolkittest.Graph{}, toolkittest.SignedOut()).Call("call", nil)
		if !got.Failed || !strings.Contains(got.Text, "has ended") {
			t.Errorf("%s: %q", name, got.Text)
		}
	}
}

// TestABodyThatCannotBeReadAgainIsSentOnce: the refusal is the answer.
func TestABodyThatCannotBeReadAgainIsSentOnce(t *testing.T) {
	url, tokens := api(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	for name, body := range map[string]func() (io.ReadCloser, error){"no copy": nil, "a copy that fails": func() (io.ReadCloser, error) { return nil, errors.New("gone") }} {
		before := len(tokens())
		got := calling(t, &issuer{}, url, []string{"Mail.Send"}, func(ctx context.Context, c *toolkit.Caller) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/x", io.NopCloser(strings.NewReader("a mail")))
			if err != nil {
				return err
			}
			req.GetBody = body
			resp, err := c.HTTPClient("Mail.Send").Do(req)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %s", name, resp.Status)
			}
			return nil
		}, toolkit.CallAPI("Mail.Send"))
		if len(tokens()) != before+1 || got.Failed != (body != nil) {
			t.Errorf("%s: sent %d times, %q", name, len(tokens())-before, got.Text)
		}
	}
}
