package azuretable_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entramcp/handler/store"
	"entramcp/handler/store/azuretable"
	"entramcp/handler/store/storetest"
)

// wantUnknown checks for an error that tells neither success nor failure.
func wantUnknown(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
	}
	for _, sentinel := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrInvalid} {
		if errors.Is(err, sentinel) {
			t.Errorf("%s: %v, though the outcome is unknown", what, err)
		}
	}
}

// writes are all writing methods, each on a row that is there or on one more.
var writes = map[string]struct {
	do   func(ctx context.Context, table store.Table, row, other store.Row) error
	done func(row store.Row, err error) bool
}{
	"insert": {
		do: func(ctx context.Context, table store.Table, _, _ store.Row) error {
			_, err := table.Insert(ctx, store.Row{Partition: "p", Key: "new", Value: []byte("new")})
			return err
		},
		done: func(row store.Row, _ error) bool { return string(row.Value) == "new" },
	},
	"replace": {
		do: func(ctx context.Context, table store.Table, row, _ store.Row) error {
			row.Value = []byte("new")
			_, err := table.Replace(ctx, row)
			return err
		},
		done: func(row store.Row, _ error) bool { return string(row.Value) == "new" },
	},
	"delete": {
		do: func(ctx context.Context, table store.Table, row, _ store.Row) error {
			return table.Delete(ctx, row.Partition, row.Key, row.ETag)
		},
		done: func(_ store.Row, err error) bool { return errors.Is(err, store.ErrNotFound) },
	},
	"drop several": {
		do: func(ctx context.Context, table store.Table, row, other store.Row) error {
			_, err := table.Drop(ctx, []store.Row{row, other})
			return err
		},
		done: func(_ store.Row, err error) bool { return errors.Is(err, store.ErrNotFound) },
	},
	"drop": {
		do: func(ctx context.Context, table store.Table, row, _ store.Row) error {
			_, err := table.Drop(ctx, []store.Row{row})
			return err
		},
		done: func(_ store.Row, err error) bool { return errors.Is(err, store.ErrNotFound) },
	},
}

func TestWriteWithLostAnswerIsUnknownAndNotRetried(t *testing.T) {
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t)
			table := p.open(t, freshName(), time.Minute)
			row := store.Row{Partition: "p", Key: "old", Value: []byte("old")}
			row.ETag = storetest.MustInsert(t, table, row)
			other := store.Row{Partition: "p", Key: "other"}
			other.ETag = storetest.MustInsert(t, table, other)
			attempts := p.during(loseAnswer, func() { wantUnknown(t, name, write.do(t.Context(), table, row, other)) })
			if attempts != 1 {
				t.Errorf("%d attempts", attempts)
			}
			key := row.Key
			if name == "insert" {
				key = "new"
			}
			if !write.done(table.Get(t.Context(), "p", key)) {
				t.Error("the proxy did not let the write happen: this test proves nothing")
			}
		})
	}
}

func TestRefusedWriteIsNotRetried(t *testing.T) {
	for _, status := range []int{408, 429, 500, 502, 503, 504} {
		for name, write := range writes {
			p := newProxy(t)
			table := p.open(t, freshName(), time.Minute)
			attempts := p.during(answer(status, "Retry-After", "0"), func() {
				wantUnknown(t, name, write.do(t.Context(), table, absent("k"), absent("l")))
			})
			if attempts != 1 {
				t.Errorf("%s after a status of %d: %d attempts", name, status, attempts)
			}
		}
	}
}

func TestWriteThatMeetsABusyServiceIsRepeatedOnce(t *testing.T) {
	busy := answer(503, "x-ms-error-code", "ServerBusy")
	for name, write := range writes {
		if strings.HasPrefix(name, "drop") {
			continue // for sweeps, which come again
		}
		t.Run(name, func(t *testing.T) {
			p := newProxy(t)
			table := p.open(t, freshName(), time.Minute)
			prepare := func(key string) (row, other store.Row) {
				row, other = store.Row{Partition: "p", Key: key, Value: []byte("old")}, store.Row{Partition: "p", Key: "other-" + key}
				for _, r := range []*store.Row{&row, &other} {
					r.ETag = storetest.MustInsert(t, table, *r)
				}
				return row, other
			}
			row, other := prepare("old")
			var n atomic.Int32
			attempts := p.during(func(w http.ResponseWriter, forward func() *http.Response) {
				if n.Add(1) == 1 {
					busy(w, forward)
					return
				}
				pass(w, forward())
			}, func() {
				if err := write.do(t.Context(), table, row, other); err != nil {
					t.Errorf("busy for a moment: %v", err)
				}
			})
			if attempts != 2 {
				t.Errorf("%d attempts", attempts)
			}
			for key, f := range map[string]fault{
				"busy-for-longer": busy,
				"did-it-all-the-same": func(w http.ResponseWriter, forward func() *http.Response) {
					if n.Add(1)%2 == 0 {
						_ = forward().Body.Close()
						busy(w, forward)
						return
					}
					pass(w, forward())
				},
			} {
				if name == "insert" { // it is always of the row "new"
					current, err := table.Get(t.Context(), "p", "new")
					if err == nil {
						err = table.Delete(t.Context(), "p", "new", current.ETag)
					}
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						t.Fatal(err)
					}
				}
				row, other := prepare(key)
				n.Store(1)
				if attempts := p.during(f, func() { wantUnknown(t, key, write.do(t.Context(), table, row, other)) }); attempts != 2 {
					t.Errorf("%s: %d attempts", key, attempts)
				}
			}
			if attempts := p.during(answer(503, "x-ms-error-code", "ServerBusy", "Retry-After", "30"), func() {
				wantUnknown(t, name, write.do(t.Context(), table, absent("k"), absent("l")))
			}); attempts != 1 {
				t.Errorf("%d attempts at a service that asks for half a minute", attempts)
			}
		})
	}
}

func TestReadIsRetriedTwice(t *testing.T) {
	p := newProxy(t)
	table := p.open(t, freshName(), time.Minute)
	storetest.MustInsert(t, table, store.Row{Partition: "p", Key: "k", Value: []byte("v")})
	for name, read := range map[string]func() error{
		"get":  func() error { _, err := table.Get(t.Context(), "p", "k"); return err },
		"list": func() error { _, err := table.List(t.Context(), store.Partition("p"), ""); return err },
	} {
		if attempts := p.during(answer(503), func() { wantUnknown(t, name, read()) }); attempts != 3 {
			t.Errorf("%s: %d attempts", name, attempts)
		}
		if attempts := p.during(answer(503, "Retry-After", "3600"), func() { wantUnknown(t, name, read()) }); attempts != 1 {
			t.Errorf("%s: %d attempts at a service that asks for an hour", name, attempts)
		}
		var n atomic.Int32
		p.during(func(w http.ResponseWriter, forward func() *http.Response) {
			if n.Add(1) <= 2 {
				loseAnswer(w, forward)
			}
			pass(w, forward())
		}, func() {
			if err := read(); err != nil {
				t.Errorf("%s after two lost answers: %v", name, err)
			}
		})
	}
}

func TestAttemptIsBoundedInTime(t *testing.T) {
	p := newProxy(t)
	table := p.open(t, freshName(), 100*time.Millisecond)
	release := make(chan struct{})
	hang := func(http.ResponseWriter, func() *http.Response) { <-release }
	defer close(release)
	began := time.Now()
	p.during(hang, func() {
		_, err := table.Get(t.Context(), "p", "k")
		wantUnknown(t, "get", err)
		_, err = table.Insert(t.Context(), store.Row{Partition: "p", Key: "k"})
		wantUnknown(t, "insert", err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("insert: %v", err)
		}
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// Only the service knows whether a row is there, and it says so with a code.
func TestStatusWithoutItsCodeIsUnknown(t *testing.T) {
	p := newProxy(t)
	table := p.open(t, freshName(), time.Minute)
	for _, answered := range []fault{
		answer(404),
		answer(404, "x-ms-error-code", "TableNotFound"),
		answer(404, "x-ms-error-code", "EntityAlreadyExists"),
		answer(409),
		answer(409, "x-ms-error-code", "TableBeingDeleted"),
		answer(412),
		answer(200),
		answer(204),
		answer(400, "x-ms-error-code", "InvalidInput"),
		answer(403, "x-ms-error-code", "AuthenticationFailed"),
	} {
		p.during(answered, func() {
			row := store.Row{Partition: "p", Key: "k", ETag: `W/"x"`}
			_, err := table.Get(t.Context(), "p", "k")
			wantUnknown(t, "get", err)
			_, err = table.Insert(t.Context(), row)
			wantUnknown(t, "insert", err)
			_, err = table.Replace(t.Context(), row)
			wantUnknown(t, "replace", err)
		})
	}
}

func absent(key string) store.Row { return store.Row{Partition: "p", Key: key, ETag: `W/"x"`} }

func TestMissingTableIsNoMissingRow(t *testing.T) {
	table, err := azuretable.New(azuretable.Options{ConnectionString: connection(storetest.Azurite(t)), Name: freshName()})
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range writes {
		wantUnknown(t, name, write.do(t.Context(), table, absent("k"), absent("l")))
	}
	_, err = table.Get(t.Context(), "p", "k")
	wantUnknown(t, "get", err)
	_, err = table.Drop(t.Context(), []store.Row{absent("k"), absent("l")})
	wantUnknown(t, "drop several", err)
}

func TestErrorsKeepTheSecret(t *testing.T) {
	const key, signature = "c2VjcmV0LWtleQ==", "secret-signature"
	dead := "127.0.0.1:1"
	for _, secret := range []string{
		"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=" + key + ";TableEndpoint=http://" + dead + "/a",
		"AccountName=a.invalid;SharedAccessSignature=sv=2019&sig=" + signature,
		"AccountName=a;AccountKey=not-base64-" + key,
		"AccountKey=" + key,
		"AccountName=a;" + signature,
	} {
		table, err := azuretable.NewImpatient(azuretable.Options{ConnectionString: connection(secret)}, time.Second)
		if err == nil {
			_, err = table.Get(t.Context(), "p", "k")
		}
		if err == nil {
			t.Fatal("no error to look at")
		}
		for _, hidden := range []string{key, signature} {
			if strings.Contains(err.Error(), hidden) {
				t.Errorf("the secret is in %q", err)
			}
		}
	}
}
