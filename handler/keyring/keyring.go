// Package keyring holds the secret keys that all instances of the server
// share, and gives out what is derived from them: sealed texts and MAC keys.
//
// The ring is a sequence of epochs. Each is 32 random bytes, kept in the table
// wrapped by a key that is not in the table ([Wrapper]: Azure Key Vault or
// MASTER_KEY). Nothing uses an epoch's bytes directly: HKDF (RFC 5869) derives one
// key for each purpose, so that what was made for one purpose is not valid for any
// other.
//
// An epoch has four times:
//
//   - created: its row is inserted. If several instances try, one succeeds.
//   - activates: it begins to sign, [PublishBefore] later, when every instance
//     has had time to read it. The first epoch ever activates at once.
//   - superseded: the next epoch activates. An instance that has not noticed,
//     or cannot unwrap the next one, may sign with it for Overlap more.
//   - expires: Overlap, Retention and Margin after it was superseded, when
//     everything it ever signed has expired. The sweep deletes its row. The
//     newest epoch never expires.
//
// An operator can end an epoch at any time, see [Ring.Retire]: what it signed is then
// refused.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"entramcp/handler/store"
)

// Purpose names a kind of artefact. Each has its own keys.
type Purpose string

// One purpose for each artefact. An artefact must not outlive
// [Options.Retention] counted from when it was sealed or signed.
const (
	AccessToken     Purpose = "access token"
	CodeHandle      Purpose = "code handle"
	RefreshHandle   Purpose = "refresh handle"
	Transaction     Purpose = "transaction"
	ClaimsChallenge Purpose = "claims challenge"
	ConsentForm     Purpose = "consent form"
	FormToken       Purpose = "form token"
	BrowserBinding  Purpose = "browser binding"
	Approver        Purpose = "approver"
	ToolQuestion    Purpose = "tool question"
	ConnectLink     Purpose = "connect link"
	AccountSession  Purpose = "account session"
	UpstreamTokens  Purpose = "upstream tokens"
)

// Partition holds the epochs' rows.
const Partition = "keys"

// ErrNotOurs says that no key of this ring made the artefact for this purpose and
// additional data. It deliberately does not say which of them differs.
// Every other error of Open and Verifying means that the answer is unknown, and must
// be treated as an outage.
var ErrNotOurs = errors.New("keyring: not made by this key ring")

// ErrRetired is the ErrNotOurs for what a retired epoch made.
var ErrRetired = fmt.Errorf("%w any more: its epoch was retired", ErrNotOurs)

const (
	// Period is the age at which the newest epoch is superseded.
	Period = 30 * 24 * time.Hour
	// PublishBefore is how long an epoch is readable before it signs. It is
	// longer than ReloadInterval and UnknownInterval.
	PublishBefore = 10 * time.Minute
	// Overlap is how long after it was superseded an epoch may still sign, and
	// equally how old an instance's copy of the ring may be to sign with it.
	// Instances can sign so long while storage is away, or the wrapping key is
	// changed on one instance after another.
	Overlap = 24 * time.Hour
	// Margin is added before an epoch expires, for clocks that disagree.
	Margin = 24 * time.Hour
	// RewrapAfter is how long after the first instance has a new wrapping key
	// the epochs are wrapped with it: until then an instance that starts with
	// the old settings can read them.
	RewrapAfter = 24 * time.Hour
	// ReloadInterval is how often Run reads the ring again.
	ReloadInterval = 4 * time.Minute
	// UnknownInterval is how often at most an unknown key id causes a reload.
	UnknownInterval = 30 * time.Second
	// retryInterval is how often at most a failed load is tried again.
	retryInterval = 2 * time.Second
	// loadTimeout bounds one reading of the ring, with its calls to the
	// wrapping key.
	loadTimeout = 20 * time.Second
)

// Options configure a Ring. Table and Wrapper are required.
type Options struct {
	Table   store.Table
	Wrapper Wrapper
	Now     func() time.Time
	Log     *slog.Logger

	// Retention is the longest life of anything sealed or signed, from when it was
	// made; the default is 90 days, the life of an unused refresh token. Of several
	// instances with different values, the longest counts.
	Retention time.Duration
}

// Ring is the key ring as one instance sees it. It is safe for concurrent use.
type Ring struct {
	opts    Options
	epochs  atomic.Pointer[epochs]    // nil until the first load
	failure atomic.Pointer[failure]   // of the last load, nil if it succeeded
	unknown atomic.Pointer[time.Time] // last load because of an unknown key id
	flight  singleflight.Group
	jitter  time.Duration // spreads instances over the time when rotation falls due
}

// New makes a ring that has not been loaded. It does no I/O.
func New(opts Options) *Ring {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Retention <= 0 {
		opts.Retention = 90 * 24 * time.Hour
	}
	return &Ring{opts: opts, jitter: rand.N(Period / 60)}
}

// Ready returns nil if the ring can sign, and can verify with every epoch.
// Otherwise the error says what is wrong and, for a wrapping key that is
// missing, which one and what to set. It loads the ring if need be.
func (r *Ring) Ready(ctx context.Context) error {
	all, err := r.loaded(ctx)
	if err != nil {
		return err
	}
	if _, err := all.signing(r.opts.Now()); err != nil {
		return err
	}
	for _, e := range all.list {
		if e.locked != nil {
			return e.locked
		}
	}
	if f := r.failure.Load(); f != nil {
		return f.err
	}
	return nil
}

// Format keeps keys out of anything that is printed.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keyring.Ring") }

// LogValue keeps keys out of the log.
func (r *Ring) LogValue() slog.Value { return slog.StringValue("keyring.Ring") }
