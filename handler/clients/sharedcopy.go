package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"entramcp/handler/store"
)

// DocumentPrefix begins the partitions of copies of metadata documents and key
// sets.
const DocumentPrefix = "d-"

// cacheTimeout bounds a read or write of the shared cache, which a fetch can do
// without.
const cacheTimeout = 2 * time.Second

// stored is the newest copy in memory or in the table. The table is only a
// cache here: if it does not answer, the document is fetched.
func (d *documents) stored(ctx context.Context, rawURL string, check func([]byte) error) (document, bool) {
	known, inMemory := d.copies.Peek(rawURL)
	partition, key := d.key(rawURL)
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	row, err := d.table.Get(ctx, partition, key)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) {
			d.log.WarnContext(ctx, "cached client documents cannot be read", "cause", err)
		}
		return known, inMemory
	}
	head, body, _ := bytes.Cut(row.Value, []byte("\n"))
	doc := document{body: body, row: row}
	if json.Unmarshal(head, &doc) != nil || doc.URL != rawURL || check(body) != nil {
		// What a later version wrote, or a stricter policy now refuses, is
		// replaced by the next fetch.
		return document{row: row}, false
	}
	if inMemory && known.Fetched.After(doc.Fetched) {
		return known, true
	}
	return doc, true
}

// store shares a copy. Losing the race to another instance's copy is as good.
func (d *documents) store(ctx context.Context, doc document) store.ETag {
	head, err := json.Marshal(doc)
	if err != nil {
		return ""
	}
	var value bytes.Buffer
	value.Write(head)
	value.WriteByte('\n')
	if json.Compact(&value, doc.body) != nil || value.Len() > store.MaxValue {
		return "" // too long to share; this instance keeps its own copy
	}
	partition, key := d.key(doc.URL)
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	row := store.Row{Partition: partition, Key: key, ETag: doc.row.ETag, Value: value.Bytes(), Expires: expiry(doc.Fresh, staleFor)}
	var etag store.ETag
	if row.ETag == "" {
		etag, err = d.table.Insert(ctx, row)
	} else {
		etag, err = d.table.Replace(ctx, row)
	}
	if err != nil && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		d.log.WarnContext(ctx, "client document not shared with other instances", "url", doc.URL, "cause", err)
	}
	return etag
}

func (d *documents) key(rawURL string) (partition, key string) {
	sum := sha256.Sum256([]byte(d.kind + rawURL))
	key = hex.EncodeToString(sum[:])
	return DocumentPrefix + key[:2], key
}
