package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"time"

	"entramcp/handler/grants"
	"entramcp/handler/keyring"
	"entramcp/handler/oauth"
	"entramcp/handler/pages"
	"entramcp/handler/secret"
	"entramcp/handler/store"
)

const (
	// transactionLifetime is how long the user has at Entra.
	transactionLifetime = 10 * time.Minute
	// clockSkew is how far the clocks of two instances may be apart.
	clockSkew = 30 * time.Second
)

// TransactionPrefix begins the partitions of transactions.
const TransactionPrefix = "t-"

// transactionVersion is the version of the records that are written. Records of
// version 0 have neither Browser nor the members after it, and are pending. A record
// of a later version is not read: it may have to be finished in another way.
const transactionVersion = 1

type (
	// codeVerifier is our PKCE verifier towards Entra.
	codeVerifier struct{ secret.Value }
	// nonce is what Entra repeats in the ID token.
	nonce struct{ secret.Value }
)

// transaction is a sign-in in progress at Entra, from the approved consent to the
// callback. It is pending until a callback claims it, claimed while that callback
// asks Entra, and then answered, with the answer that the browser got.
type transaction struct {
	state    upstreamState
	etag     store.ETag
	request  request
	verifier codeVerifier
	nonce    nonce
	expires  time.Time
	// kind names the PageSignIn that the sign-in belongs to, and page is what that
	// asked for; both are empty for a client's authorization.
	kind string
	page PageSignInRequest
	// claims and loginHint are set when a sign-in is repeated to meet a claims
	// challenge, and go to Entra only.
	claims    claimsChallenge
	loginHint string
	// browser is the hash of the browser's id that approved; empty in records
	// of version 0.
	browser string
	// approver is who has to sign in, where a remembered approval was used.
	// remember is set if this approval is to be remembered.
	approver grants.Subject
	remember bool
	// claim names the callback that claimed the transaction, at claimed.
	claim   string
	claimed time.Time
	// answer is set once the transaction is answered.
	answer *answer
}

// transactionRecord is the stored form. It is sealed as a whole: Entra's code can be
// used with verifier and nonce, and the answer contains our own code.
type transactionRecord struct {
	Version   int               `json:"v,omitempty"`
	Request   request           `json:"request"`
	Verifier  string            `json:"verifier,omitempty"`
	Nonce     string            `json:"nonce,omitempty"`
	Expires   time.Time         `json:"expires"`
	Kind      string            `json:"kind,omitempty"`
	Page      PageSignInRequest `json:"flow,omitzero"`
	Claims    string            `json:"claims,omitempty"`
	LoginHint string            `json:"login_hint,omitempty"`
	Browser   string            `json:"browser,omitempty"`
	Approver  grants.Subject    `json:"approver,omitempty"`
	Remember  bool              `json:"remember,omitempty"`
	Claim     string            `json:"claim,omitempty"`
	Claimed   time.Time         `json:"claimed,omitzero"`
	Answer    *answer           `json:"answer,omitempty"`
}

// LogValue hides the secrets.
func (t transaction) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", t.request.ClientID), slog.Time("expires", t.expires))
}

// upstreamState is our own state at Entra: an hour, a shard and 32 random
// bytes. Hour and shard name the partition, so that finding the transaction is
// a point read. The transaction expires no later than transactionLifetime after
// the end of that hour.
type upstreamState struct{ secret.Value }

var stateSyntax = regexp.MustCompile(`^[0-9]{10}-[0-9a-f]-[A-Za-z0-9_-]{43}$`)

const hourLayout = "2006010215"

// newState makes a state in the hour of t.
func newState(t time.Time) upstreamState {
	random := oauth.NewVerifier()
	sum := sha256.Sum256([]byte(random))
	shard := hex.EncodeToString(sum[:1])[:1]
	return upstreamState{secret.New(t.UTC().Format(hourLayout) + "-" + shard + "-" + random)}
}

func (u upstreamState) partition() string { return TransactionPrefix + u.Reveal()[:12] }

// key is a hash, so that read access to the table does not allow finishing a sign-in.
func (u upstreamState) key() string {
	sum := sha256.Sum256([]byte(u.Reveal()))
	return hex.EncodeToString(sum[:])
}

func (u upstreamState) ad() []byte { return []byte(u.partition() + "/" + u.key()) }

// parseState refuses, without any I/O, what cannot be a live state of ours: one
// is made at most consentLifetime before its hour begins.
func parseState(raw string, now time.Time) (upstreamState, error) {
	if !stateSyntax.MatchString(raw) {
		return upstreamState{}, errNoTransaction
	}
	hour, err := time.Parse(hourLayout, raw[:10])
	if err != nil || now.Before(hour.Add(-consentLifetime-clockSkew)) || now.After(hour.Add(time.Hour+transactionLifetime+clockSkew)) {
		return upstreamState{}, errNoTransaction
	}
	return upstreamState{secret.New(raw)}, nil
}

var (
	errNoTransaction = newPageError(pages.SignInOver, oauth.InvalidRequest, "This sign-in has expired or was finished already.")
	// errClaimed: another callback has claimed the transaction.
	errClaimed = errors.New("authserver: the transaction has been claimed")
)

// newTransaction is a pending one with secrets of its own.
func newTransaction(state upstreamState, req request, browser string) transaction {
	return transaction{
		state: state, request: req, browser: browser,
		verifier: codeVerifier{secret.New(oauth.NewVerifier())}, nonce: nonce{secret.New(oauth.NewVerifier())},
	}
}

// insertTransaction stores t, which then is pending. One write.
func (s *Server) insertTransaction(ctx context.Context, t transaction) error {
	row, err := s.transactionRow(ctx, t)
	if err != nil {
		return err
	}
	_, err = s.Table.Insert(ctx, row)
	if err != nil && !errors.Is(err, store.ErrExists) {
		err = storageUnavailable(err)
	}
	return err
}

// readTransaction returns the transaction of state, whatever its phase. One
// read.
func (s *Server) readTransaction(ctx context.Context, state upstreamState) (transaction, error) {
	row, err := s.Table.Get(ctx, state.partition(), state.key())
	if errors.Is(err, store.ErrNotFound) {
		return transaction{}, errNoTransaction
	}
	if err != nil {
		return transaction{}, storageUnavailable(err)
	}
	plain, err := s.Ring.Open(ctx, keyring.Transaction, state.ad(), string(row.Value))
	if errors.Is(err, keyring.ErrNotOurs) {
		return transaction{}, errNoTransaction
	}
	if err != nil {
		return transaction{}, keysUnavailable(err)
	}
	var rec transactionRecord
	if err := json.Unmarshal(plain, &rec); err != nil {
		return transaction{}, oauth.New(oauth.ServerError, "The sign-in cannot be read.").Because(err)
	}
	if rec.Version > transactionVersion {
		return transaction{}, errNoTransaction
	}
	t := transaction{
		state: state, etag: row.ETag, request: rec.Request, expires: rec.Expires, kind: rec.Kind, page: rec.Page,
		verifier: codeVerifier{secret.New(rec.Verifier)}, nonce: nonce{secret.New(rec.Nonce)},
		claims: claimsChallenge{secret.New(rec.Claims)}, loginHint: rec.LoginHint, browser: rec.Browser, approver: rec.Approver, remember: rec.Remember,
		claim: rec.Claim, claimed: rec.Claimed, answer: rec.Answer,
	}
	if !s.Now().Before(t.expires) {
		return transaction{}, errNoTransaction
	}
	return t, nil
}

// claimTransaction claims a pending t. Of several callbacks one succeeds; the others
// get errClaimed. If the write fails for any reason, reading t once more tells
// whether it was claimed, and by which callback.
func (s *Server) claimTransaction(ctx context.Context, t transaction) (transaction, error) {
	t.claim, t.claimed = oauth.RandomID(), s.Now().UTC()
	etag, err := s.replaceTransaction(ctx, t)
	switch {
	case err == nil:
		t.etag = etag
		return t, nil
	case errors.Is(err, store.ErrNotFound):
		return transaction{}, errClaimed
	}
	found, readErr := s.readTransaction(ctx, t.state)
	switch {
	case readErr != nil || found.claim == "":
		return transaction{}, storageUnavailable(err)
	case found.claim != t.claim:
		return transaction{}, errClaimed
	}
	return found, nil
}

// answerTransaction stores the answer of t, which this callback claimed, and removes
// the secrets towards Entra, which are no longer needed.
func (s *Server) answerTransaction(ctx context.Context, t transaction, a answer) {
	t.answer, t.verifier, t.nonce = &a, codeVerifier{}, nonce{}
	if _, err := s.replaceTransaction(ctx, t); err != nil {
		s.Log.WarnContext(ctx, "the answer of a sign-in could not be stored; a repeated callback will fail", "transaction", t, "cause", err)
	}
}

func (s *Server) replaceTransaction(ctx context.Context, t transaction) (store.ETag, error) {
	row, err := s.transactionRow(ctx, t)
	if err != nil {
		return "", err
	}
	return s.Table.Replace(ctx, row)
}

func (s *Server) transactionRow(ctx context.Context, t transaction) (store.Row, error) {
	plain, err := json.Marshal(transactionRecord{
		Version: transactionVersion, Request: t.request, Verifier: t.verifier.Reveal(), Nonce: t.nonce.Reveal(), Expires: t.expires,
		Kind: t.kind, Page: t.page, Claims: t.claims.Reveal(), LoginHint: t.loginHint, Browser: t.browser, Approver: t.approver, Remember: t.remember, Claim: t.claim, Claimed: t.claimed, Answer: t.answer,
	})
	if err != nil {
		return store.Row{}, err
	}
	sealed, err := s.Ring.Seal(ctx, keyring.Transaction, t.state.ad(), plain)
	if err != nil {
		return store.Row{}, keysUnavailable(err)
	}
	return store.Row{Partition: t.state.partition(), Key: t.state.key(), ETag: t.etag, Value: []byte(sealed),
		Expires: t.expires.UTC().Truncate(time.Second).Add(time.Second)}, nil
}
