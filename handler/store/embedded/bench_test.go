package embedded_test

import (
	"fmt"
	"testing"

	"entramcp/handler/store"
)

// The size of a grant with its sealed upstream tokens.
var benchValue = make([]byte, 4<<10)

func BenchmarkInsert(b *testing.B) {
	table := open(b, b.TempDir())
	for i := 0; b.Loop(); i++ {
		if _, err := table.Insert(b.Context(), store.Row{Partition: "p", Key: fmt.Sprint(i), Value: benchValue}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	table := open(b, b.TempDir())
	const rows = 100
	for i := range rows {
		if _, err := table.Insert(b.Context(), store.Row{Partition: "p", Key: fmt.Sprint(i), Value: benchValue}); err != nil {
			b.Fatal(err)
		}
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
	if row.ETag, err = table.Insert(b.Context(), row); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if row.ETag, err = table.Replace(b.Context(), row); err != nil {
			b.Fatal(err)
		}
	}
}
