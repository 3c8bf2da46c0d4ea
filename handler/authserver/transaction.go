package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"time"

	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// transactionLifetime is how long the user has at Entra.
const transactionLifetime = 10 * time.Minute

// transaction is a sign-in that is under way at Entra, from the approved
// consent to the callback. It is stored sealed: the verifier and the nonce are
// what makes Entra's code worth something.
type transaction struct {
	Request  request   `json:"request"`
	Verifier string    `json:"verifier"`
	Nonce    string    `json:"nonce"`
	Expires  time.Time `json:"expires"`
	// Claims and LoginHint are set when a sign-in is repeated to meet a
	// claims challenge, and go to Entra only.
	Claims    string `json:"claims,omitempty"`
	LoginHint string `json:"login_hint,omitempty"`
}

// LogValue hides the secrets.
func (t transaction) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", t.Request.ClientID), slog.Time("expires", t.Expires))
}

// upstreamState is our own state at Entra: the hour of expiry, a shard and 32
// random bytes. Hour and shard name the partition, so that finding the
// transaction is a point read, and sweeping drops whole partitions.
type upstreamState string

var stateSyntax = regexp.MustCompile(`^[0-9]{10}-[0-9a-f]-[A-Za-z0-9_-]{43}$`)

const hourLayout = "2006010215"

func (upstreamState) LogValue() slog.Value { return slog.StringValue(redacted) }
func (upstreamState) String() string       { return redacted }
func (upstreamState) GoString() string     { return redacted }

// TransactionPrefix begins the partitions of transactions.
const TransactionPrefix = "t-"

func (u upstreamState) partition() string { return TransactionPrefix + string(u[:12]) }

// key is a hash, so that who reads the table cannot finish a sign-in.
func (u upstreamState) key() string {
	sum := sha256.Sum256([]byte(u))
	return hex.EncodeToString(sum[:])
}

func (u upstreamState) ad() []byte { return []byte(u.partition() + "/" + u.key()) }

// parseState refuses, without any I/O, what cannot be a live state of ours.
func parseState(raw string, now time.Time) (upstreamState, error) {
	if !stateSyntax.MatchString(raw) {
		return "", errNoTransaction
	}
	hour, err := time.Parse(hourLayout, raw[:10])
	if err != nil || hour.Add(time.Hour).Before(now) || hour.After(now.Add(transactionLifetime)) {
		return "", errNoTransaction
	}
	return upstreamState(raw), nil
}

var errNoTransaction = oauth.New(oauth.InvalidRequest, "This sign-in has expired or was finished already.")

// newTransaction completes t with secrets of its own and returns its state.
func (s *Server) newTransaction(t *transaction) (upstreamState, error) {
	var parts [3]string
	for i := range parts {
		var err error
		if parts[i], err = s.random(32); err != nil {
			return "", err
		}
	}
	t.Verifier, t.Nonce, t.Expires = parts[0], parts[1], s.Now().Add(transactionLifetime)
	sum := sha256.Sum256([]byte(parts[2]))
	shard := hex.EncodeToString(sum[:1])[:1]
	return upstreamState(t.Expires.UTC().Format(hourLayout) + "-" + shard + "-" + parts[2]), nil
}

// record stores t. One write.
func (s *Server) record(ctx context.Context, state upstreamState, t transaction) error {
	plain, err := json.Marshal(t)
	if err != nil {
		return err
	}
	sealed, err := s.Ring.Seal(ctx, keyring.Transaction, state.ad(), plain)
	if err != nil {
		return keysUnavailable(err)
	}
	row := store.Row{Partition: state.partition(), Key: state.key(), Value: []byte(sealed),
		Expires: t.Expires.UTC().Truncate(time.Second).Add(time.Second)}
	if _, err := s.Table.Insert(ctx, row); err != nil {
		return storageUnavailable(err)
	}
	return nil
}

// consume returns the transaction of state and removes it: one read, and one
// conditional delete that only one caller wins. An unknown outcome is a
// refusal.
func (s *Server) consume(ctx context.Context, state upstreamState) (transaction, error) {
	row, err := s.Table.Get(ctx, state.partition(), state.key())
	if errors.Is(err, store.ErrNotFound) {
		return transaction{}, errNoTransaction
	}
	if err != nil {
		return transaction{}, storageUnavailable(err)
	}
	plain, err := s.Ring.Open(ctx, keyring.Transaction, state.ad(), string(row.Value))
	if errors.Is(err, keyring.ErrNotOurs) {
		return transaction{}, errNoTransaction.Because(err)
	}
	if err != nil {
		return transaction{}, keysUnavailable(err)
	}
	err = s.Table.Delete(ctx, row.Partition, row.Key, row.ETag)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return transaction{}, errNoTransaction
	}
	if err != nil {
		return transaction{}, storageUnavailable(err)
	}
	var t transaction
	if err := json.Unmarshal(plain, &t); err != nil {
		return transaction{}, oauth.New(oauth.ServerError, "The sign-in cannot be read.").Because(err)
	}
	if !s.Now().Before(t.Expires) {
		return transaction{}, errNoTransaction
	}
	return t, nil
}

// challengeOf is the S256 challenge of a verifier (RFC 7636 §4.2).
func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
