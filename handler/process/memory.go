package process

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent lets the heap grow by one and a half of what is in use, ballast
// included, before it is collected. A tool call leaves a few kilobytes behind and
// nothing that stays: at Go's default, a small heap would be collected so often that
// the collector took half of the time.
const gcPercent = 150

// ballast counts as in use and is never touched, so that it takes none of the
// computer's memory. It is the least that a collection is worth: without it, the
// percentage that lets a small heap grow far enough lets that of many connections,
// which is larger, grow too far.
var ballast []byte

// ballastSize is in bytes.
const ballastSize = 6 << 20

// tuneCollector sets the garbage collector from the memory that there is,
// unless GOGC or GOMEMLIMIT say otherwise: the heap may grow up to a quarter of
// it, and beyond only what is in use. The Functions host takes its share of an
// instance's memory, and the smallest plan has 512 MB.
func tuneCollector(getenv func(string) string) {
	if getenv("GOGC") == "" {
		ballast = make([]byte, ballastSize)
		debug.SetGCPercent(gcPercent)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(os.ReadFile))
	}
}

// memoryLimit is a quarter of the memory that this process may use, in bytes:
// of the control group's limit or of the computer's, whichever is less. Where
// neither can be read no limit is set.
func memoryLimit(read func(string) ([]byte, error)) int64 {
	least := int64(math.MaxInt64)
	if text, err := read("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil { // "max" is no limit
			least = n
		}
	}
	if text, err := read("/proc/meminfo"); err == nil {
		_, after, _ := strings.Cut(string(text), "MemTotal:")
		if fields := strings.Fields(after); len(fields) > 0 {
			if kib, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				least = min(least, kib<<10)
			}
		}
	}
	if least == math.MaxInt64 {
		return least
	}
	return least / 4
}
