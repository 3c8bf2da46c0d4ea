package storetest_test

import (
	"errors"
	"reflect"
	"testing"

	"entramcp/handler/store"
	"entramcp/handler/store/storetest"
)

// TestEveryOperationIsCountedAndCanFail: an operation that is added to the seam
// must not pass the figures by.
func TestEveryOperationIsCountedAndCanFail(t *testing.T) {
	table := storetest.Instrument(storetest.Embedded(t))
	seam, own := reflect.TypeFor[store.Table](), reflect.TypeFor[*storetest.Instrumented]()
	before, after := errors.New("before"), errors.New("after")
	for method := range seam.Methods() {
		if method.Name == "Close" {
			continue
		}
		op := storetest.Op(method.Name)
		call := func() error {
			method, _ := own.MethodByName(string(op))
			args := []reflect.Value{reflect.ValueOf(table), reflect.ValueOf(t.Context())}
			for n := 2; n < method.Type.NumIn(); n++ {
				args = append(args, reflect.Zero(method.Type.In(n)))
			}
			results := method.Func.Call(args)
			err, _ := reflect.TypeAssert[error](results[len(results)-1])
			return err
		}
		table.After(storetest.Fail(after, op))
		if err := call(); !errors.Is(err, after) {
			t.Errorf("%s with its answer lost: %v", op, err)
		}
		table.Before(storetest.Fail(before, op))
		if err := call(); !errors.Is(err, before) {
			t.Errorf("%s cut off: %v", op, err)
		}
		table.Repair()
		if err := call(); errors.Is(err, before) || errors.Is(err, after) {
			t.Errorf("%s repaired: %v", op, err)
		}
		if n := table.Count(op); n != 3 {
			t.Errorf("%s is counted %d times of 3", op, n)
		}
	}
}

func TestALostAnswerIsOfAnOperationThatHappened(t *testing.T) {
	table := storetest.Instrument(storetest.Embedded(t))
	lost := errors.New("lost")
	table.After(storetest.Fail(lost, storetest.Insert))
	if _, err := table.Insert(t.Context(), store.Row{Partition: "p", Key: "k"}); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	table.Before(storetest.Fail(lost, storetest.Delete))
	if err := table.Delete(t.Context(), "p", "k", "x"); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if _, err := table.Get(t.Context(), "p", "k"); err != nil {
		t.Error(err)
	}
}
