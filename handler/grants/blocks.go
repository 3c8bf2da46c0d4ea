package grants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// BlockPartition holds the blocks, the sign-outs and the tenants that are allowed
// beside the setting. Every instance keeps a copy of all of it in memory.
const BlockPartition = "blocks"

// BlockKind is what a block or a sign-out is about.
type BlockKind string

// The kinds of blocks.
const (
	BlockClient       BlockKind = "client"        // a client_id
	BlockDocumentHost BlockKind = "document-host" // the host of client ID metadata documents
	BlockRedirectHost BlockKind = "redirect-host" // the host of a redirect URI
	BlockApp          BlockKind = "app"           // the app id of a caller with a token of Entra's own
	BlockUser         BlockKind = "user"          // a Subject
	BlockTenant       BlockKind = "tenant"        // a tenant id
	// everyone is only signed out, never blocked.
	everyone BlockKind = "everyone"
)

// A Block refuses a party until it is removed. Its grants end at their next use,
// and its access tokens are not accepted from MaxStale later on every instance.
type Block struct {
	Kind   BlockKind `json:"kind"`
	Value  string    `json:"value,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	// SignedOutBefore, if set, makes this a sign-out: it ends what was
	// granted before that time and refuses nothing later.
	SignedOutBefore time.Time `json:"before,omitzero"`
	Version         int       `json:"v"`
}

// reasonOf is the reason that is recorded for a grant that b ends.
func reasonOf(b Block) string {
	if b.SignedOutBefore.IsZero() {
		return "blocked: " + string(b.Kind)
	}
	return "signed out: " + string(b.Kind)
}

// blockTable is an immutable copy of the partition.
type blockTable struct {
	blocks, signOuts map[blockKey]Block
	list             []Block          // of both
	allowed          map[string]Block // tenants, by hash
}

type blockKey struct {
	kind BlockKind
	hash string
}

func (b Block) key() blockKey {
	value := b.Value
	if b.Kind == BlockClient {
		value = tokenClientID(value)
	}
	return blockKey{b.Kind, partyHash(value)}
}

// find returns the block of one of h, or the sign-out that ends what was granted
// at granted.
func (t *blockTable) find(h partyHashes, granted time.Time) (Block, bool) {
	for _, key := range [...]blockKey{
		{BlockClient, h.client}, {BlockDocumentHost, h.documentHost}, {BlockRedirectHost, h.redirectHost},
		{BlockApp, h.app}, {BlockUser, h.user}, {BlockTenant, h.tenant}, {everyone, ""},
	} {
		if key.hash == "" && key.kind != everyone {
			continue
		}
		if b, ok := t.blocks[key]; ok {
			return b, true
		}
		if b, ok := t.signOuts[key]; ok && granted.Before(b.SignedOutBefore) {
			return b, true
		}
	}
	return Block{}, false
}

// Blocked returns the block that refuses one of p, or nil. A tenant that neither the
// setting nor the table names is refused like one that is blocked. It does no I/O
// while the list of revocations is current; an error is a 503.
func (s *Service) Blocked(ctx context.Context, p Parties) (*Block, error) {
	s.noteRequest()
	if err := s.ensureCurrent(ctx); err != nil {
		return nil, err
	}
	granted := p.Granted
	if granted.IsZero() {
		granted = s.now()
	}
	if b, found := s.blocks.Load().find(p.hashes(), granted); found {
		return &b, nil
	}
	if p.TenantID != "" && !s.named(partyHash(p.TenantID)) {
		return &Block{Kind: BlockTenant, Value: p.TenantID, Reason: "not one of the allowed tenants"}, nil
	}
	return nil, nil
}

// Blocks lists the blocks and the sign-outs that are in force.
func (s *Service) Blocks(ctx context.Context) ([]Block, error) {
	if err := s.loadBlocks(ctx); err != nil {
		return nil, unavailable(err)
	}
	return s.blocks.Load().list, nil
}

// Block refuses a party from now on. Blocking again replaces the reason. It
// takes effect on other instances within MaxStale. The caller audits who did it.
func (s *Service) Block(ctx context.Context, kind BlockKind, value, reason string) error {
	value, err := canonicalParty(kind, value)
	if err != nil {
		return err
	}
	return s.putBlock(ctx, Block{Kind: kind, Value: value, Reason: reason, At: s.now().UTC()}, time.Time{})
}

// SignOut ends everything that was granted for a party until now; it can be
// granted again. One write, however many grants there are: each ends at its next
// use, and access tokens are refused on every instance within MaxStale.
func (s *Service) SignOut(ctx context.Context, kind BlockKind, value, reason string) error {
	value, err := canonicalParty(kind, value)
	if err != nil {
		return err
	}
	return s.signOut(ctx, kind, value, reason, s.now())
}

// SignOutEveryone is SignOut for all grants that were granted before a time.
func (s *Service) SignOutEveryone(ctx context.Context, before time.Time, reason string) error {
	return s.signOut(ctx, everyone, "", reason, before)
}

func (s *Service) signOut(ctx context.Context, kind BlockKind, value, reason string, before time.Time) error {
	now := s.now().UTC()
	// Tokens carry the approval in whole seconds; the second of the sign-out
	// counts as before it. A grant that is not used for refreshLifetime has expired by itself.
	return s.putBlock(ctx, Block{Kind: kind, Value: value, Reason: reason, At: now, SignedOutBefore: before.UTC().Truncate(time.Second).Add(time.Second)},
		now.Add(s.refreshLifetime+margin))
}

func checkBlock(kind BlockKind, value string) error {
	switch kind {
	case BlockClient, BlockDocumentHost, BlockRedirectHost, BlockApp, BlockUser, BlockTenant:
	default:
		return oauth.New(oauth.InvalidRequest, "This is not a kind of block. Use client, document-host, redirect-host, app, user or tenant.")
	}
	if value == "" {
		return oauth.New(oauth.InvalidRequest, "A block needs a value.")
	}
	return nil
}

var subjectPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// canonicalParty is value as requests are compared with it. What can match no
// request is refused: a block of it would be believed to hold.
func canonicalParty(kind BlockKind, value string) (string, error) {
	if err := checkBlock(kind, value); err != nil {
		return "", err
	}
	switch kind {
	case BlockTenant, BlockApp:
		id, err := uuid.Parse(value)
		if err != nil {
			return "", oauth.New(oauth.InvalidRequest, "A tenant or an app is blocked by its ID, which is a GUID.")
		}
		return id.String(), nil
	case BlockDocumentHost, BlockRedirectHost:
		value = strings.ToLower(value)
		if _, err := netip.ParseAddr(value); err != nil && HostOf("https://"+value) != value {
			return "", oauth.New(oauth.InvalidRequest, "A host is blocked by its name without scheme or port, such as app.example.com.")
		}
	case BlockUser:
		if value = strings.ToLower(value); !subjectPattern.MatchString(value) {
			return "", oauth.New(oauth.InvalidRequest, "A user is blocked by the subject, which is the SHA-256 of tenant and object ID in hex.")
		}
	}
	return value, nil
}

// rowKey is one row for the block and one for the sign-out of a party.
func (b Block) rowKey() string {
	prefix := "block-"
	if !b.SignedOutBefore.IsZero() {
		prefix = "out-"
	}
	return prefix + string(b.Kind) + "-" + b.key().hash
}

func (s *Service) putBlock(ctx context.Context, b Block, expires time.Time) error {
	b.Version = 1
	value, err := json.Marshal(b)
	if err != nil {
		return err
	}
	row := store.Row{Partition: BlockPartition, Key: b.rowKey(), Value: value, Expires: expires.Truncate(time.Second)}
	for range writeAttempts {
		if _, err = s.table.Insert(ctx, row); errors.Is(err, store.ErrExists) {
			var old store.Row
			if old, err = s.table.Get(ctx, row.Partition, row.Key); err == nil {
				row.ETag = old.ETag
				_, err = s.table.Replace(ctx, row)
			}
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return unavailable(err)
	}
	return s.announceBlocks(ctx)
}

// Unblock removes a block. It is not an error if there is none.
func (s *Service) Unblock(ctx context.Context, kind BlockKind, value string) error {
	if err := checkBlock(kind, value); err != nil {
		return err
	}
	if err := s.removeBlock(ctx, Block{Kind: kind, Value: value}); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.announceBlocks(ctx)
}

// removeBlock removes the row of b: store.ErrNotFound if there is none, or a 503.
func (s *Service) removeBlock(ctx context.Context, b Block) error {
	var err error
	for range writeAttempts {
		var row store.Row
		if row, err = s.table.Get(ctx, BlockPartition, b.rowKey()); err == nil {
			err = s.table.Delete(ctx, BlockPartition, row.Key, row.ETag)
		}
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return unavailable(err)
	}
	return err
}

func (s *Service) announceBlocks(ctx context.Context) error {
	if err := s.announce(ctx, announcement{Kind: blocksChanged}); err != nil {
		return err
	}
	if err := s.loadBlocks(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// loadBlocks reads the whole partition.
func (s *Service) loadBlocks(ctx context.Context) error {
	t := &blockTable{blocks: map[blockKey]Block{}, signOuts: map[blockKey]Block{}, allowed: map[string]Block{}}
	var since time.Time
	for row, err := range store.Rows(ctx, s.table, store.Partition(BlockPartition)) {
		if err != nil {
			return err
		}
		var b Block
		if err := json.Unmarshal(row.Value, &b); err != nil {
			return fmt.Errorf("block %s is damaged: %w", row.Key, err)
		}
		switch {
		case row.Key == rolloutKey:
			since = b.At
		case b.Kind == "":
		case b.Kind == allowedTenant:
			t.allowed[b.key().hash] = b
		case b.SignedOutBefore.IsZero():
			t.blocks[b.key()], t.list = b, append(t.list, b)
		default:
			t.signOuts[b.key()], t.list = b, append(t.list, b)
		}
	}
	s.blocks.Store(t)
	if since.IsZero() {
		return s.beginRollout(ctx)
	}
	s.legacyUntil.Store(since.Add(rolloutWindow).Unix())
	return nil
}
