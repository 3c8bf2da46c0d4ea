package toolkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"entramcp/handler/grants"
	"entramcp/handler/store"
)

// DataPrefix begins the partitions of what tools keep for a user: the prefix, the
// subject, "-" and the name of the store. Their rows do not expire, so they are not
// swept. They are not sealed with the key ring, because its epochs expire.
const DataPrefix = "u-"

// Limits of what tools keep for one user.
const (
	// MaxItems is how many items a named store holds.
	MaxItems = 1000
	// MaxItemSize is the largest item in bytes of JSON.
	MaxItemSize = store.MaxValue - 256
	// maxDataKey bounds a key as it is stored, in bytes: letters, digits, "-", "." and
	// "_" take one, anything else three.
	maxDataKey = 200
	// maxDataPage is the most items that List returns at once.
	maxDataPage = 100
)

// Errors of Data, in words for the user.
var (
	// ErrNoItem: there is no item with this key.
	ErrNoItem = Fail("There is no such entry.", nil)
	// ErrItemChanged: the item is not the version that was named, or exists although
	// IfNew was given.
	ErrItemChanged = Fail("It was changed in the meantime. Read it again.", nil)
	// ErrQuota: the store holds MaxItems already.
	ErrQuota = Fail(fmt.Sprintf("You have %d entries, which is the limit. Delete some first.", MaxItems), nil)
)

// ETag is the version of an item. The empty one is any version, or none.
type ETag string

// IfNew is the version of an item that does not exist yet.
const IfNew ETag = "new"

// Item is what Data holds under a key.
type Item[T any] struct {
	Key   string
	Value T
	ETag  ETag
}

// Data is a store of the caller's own, by name. No other user can read or write it;
// the same user finds it from all of their clients. DataOf opens one.
type Data[T any] struct {
	caller    *Caller
	partition string
}

// DataOf opens the caller's store of a name, [a-z][a-z0-9_]*, at most 48 characters.
// T encodes as JSON; fields that are added to it later are empty in what was stored
// before. No I/O.
func DataOf[T any](caller *Caller, name string) Data[T] {
	if !validName.MatchString(name) {
		panic(fmt.Sprintf("toolkit: the name %q of a store must match %s", name, validName))
	}
	return Data[T]{caller, dataOwner(caller.Subject) + name}
}

func dataOwner(subject grants.Subject) string { return DataPrefix + string(subject) + "-" }

// kept is the value of a row. Tenant is the hash of the user's, by which the rows of
// a tenant are found when it is removed; rows of earlier versions have none.
type kept struct {
	Version int             `json:"v"`
	Tenant  string          `json:"tenant,omitempty"`
	Data    json.RawMessage `json:"data"`
}

const keptVersion = 1

// Get returns an item, or ErrNoItem. One storage operation.
func (d Data[T]) Get(ctx context.Context, key string) (Item[T], error) {
	encoded, err := dataKey(key)
	if err != nil {
		return Item[T]{}, err
	}
	row, err := d.caller.server.table.Get(ctx, d.partition, encoded)
	if err != nil {
		return Item[T]{}, dataError(err)
	}
	return decodeItem[T](row)
}

// Put keeps value under key and returns its version. With the ETag of an item it
// replaces only that version, with IfNew it only adds; otherwise it fails with
// ErrItemChanged. With an empty ETag it does either. Adding beyond MaxItems is
// ErrQuota. One to four storage operations.
func (d Data[T]) Put(ctx context.Context, key string, value T, etag ETag) (ETag, error) {
	encoded, err := dataKey(key)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return "", unexpected(ctx, err)
	}
	if len(data) > MaxItemSize {
		return "", Fail(fmt.Sprintf("It has %d bytes, more than the %d that are allowed.", len(data), MaxItemSize), nil)
	}
	raw, _ := json.Marshal(kept{keptVersion, grants.TenantHash(d.caller.TenantID), data}) // data is JSON
	row := store.Row{Partition: d.partition, Key: encoded, ETag: store.ETag(etag), Value: raw}
	table := d.caller.server.table
	switch etag {
	case IfNew:
		return d.add(ctx, row)
	case "":
		if was, err := table.Get(ctx, d.partition, encoded); errors.Is(err, store.ErrNotFound) {
			return d.add(ctx, row)
		} else if err != nil {
			return "", dataError(err)
		} else {
			row.ETag = was.ETag
		}
	}
	next, err := table.Replace(ctx, row)
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrConflict
	}
	return ETag(next), dataError(err)
}

// add counts a new item before it exists: after a crash in between the count is one
// too high, which count corrects.
func (d Data[T]) add(ctx context.Context, row store.Row) (ETag, error) {
	if err := d.count(ctx, 1); err != nil {
		return "", err
	}
	row.ETag = ""
	etag, err := d.caller.server.table.Insert(ctx, row)
	if errors.Is(err, store.ErrExists) {
		return "", errors.Join(ErrItemChanged, d.count(ctx, -1))
	}
	return ETag(etag), dataError(err)
}

// Delete removes the version with etag, or whatever there is if that is empty. It is
// ErrNoItem if there is none. Up to four storage operations.
func (d Data[T]) Delete(ctx context.Context, key string, etag ETag) error {
	encoded, err := dataKey(key)
	if err != nil {
		return err
	}
	table := d.caller.server.table
	if etag == "" {
		row, err := table.Get(ctx, d.partition, encoded)
		if err != nil {
			return dataError(err)
		}
		etag = ETag(row.ETag)
	}
	if err := table.Delete(ctx, d.partition, encoded, store.ETag(etag)); err != nil {
		return dataError(err)
	}
	return d.count(ctx, -1)
}

// List returns items in the order of their keys, from the first whose key is after the
// given one, and whether there are more. At most 100 at once.
func (d Data[T]) List(ctx context.Context, after string) (items []Item[T], more bool, err error) {
	span := store.Partition(d.partition)
	if after != "" {
		if span.FirstKey, err = dataKey(after); err != nil {
			return nil, false, err
		}
	}
	for row, err := range store.Rows(ctx, d.caller.server.table, span) {
		if err != nil {
			return nil, false, dataError(err)
		}
		if row.Key == countKey || after != "" && row.Key == span.FirstKey {
			continue
		}
		if len(items) == maxDataPage {
			return items, true, nil
		}
		item, err := decodeItem[T](row)
		if err != nil {
			return nil, false, err
		}
		items = append(items, item)
	}
	return items, false, nil
}

// countKey is the row that counts the items. It comes after all of them: the escape of
// dataKey is followed by a hexadecimal digit.
const countKey = "~items"

type counted struct {
	Version int `json:"v"`
	Items   int `json:"items"`
}

// count adds by to the number of items, or fails with ErrQuota. At the limit, the
// items are counted first.
func (d Data[T]) count(ctx context.Context, by int) error {
	table := d.caller.server.table
	for range 5 {
		row, err := table.Get(ctx, d.partition, countKey)
		exists := err == nil
		var c counted
		switch {
		case errors.Is(err, store.ErrNotFound):
			row = store.Row{Partition: d.partition, Key: countKey}
		case err != nil:
			return dataError(err)
		default:
			if err := json.Unmarshal(row.Value, &c); err != nil {
				return dataError(err)
			}
		}
		if c.Items+by > MaxItems {
			if c.Items, err = d.recount(ctx); err != nil {
				return err
			}
			if c.Items+by > MaxItems {
				return ErrQuota
			}
		}
		row.Value, _ = json.Marshal(counted{keptVersion, max(0, c.Items+by)}) // numbers always encode
		if exists {
			_, err = table.Replace(ctx, row)
		} else {
			_, err = table.Insert(ctx, row)
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrNotFound) {
			return dataError(err)
		}
	}
	return Fail("Too much is being written at once. Try again.", nil)
}

func (d Data[T]) recount(ctx context.Context) (int, error) {
	n := 0
	for row, err := range store.Rows(ctx, d.caller.server.table, store.Partition(d.partition)) {
		if err != nil {
			return 0, dataError(err)
		}
		if row.Key != countKey {
			n++
		}
	}
	return n, nil
}

func decodeItem[T any](row store.Row) (Item[T], error) {
	item := Item[T]{Key: dataKeyOf(row.Key), ETag: ETag(row.ETag)}
	var k kept
	err := json.Unmarshal(row.Value, &k)
	if err == nil {
		err = json.Unmarshal(k.Data, &item.Value)
	}
	if err != nil {
		return Item[T]{}, Fail("The stored data cannot be read.", err)
	}
	return item, nil
}

func dataError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return ErrNoItem
	case errors.Is(err, store.ErrConflict):
		return ErrItemChanged
	}
	return Fail("Your data cannot be reached now. Try again in a minute.", err)
}

// dataKey escapes what a key of the table cannot hold.
func dataKey(key string) (string, error) {
	var b strings.Builder
	for i := range len(key) {
		switch c := key[i]; {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '.', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "~%02X", c)
		}
	}
	if b.Len() == 0 || b.Len() > maxDataKey {
		return "", Fail(fmt.Sprintf("A name must have 1 to %d letters and digits; others count three times.", maxDataKey), nil)
	}
	return b.String(), nil
}

func dataKeyOf(encoded string) string {
	var b strings.Builder
	for i := 0; i < len(encoded); i++ {
		var c byte
		if encoded[i] == '~' && i+2 < len(encoded) {
			if _, err := fmt.Sscanf(encoded[i+1:i+3], "%02X", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(encoded[i])
	}
	return b.String()
}

// EachData calls visit for all that tools keep for a user, by store and key.
func EachData(ctx context.Context, table store.Table, subject grants.Subject, visit func(name, key string, data json.RawMessage) error) error {
	owner := dataOwner(subject)
	for row, err := range store.Rows(ctx, table, store.Prefix(owner)) {
		if err != nil {
			return err
		}
		if row.Key == countKey {
			continue
		}
		var k kept
		if err := json.Unmarshal(row.Value, &k); err != nil {
			return fmt.Errorf("toolkit: data of a user: %w", err)
		}
		if err := visit(strings.TrimPrefix(row.Partition, owner), dataKeyOf(row.Key), k.Data); err != nil {
			return err
		}
	}
	return nil
}

// ExportData is all that tools keep for a user, by store and key.
func ExportData(ctx context.Context, table store.Table, subject grants.Subject) (map[string]map[string]json.RawMessage, error) {
	all := map[string]map[string]json.RawMessage{}
	err := EachData(ctx, table, subject, func(name, key string, data json.RawMessage) error {
		if all[name] == nil {
			all[name] = map[string]json.RawMessage{}
		}
		all[name][key] = data
		return nil
	})
	return all, err
}

// EraseData removes all that tools keep for a user, and returns how many rows it
// removed. Call it again after an error: it continues with what is left.
func EraseData(ctx context.Context, table store.Table, subject grants.Subject) (int, error) {
	erased := 0
	for {
		before := erased
		err := eachPage(ctx, table, store.Prefix(dataOwner(subject)), func(rows []store.Row) error {
			for batch := range slices.Chunk(rows, store.MaxDrop) {
				removed, err := table.Drop(ctx, batch)
				erased += removed
				if err != nil {
					return err
				}
			}
			return nil
		})
		// Drop leaves what changed while it was read: look again until nothing is found.
		if err != nil || erased == before {
			return erased, err
		}
	}
}

func eachPage(ctx context.Context, table store.Table, span store.Span, visit func([]store.Row) error) error {
	for cursor := store.Cursor(""); ; {
		page, err := table.List(ctx, span, cursor)
		if err != nil {
			return err
		}
		if err := visit(page.Rows); err != nil {
			return err
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}
