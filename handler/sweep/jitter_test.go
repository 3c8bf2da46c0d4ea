package sweep

import (
	"bytes"
	"errors"
	"testing"
	"testing/iotest"
	"time"
)

func TestWaitsAreJittered(t *testing.T) {
	for random, want := range map[string]time.Duration{
		"\x00\x00": 80 * time.Second,
		"\x80\x00": 100 * time.Second,
		"\xff\xff": 120 * time.Second,
	} {
		s := New(Options{Rand: bytes.NewReader([]byte(random))})
		if got := s.jittered(100 * time.Second); got.Round(time.Second) != want {
			t.Errorf("%x: %v, want %v", random, got, want)
		}
	}
	s := New(Options{Rand: iotest.ErrReader(errors.New("no randomness"))})
	if got := s.jittered(time.Minute); got != time.Minute {
		t.Errorf("without randomness: %v", got)
	}
}
