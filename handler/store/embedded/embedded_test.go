package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
	"entramcp/handler/store/storetest"
)

// writerDir makes this test binary a process that writes rows until killed.
const writerDir = "EMBEDDED_TEST_WRITER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		os.Exit(writeUntilKilled(dir))
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dir string) int {
	table, err := embedded.Open(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := 0; ; i++ {
		row := store.Row{Partition: "p", Key: fmt.Sprint(i), Value: fmt.Append(nil, "value ", i)}
		if _, err := table.Insert(context.Background(), row); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(i)
	}
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Table { return storetest.Embedded(t) })
}

// As in Azure Table Storage, a page of large rows ends at 4 MiB: a reader holds
// no more than that.
func TestPagesEndAtFourMebibytes(t *testing.T) {
	table := storetest.Embedded(t)
	for i := range 70 {
		row := store.Row{Partition: "p", Key: fmt.Sprintf("%03d", i), Value: make([]byte, store.MaxValue), Expires: time.Unix(1, 0)}
		storetest.MustInsert(t, table, row)
	}
	for name, list := range map[string]func(store.Cursor) (store.Page, error){
		"List": func(from store.Cursor) (store.Page, error) {
			return table.List(t.Context(), store.Partition("p"), from)
		},
		"ListExpired": func(from store.Cursor) (store.Page, error) {
			return table.ListExpired(t.Context(), time.Unix(2, 0), from)
		},
	} {
		first, err := list("")
		if err != nil || len(first.Rows) != 63 {
			t.Fatalf("%s: a first page of %d rows, want 63 (%v)", name, len(first.Rows), err)
		}
		second, err := list(first.Next)
		if err != nil || len(second.Rows) != 7 || second.Rows[0].Key != "063" || second.Next != "" {
			t.Errorf("%s: a second page of %d rows, next %q, %v", name, len(second.Rows), second.Next, err)
		}
	}
}

func TestRowsSurviveRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	table := open(t, dir)
	etag := storetest.MustInsert(t, table, store.Row{Partition: "p", Key: "k", Value: []byte("kept")})
	closed(t, table)
	table = open(t, dir)
	row, err := table.Get(t.Context(), "p", "k")
	if err != nil || string(row.Value) != "kept" || row.ETag != etag {
		t.Fatalf("after a restart: %+v, %v", row, err)
	}
	next, err := table.Replace(t.Context(), row)
	if err != nil || next == etag {
		t.Fatalf("replace after a restart: ETag %q, was %q, %v", next, etag, err)
	}
}

func TestAcknowledgedRowsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := killWriterAfter(t, dir, 25)
	table := open(t, dir)
	for i := range acknowledged {
		row, err := table.Get(t.Context(), "p", fmt.Sprint(i))
		if err != nil || string(row.Value) != fmt.Sprint("value ", i) {
			t.Fatalf("row %d of %d acknowledged ones: %q, %v", i, acknowledged, row.Value, err)
		}
	}
	storetest.MustInsert(t, table, store.Row{Partition: "p", Key: "after"})
}

// killWriterAfter runs a writer in its own process, kills it with SIGKILL when
// it has acknowledged n rows, and returns how many it has in the end.
func killWriterAfter(t *testing.T, dir string, n int) int {
	t.Helper()
	writer := exec.CommandContext(t.Context(), os.Args[0])
	writer.Env = append(os.Environ(), writerDir+"="+dir)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	acknowledged := 0
	for lines.Scan() {
		if lines.Text() != fmt.Sprint(acknowledged) {
			t.Fatalf("the writer said %q", lines.Text())
		}
		if acknowledged++; acknowledged == n {
			if err := writer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = writer.Wait()
	if acknowledged < n {
		t.Fatalf("the writer ended after %d rows", acknowledged)
	}
	return acknowledged
}

func TestSecondProcessIsToldTheDirectoryIsInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	second := exec.CommandContext(t.Context(), os.Args[0])
	second.Env = append(os.Environ(), writerDir+"="+dir)
	out, err := second.Output()
	if err == nil || !strings.Contains(string(out), dir) || !strings.Contains(string(out), "in use by another process") {
		t.Errorf("second process said %q, %v", out, err)
	}
	if strings.Count(string(out), "\n") != 1 {
		t.Errorf("more than one line: %q", out)
	}
	if _, err := embedded.Open(dir); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("second Open: %v", err)
	}
}

func TestOnlyTheOwnerCanReadTheData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	table := open(t, dir)
	wantMode(t, dir, 0o700)
	wantMode(t, filepath.Join(dir, "store.db"), 0o600)

	closed(t, table)
	if err := os.Chmod(filepath.Join(dir, "store.db"), 0o666); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	wantMode(t, filepath.Join(dir, "store.db"), 0o600)
}

func TestOpenRefusesWhatIsNoStore(t *testing.T) {
	if _, err := embedded.Open(""); err == nil {
		t.Error("opened without a directory")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a store ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Open(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("opened a file of another kind: %v", err)
	}
	if _, err := embedded.Open(path); err == nil {
		t.Error("opened a file as a directory")
	}
	for _, name := range []string{"rows", "state", "expiry"} { // another program's
		dir := t.TempDir()
		edit(t, dir, func(tx *bbolt.Tx) error { return tx.Cursor().Bucket().Put([]byte(name), []byte("x")) })
		if _, err := embedded.Open(dir); err == nil {
			t.Errorf("opened a file where %s is a value", name)
		}
	}
}

func TestClosedTableFailsWithUnknownOutcome(t *testing.T) {
	table := open(t, t.TempDir())
	closed(t, table)
	_, err := table.Get(t.Context(), "p", "k")
	if err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("get from a closed table: %v", err)
	}
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("mode of %s is %o, want %o", path, got, want)
	}
}

func open(tb testing.TB, dir string) *embedded.Table {
	tb.Helper()
	table, err := embedded.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeQuietly(table) })
	return table
}

func closed(t *testing.T, table *embedded.Table) {
	t.Helper()
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
}

func closeQuietly(c io.Closer) { _ = c.Close() }
