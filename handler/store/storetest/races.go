package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"entramcp/handler/store"
)

const racers = 32

// race runs all racers at once and returns the error of each.
func race(run func(racer int) error) [racers]error {
	var results [racers]error
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		group.Go(func() {
			<-start
			results[i] = run(i)
		})
	}
	close(start)
	group.Wait()
	return results
}

// winner returns the one racer without an error; all others must have failed
// with one of the given sentinels.
func winner(t *testing.T, results [racers]error, losers ...error) int {
	t.Helper()
	won := -1
	for i, err := range results {
		switch {
		case err == nil && won < 0:
			won = i
		case err == nil:
			t.Errorf("racers %d and %d both won", won, i)
		case !isAny(err, losers):
			t.Errorf("racer %d: %v", i, err)
		}
	}
	if won < 0 {
		t.Fatal("no racer won")
	}
	return won
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func testRacingInserts(t *testing.T, table store.Table) {
	for round := range 3 {
		key := fmt.Sprint(round)
		var etags [racers]store.ETag
		won := winner(t, race(func(i int) (err error) {
			etags[i], err = table.Insert(t.Context(), store.Row{Partition: "p", Key: key, Value: []byte{byte(i)}})
			return err
		}), store.ErrExists)
		wantSame(t, MustGet(t, table, "p", key), store.Row{Partition: "p", Key: key, Value: []byte{byte(won)}, ETag: etags[won]})
	}
}

func testRacingReplaces(t *testing.T, table store.Table) {
	etag := MustInsert(t, table, store.Row{Partition: "p", Key: "k"})
	for range 3 {
		var etags [racers]store.ETag
		won := winner(t, race(func(i int) (err error) {
			etags[i], err = table.Replace(t.Context(), store.Row{Partition: "p", Key: "k", ETag: etag, Value: []byte{byte(i)}})
			return err
		}), store.ErrConflict)
		etag = etags[won]
		wantSame(t, MustGet(t, table, "p", "k"), store.Row{Partition: "p", Key: "k", Value: []byte{byte(won)}, ETag: etag})
	}
}

func testRacingDeletes(t *testing.T, table store.Table) {
	for range 3 {
		etag := MustInsert(t, table, store.Row{Partition: "p", Key: "k"})
		winner(t, race(func(int) error {
			return table.Delete(t.Context(), "p", "k", etag)
		}), store.ErrNotFound)
		wantGone(t, table, "p", "k")
	}
}

func testRacingReplacesAndDeletes(t *testing.T, table store.Table) {
	for round := range 6 {
		key := fmt.Sprint(round)
		etag := MustInsert(t, table, store.Row{Partition: "p", Key: key})
		won := winner(t, race(func(i int) error {
			if i%2 == 0 {
				return table.Delete(t.Context(), "p", key, etag)
			}
			_, err := table.Replace(t.Context(), store.Row{Partition: "p", Key: key, ETag: etag, Value: []byte{byte(i)}})
			return err
		}), store.ErrConflict, store.ErrNotFound)
		if won%2 == 0 {
			wantGone(t, table, "p", key)
		} else if row := MustGet(t, table, "p", key); len(row.Value) != 1 || row.Value[0] != byte(won) {
			t.Errorf("racer %d won, the row holds %v", won, row.Value)
		}
	}
}

// No increment is lost, and every Get sees the writes that returned before it.
func testRacingIncrements(t *testing.T, table store.Table) {
	const workers, each = 8, 5
	MustInsert(t, table, store.Row{Partition: "p", Key: "k", Value: make([]byte, 8)})
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			seen := uint64(0)
			for done := 0; done < each; {
				row, err := table.Get(t.Context(), "p", "k")
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				n := binary.BigEndian.Uint64(row.Value)
				if n < seen {
					t.Errorf("read %d after having written %d", n, seen)
				}
				row.Value = binary.BigEndian.AppendUint64(nil, n+1)
				switch _, err = table.Replace(t.Context(), row); {
				case err == nil:
					seen = n + 1
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("replace: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	if n := binary.BigEndian.Uint64(MustGet(t, table, "p", "k").Value); n != workers*each {
		t.Errorf("%d increments counted, %d were made", n, workers*each)
	}
}
