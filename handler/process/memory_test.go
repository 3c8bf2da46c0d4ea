package process

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheHeapIsBoundedByTheMemoryThereIs(t *testing.T) {
	const meminfo = "MemTotal:        4194304 kB\nMemFree:          123456 kB\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"the control group's limit":         {map[string]string{"/sys/fs/cgroup/memory.max": "536870912\n", "/proc/meminfo": meminfo}, 128 << 20},
		"no limit of the control group":     {map[string]string{"/sys/fs/cgroup/memory.max": "max\n", "/proc/meminfo": meminfo}, 1 << 30},
		"a limit beyond the computer's":     {map[string]string{"/sys/fs/cgroup/memory.max": "99999999999999\n", "/proc/meminfo": meminfo}, 1 << 30},
		"no control group":                  {map[string]string{"/proc/meminfo": meminfo}, 1 << 30},
		"neither":                           {nil, math.MaxInt64},
		"a file without what is looked for": {map[string]string{"/proc/meminfo": "MemFree: 1 kB"}, math.MaxInt64},
	} {
		read := func(path string) ([]byte, error) {
			if text, ok := tt.files[path]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		}
		if got := memoryLimit(read); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// TestASmallHeapIsNotCollectedAllTheTime, and the memory that is kept for that is not
// taken.
func TestASmallHeapIsNotCollectedAllTheTime(t *testing.T) {
	defer func(percent int, limit int64) {
		ballast = nil
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}(debug.SetGCPercent(-1), debug.SetMemoryLimit(-1))
	for name, tt := range map[string]struct {
		env   map[string]string
		least uint64
	}{
		"settings that ship": {nil, ballastSize * (100 + gcPercent) / 100},
		"GOGC of their own":  {map[string]string{"GOGC": "100", "GOMEMLIMIT": "off"}, 0},
	} {
		ballast = nil
		debug.SetGCPercent(100)
		tuneCollector(func(name string) string { return tt.env[name] })
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.NextGC < tt.least || tt.least == 0 && len(ballast) > 0 {
			t.Errorf("%s: the next collection is at %d bytes, with %d of ballast", name, m.NextGC, len(ballast))
		}
	}
}
