package tenant

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// faults are what tests make go wrong.
type faults struct {
	skew           time.Duration
	throttled      int
	retryAfter     time.Duration
	outage         bool
	stall          time.Duration
	graphThrottled int
	forge          func(map[string]any)
	usedRefresh    map[string]bool // nil: they stay good
}

// Change edits an account under the tenant's lock, in mid-flow if need be:
// disable it, require MFA, set a Challenge.
func (t *Tenant) Change(username string, edit func(*User)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.user(username)
	if u == nil {
		return fmt.Errorf("simulated tenant: no account %s", username)
	}
	edit(u)
	return nil
}

// RevokeSessions ends every session and refresh token of an account
// (AADSTS50173), as an administrator does.
func (t *Tenant) RevokeSessions(username string) error {
	if err := t.Change(username, func(u *User) { u.revocations++ }); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.save()
}

// WithdrawConsent forgets what an account, or with "" everyone, agreed to.
func (t *Tenant) WithdrawConsent(username string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if username == "" {
		clear(t.consents)
		return t.save()
	}
	u := t.user(username)
	if u == nil {
		return fmt.Errorf("simulated tenant: no account %s", username)
	}
	for key := range t.consents {
		if strings.HasPrefix(key, u.ObjectID+" ") {
			delete(t.consents, key)
		}
	}
	return t.save()
}

// GrantConsent records consent to scopes as if the user had accepted the page.
func (t *Tenant) GrantConsent(username, clientID, scope string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	u, app := t.user(username), t.app(clientID)
	if u == nil || app == nil {
		return fmt.Errorf("simulated tenant: no account %s or no application %s", username, clientID)
	}
	w, refused := t.parseScope(app, scope)
	if refused != nil {
		return fmt.Errorf("simulated tenant: AADSTS%d: %s", refused.code, refused.text)
	}
	t.agree(u, app, w)
	return nil
}

// Reconfigure edits an app registration under the tenant's lock.
func (t *Tenant) Reconfigure(clientID string, edit func(*App)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	app := t.app(clientID)
	if app == nil {
		return fmt.Errorf("simulated tenant: no application %s", clientID)
	}
	edited := *app // requests under way keep the old one
	edit(&edited)
	t.apps[strings.ToLower(clientID)] = &edited
	return nil
}

// SkewClock sets the tenant's clock apart from ours.
func (t *Tenant) SkewClock(d time.Duration) { t.set(func(f *faults) { f.skew = d }) }

// Throttle answers the next n requests to the token endpoint with 429.
func (t *Tenant) Throttle(n int, retryAfter time.Duration) {
	t.set(func(f *faults) { f.throttled, f.retryAfter = n, retryAfter })
}

// UseRefreshTokensOnce refuses a refresh token that was used before. Entra does
// not, but tells everyone to keep the newest ("replace the old refresh token
// with this newly acquired refresh token", entra-docs: v2-oauth2-auth-code-flow).
func (t *Tenant) UseRefreshTokensOnce() {
	t.set(func(f *faults) { f.usedRefresh = map[string]bool{} })
}

// Outage answers everything with 503 until it is called with false.
func (t *Tenant) Outage(on bool) { t.set(func(f *faults) { f.outage = on }) }

// Stall delays every answer, for tests of time limits.
func (t *Tenant) Stall(d time.Duration) { t.set(func(f *faults) { f.stall = d }) }

func (t *Tenant) set(edit func(*faults)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	edit(&t.faults)
}

// fail applies the faults; true if it has answered.
func (t *Tenant) fail(w http.ResponseWriter, r *http.Request) bool {
	t.mu.Lock()
	f := t.faults
	throttled := f.throttled > 0 && strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token")
	if throttled {
		t.faults.throttled--
	}
	t.mu.Unlock()
	if f.stall > 0 {
		select {
		case <-time.After(f.stall):
		case <-r.Context().Done():
			return true
		}
	}
	switch {
	case f.outage:
		t.writeRefusal(w, r, refuse(90006))
	case throttled:
		w.Header().Set("Retry-After", strconv.Itoa(int(f.retryAfter/time.Second)))
		t.writeRefusal(w, r, refuse(90055))
	default:
		return false
	}
	return true
}

// Seen is one request as the tenant got it, without its secrets.
type Seen struct {
	Endpoint string // "authorize" or "token"
	Form     url.Values
}

// secretParameters are never kept.
var secretParameters = []string{"client_secret", "client_assertion", "assertion", "code", "code_verifier", "refresh_token"}

// Requests returns the latest requests to the authorize and token endpoints,
// oldest first, at most 1000, so that tests can assert what was never sent:
// prompt=consent is accepted, as Entra accepts it, and shows up here.
func (t *Tenant) Requests() []Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.seen)
}

func (t *Tenant) record(endpoint string, form url.Values) {
	kept := url.Values{}
	for name, values := range form {
		if slices.Contains(secretParameters, name) {
			values = []string{"[redacted]"}
		}
		kept[name] = slices.Clone(values)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seen) >= 1000 {
		t.seen = slices.Delete(t.seen, 0, 1)
	}
	t.seen = append(t.seen, Seen{endpoint, kept})
}

// Forge changes the claims of every token before it is signed: what a forger
// with the keys, or an issuer with other habits, would send. nil ends it.
func (t *Tenant) Forge(edit func(claims map[string]any)) {
	t.set(func(f *faults) { f.forge = edit })
}

// saved is what survives a restart. Codes and browser sessions do not: they
// are minutes old at most, and losing them is what a user expects.
type saved struct {
	Seal     []byte              `json:"seal"`
	Keys     [][]byte            `json:"keys"` // PKCS #8, newest first
	Consents map[string][]string `json:"consents"`
	// SignIns are what policies ask of a refresh token's sign-in; Revoked how
	// often each account's sessions were ended.
	SignIns map[string]savedSignIn `json:"sign_ins,omitempty"`
	Revoked map[string]int         `json:"revoked,omitempty"`
}

type savedSignIn struct {
	ObjectID    string    `json:"oid"`
	At          time.Time `json:"at"`
	MFA         bool      `json:"mfa,omitempty"`
	Claims      []string  `json:"claims,omitempty"`
	Revocations int       `json:"revocations,omitempty"`
}

// load reads the state file, or starts a new one.
func (t *Tenant) load(first *rsa.PrivateKey) error {
	if t.path == "" {
		return t.fresh(first)
	}
	text, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t.fresh(first)
	}
	if err != nil {
		return err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil || len(s.Seal) != 32 || len(s.Keys) == 0 {
		return fmt.Errorf("the state file %s is damaged; delete it to start again", t.path)
	}
	for _, der := range s.Keys {
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		private, ok := parsed.(*rsa.PrivateKey)
		if err != nil || !ok {
			return fmt.Errorf("the state file %s is damaged; delete it to start again", t.path)
		}
		key, err := certify(private)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, key)
	}
	t.seal = s.Seal
	if s.Consents != nil {
		t.consents = s.Consents
	}
	for oid, n := range s.Revoked {
		if u := t.userByID(oid); u != nil {
			u.revocations = n
		}
	}
	for sid, in := range s.SignIns {
		if u := t.userByID(in.ObjectID); u != nil {
			t.signIns[sid] = &session{sid: sid, user: u, at: in.At, mfa: in.MFA, claims: in.Claims, revocations: in.Revocations}
		}
	}
	return nil
}

func (t *Tenant) fresh(first *rsa.PrivateKey) error {
	make := newSigningKey
	if first != nil {
		make = func() (*signingKey, error) { return certify(first) }
	}
	key, err := make()
	if err != nil {
		return err
	}
	t.keys, t.seal = []*signingKey{key}, t.bytes(32)
	return t.save()
}

// save writes the state file, if there is one; the caller holds mu.
func (t *Tenant) save() error {
	if t.path == "" {
		return nil
	}
	s := saved{Seal: t.seal, Consents: t.consents, SignIns: map[string]savedSignIn{}, Revoked: map[string]int{}}
	for sid, in := range t.signIns {
		s.SignIns[sid] = savedSignIn{in.user.ObjectID, in.at, in.mfa, in.claims, in.revocations}
	}
	for _, u := range t.users {
		if u.revocations > 0 {
			s.Revoked[u.ObjectID] = u.revocations
		}
	}
	for _, key := range t.keys {
		der, err := x509.MarshalPKCS8PrivateKey(key.private)
		if err != nil {
			return err
		}
		s.Keys = append(s.Keys, der)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(t.path), 0o700); err != nil {
		return err
	}
	next := t.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, t.path)
}

// keep saves, and says in the log if what happened is lost with the process.
func (t *Tenant) keep(what string) {
	if err := t.save(); err != nil {
		t.log.Error("simulated tenant: it is kept until the process ends only", "what", what, "cause", err)
	}
}

// ThrottleGraph refuses the next n calls of Graph with 429.
func (t *Tenant) ThrottleGraph(n int) { t.set(func(f *faults) { f.graphThrottled = n }) }
