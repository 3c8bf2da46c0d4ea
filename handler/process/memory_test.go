package process

import (
	"math"
	"os"
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
