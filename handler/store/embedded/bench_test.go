package embedded_test

import (
	"fmt"
	"testing"

	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// The size of a grant with its sealed upstream tokens.
var benchValue = make([]byte, 4<<10)

func BenchmarkInsert(b *testing.B) {
	table := open(b, b.TempDir())
	for i := 0; b.Loop(); i++ {
		storetest.MustInsert(b, table, store.Row{Partition: "p", Key: fmt.Sprint(i), Value: benchValue})
	}
}

func BenchmarkGet(b *testing.B) {
	table := open(b, b.TempDir())
	const rows = 100
	for i := range rows {
		storetest.MustInsert(b, table, store.Row{Partition: "p", Key: fmt.Sprint(i), Value: benchValue})
	}
	for i := 0; b.Loop(); i++ {
		if _, err := table.Get(b.Context(), "p", fmt.Sprint(i%rows)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplace(b *testing.B) {
	table := open(b, b.TempDir())
	row := store.Row{Partition: "p", Key: "k", Value: benchValue}
	var err error
	row.ETag = storetest.MustInsert(b, table, row)
	for b.Loop() {
		if row.ETag, err = table.Replace(b.Context(), row); err != nil {
			b.Fatal(err)
		}
	}
}
