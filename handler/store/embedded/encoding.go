package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"time"

	"entramcp/handler/store"
)

// A row is stored under partition, NUL, key. NUL sorts before every byte of a key,
// so the order of the file is that of partition, then key.
//
// What is stored there is a format byte, the version (8 bytes), Expires in Unix
// seconds (8 bytes) and the row's value.
const (
	format     = 1
	headerSize = 1 + 8 + 8
	never      = math.MinInt64
)

var errCorrupt = errors.New("embedded: row is not readable")

func address(partition, key string) []byte {
	b := make([]byte, 0, len(partition)+1+len(key))
	b = append(b, partition...)
	b = append(b, 0)
	return append(b, key...)
}

func splitAddress(b []byte) (partition, key string, err error) {
	p, k, ok := bytes.Cut(b, []byte{0})
	if !ok {
		return "", "", errCorrupt
	}
	return string(p), string(k), nil
}

func encode(version uint64, row store.Row) []byte {
	expires := int64(never)
	if !row.Expires.IsZero() {
		expires = row.Expires.Unix()
	}
	b := make([]byte, 0, headerSize+len(row.Value))
	b = append(b, format)
	b = binary.BigEndian.AppendUint64(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	return append(b, row.Value...)
}

// encodedRow is a row as encode writes it. It is valid only inside the transaction
// that has read it.
type encodedRow []byte

// check fails for what no version has written. The other methods need a row that
// passes it.
func (r encodedRow) check() error {
	if len(r) < headerSize || r[0] != format {
		return errCorrupt
	}
	return nil
}

func (r encodedRow) etag() store.ETag { return etagOf(binary.BigEndian.Uint64(r[1:9])) }

func (r encodedRow) expires() time.Time {
	s := int64(binary.BigEndian.Uint64(r[9:17]))
	if s == never {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

func (r encodedRow) row(partition, key string) store.Row {
	return store.Row{
		Partition: partition,
		Key:       key,
		ETag:      r.etag(),
		Expires:   r.expires(),
		Value:     bytes.Clone(r[headerSize:]),
	}
}

func etagOf(version uint64) store.ETag {
	return store.ETag(strconv.FormatUint(version, 16))
}
