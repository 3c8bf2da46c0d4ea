//go:build unix

package resilience

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"entramcp/handler/grants"
)

// honest is a client that keeps to the protocol: it repeats what got no answer,
// or 503, and believes every other answer.
type honest struct {
	*client
	counts *counts
	stop   <-chan struct{}
	stays  bool // it never revokes

	current tokens
	// line are all tokens since the sign-in.
	line    []tokens
	revoked []revokedGrant
}

// revokedGrant is one whose revocation was answered at a time.
type revokedGrant struct {
	at     time.Time
	tokens []tokens
}

const (
	// slack is what a busy machine may add to bound.
	slack = 2 * time.Second
	// ahead and behind are how far the clocks of two of the instances are off.
	ahead, behind = 10 * time.Second, 5 * time.Second
	// redeemsFor is how long a client goes on asking for tokens for one code.
	// Instances judge by clocks that are apart, and the last attempt may take as
	// long as the front end waits. Past that its person signs in again.
	redeemsFor = grants.RepeatWindow - ahead - behind - givesUp - time.Second
	// refreshesFor is as much of the grace.
	refreshesFor = grants.DefaultRefreshGrace - ahead - behind - givesUp - time.Second
)

func (h *honest) stopped() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

// answered repeats a request, for so long as limit, until it gets an answer that
// says something. Nothing said means nothing known.
func (h *honest) answered(limit time.Duration, request func() answer) (a answer, known bool) {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100*time.Millisecond + rand.N(300*time.Millisecond)) {
		if a = request(); a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
			return a, true
		}
	}
	h.counts.add(events, "client gave up")
	return a, false
}

// live goes through sign-ins until it is stopped. What is under way then is
// brought to an end.
func (h *honest) live() {
	for !h.stopped() {
		a, known := h.answered(redeemsFor, func() answer { return h.register("none") })
		if !known {
			continue
		}
		if h.ID = a.text("client_id"); a.status != http.StatusCreated || h.ID == "" {
			h.counts.violation(odd, "/register: %d %s", a.status, a.body)
			return
		}
		if !h.connects() {
			continue
		}
		for n := rand.N(8); n > 0 || h.stays; n-- {
			if h.stopped() {
				return // signed in, to be looked at afterwards
			}
			if !h.works() {
				break
			}
		}
		if h.current.refresh != "" {
			h.leaves()
		}
	}
}

// connects signs in once. It may fail as long as nobody is told anything wrong:
// the person begins again.
func (h *honest) connects() bool {
	address, verifier := h.authorizeURL()
	back, err := h.browser.Approve(address)
	code := ""
	if err == nil {
		code = back.Query().Get("code")
	}
	if code == "" {
		h.counts.add(events, "sign-in begun again")
		return false
	}
	a, known := h.answered(redeemsFor, func() answer { return h.redeem(code, verifier) })
	if !known {
		return false
	}
	if a.status != http.StatusOK {
		h.counts.violation(codeLost, "/token: %d %s", a.status, a.body)
		return false
	}
	h.counts.add(checks, "signed in")
	h.line = nil
	h.got(a)
	// An attacker may have seen the code in the browser's history.
	if a, known := h.answered(refreshesFor, func() answer { return h.redeem(code, verifier+"x") }); known {
		h.counts.add(checks, "code with another verifier")
		if !a.is(http.StatusBadRequest, "invalid_grant") {
			h.counts.violation(twice, "/token: %d %s", a.status, a.body)
		}
	}
	return true
}

func (h *honest) got(a answer) {
	h.current = tokens{a.text("access_token"), a.text("refresh_token")}
	h.line = append(h.line, h.current)
	var claims struct {
		Issued int64 `json:"iat"`
	}
	_, payload, _ := strings.Cut(h.current.access, ".")
	payload, _, _ = strings.Cut(payload, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	switch off := time.Until(time.Unix(claims.Issued, 0)); {
	case err != nil:
		h.counts.violation(odd, "the access token cannot be read: %v", err)
	case off > time.Second:
		h.counts.add(checks, "tokens of a clock ahead")
	case off <= -behind: // no answer of another clock may be as old
		h.counts.add(checks, "tokens of a clock behind")
	}
}

// works calls a few times and refreshes.
func (h *honest) works() bool {
	for range 3 {
		a, known := h.answered(refreshesFor, func() answer { return h.call(h.current.access) })
		if !known {
			continue
		}
		h.counts.add(checks, "called")
		if a.status != http.StatusOK || !strings.Contains(a.body, "Ada") {
			h.counts.violation(loggedOut, "/mcp: %d %s", a.status, a.body)
			h.current = tokens{}
			return false
		}
		time.Sleep(100*time.Millisecond + rand.N(400*time.Millisecond))
	}
	return h.refreshed("at work")
}

// refreshed refreshes once, and now and then again with the token before, as
// another process of the same client does.
func (h *honest) refreshed(when string) bool {
	used, end := h.current.refresh, time.Now().Add(refreshesFor)
	for n := range 1 + rand.N(2) {
		a, known := h.answered(time.Until(end), func() answer { return h.refresh(used) })
		if !known && n > 0 {
			break
		}
		if !known {
			// Past the grace the token before is another party's.
			h.current = tokens{}
			return false
		}
		h.counts.add(checks, "refreshed")
		if a.status != http.StatusOK {
			h.counts.violation(loggedOut, "%s /token: %d %s", when, a.status, a.body)
			h.current = tokens{}
			return false
		}
		h.got(a)
	}
	return true
}

// leaves revokes, and looks at once whether that holds.
func (h *honest) leaves() {
	a, known := h.answered(refreshesFor, func() answer { return h.revoke(h.current.refresh) })
	at := time.Now()
	ended := revokedGrant{at, h.line}
	h.current = tokens{}
	if !known {
		return
	}
	h.counts.add(checks, "revoked")
	if a.status != http.StatusOK {
		h.counts.violation(refreshed, "/revoke: %d %s", a.status, a.body)
		return
	}
	h.revoked = append(h.revoked, ended)
	last := ended.tokens[rand.N(len(ended.tokens))]
	if a, known := h.answered(refreshesFor, func() answer { return h.refresh(last.refresh) }); known && !a.is(http.StatusBadRequest, "invalid_grant") {
		h.counts.violation(refreshed, "/token: %d %s", a.status, a.body)
	}
}
