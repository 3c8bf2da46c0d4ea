package authserver_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestTranscripts plays the conversations in testdata. They are written to be
// read: who says what to whom, and what comes back.
//
//	client METHOD PATH [-json FILE | -basic USER PASSWORD] [name=value...]
//	browser METHOD URL [name=value...]
//	user signs in at URL            sets BACK, the callback's URL
//	later DURATION
//	answers STATUS                  of the last answer
//	says TEXT                       its header lines and body contain TEXT
//	json MEMBER VALUE               of its body
//	leads to URL                    by redirect or by page; sets NEXT
//	told NAME VALUE                 a query parameter of NEXT
//	save NAME WHAT                  WHAT is a member, a query parameter of
//	                                NEXT, or form (the sealed consent form)
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			w := newWorld(t)
			env.Values["play"] = &play{world: w, browser: w.browser()}
			env.Setenv("VERIFIER", verifier)
			env.Setenv("CHALLENGE", challenge)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"client": with((*play).client), "browser": with((*play).browse), "user": with((*play).signIn), "later": with((*play).later),
			"answers": with((*play).answers), "says": with((*play).says), "json": with((*play).json), "leads": with((*play).leads), "told": with((*play).told), "save": with((*play).save),
		},
	})
}

type play struct {
	*world
	browser *browser
	last    *http.Response
	body    string
	next    string
}

func with(f func(*play, *testscript.TestScript, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, not bool, args []string) {
		f(ts.Value("play").(*play), ts, not, args)
	}
}

func (p *play) client(ts *testscript.TestScript, _ bool, args []string) {
	r, rest := p.request(ts, args[0], args[1], args[2:])
	if len(rest) == 3 && rest[0] == "-basic" {
		r.SetBasicAuth(rest[1], rest[2])
	}
	p.take(p.serve(r))
}

func (p *play) browse(ts *testscript.TestScript, _ bool, args []string) {
	r, _ := p.request(ts, args[0], args[1], args[2:])
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	p.take(p.browser.do(r))
}

// request reads METHOD TARGET and parameters, which go to the query of a GET
// and to the body of a POST. It returns the arguments it does not know.
func (p *play) request(ts *testscript.TestScript, method, target string, args []string) (*http.Request, []string) {
	params, media, content := url.Values{}, "application/x-www-form-urlencoded", ""
	var rest []string
	for i := 0; i < len(args); i++ {
		name, value, isParam := strings.Cut(args[i], "=")
		switch {
		case args[i] == "-json":
			i++
			media, content = "application/json", ts.ReadFile(args[i])
		case isParam && !strings.HasPrefix(args[i], "-") && len(rest) == 0:
			params.Add(name, value)
		default:
			rest = append(rest, args[i])
		}
	}
	target = strings.TrimPrefix(target, issuer)
	if method == http.MethodGet {
		if len(params) > 0 {
			target += "?" + params.Encode()
		}
		return httptest.NewRequest(method, issuer+target, nil), rest
	}
	if content == "" {
		content = params.Encode()
	}
	r := httptest.NewRequest(method, issuer+target, strings.NewReader(content))
	r.Header.Set("Content-Type", media)
	return r, rest
}

func (p *play) take(resp *http.Response) {
	p.last, p.body = resp, text(p.t, resp)
}

func (p *play) signIn(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("BACK", p.upstream.signIn(p.t, args[3]))
}

func (p *play) later(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	p.clock.Advance(d)
}

func (p *play) answers(ts *testscript.TestScript, _ bool, args []string) {
	if want := strings.Join(args, " "); p.last.Status != want {
		ts.Fatalf("answer %s, want %s: %s", p.last.Status, want, p.body)
	}
}

func (p *play) says(ts *testscript.TestScript, not bool, args []string) {
	var all strings.Builder
	ts.Check(p.last.Header.Write(&all))
	all.WriteString(p.body)
	if strings.Contains(all.String(), args[0]) == not {
		ts.Fatalf("%q is said: %v, in\n%s", args[0], not, all.String())
	}
}

func (p *play) json(ts *testscript.TestScript, _ bool, args []string) {
	if got := p.member(ts, args[0]); got != args[1] {
		ts.Fatalf("%s is %q, want %q", args[0], got, args[1])
	}
}

func (p *play) leads(ts *testscript.TestScript, _ bool, args []string) {
	p.next = p.last.Header.Get("Location")
	if p.next == "" {
		p.next = onward(p.t, p.last)
	}
	if !strings.HasPrefix(p.next, args[1]) {
		ts.Fatalf("it leads to %s, want %s", p.next, args[1])
	}
	ts.Setenv("NEXT", p.next)
}

func (p *play) told(ts *testscript.TestScript, _ bool, args []string) {
	if got := queryOf(p.t, p.next).Get(args[0]); got != args[1] {
		ts.Fatalf("%s is %q, want %q", args[0], got, args[1])
	}
}

func (p *play) save(ts *testscript.TestScript, _ bool, args []string) {
	name, what := args[0], args[1]
	switch {
	case what == "form":
		ts.Setenv(name, match(p.t, p.body, `name="request" value="([^"]+)"`))
	case strings.HasPrefix(p.body, "{"):
		ts.Setenv(name, p.member(ts, what))
	default:
		ts.Setenv(name, queryOf(p.t, p.next).Get(what))
	}
}

// member is a member of a JSON body: a string as it is, else its JSON.
func (p *play) member(ts *testscript.TestScript, name string) string {
	var body map[string]any
	ts.Check(json.Unmarshal([]byte(p.body), &body))
	if s, ok := body[name].(string); ok {
		return s
	}
	out, err := json.Marshal(body[name])
	ts.Check(err)
	return string(out)
}
