package bench

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// apart leaves the first processor to the servers: it holds this process to the
// second until the benchmark ends, and returns the command that a server is
// started with so that it has the first, and knows of no other.
func apart(b *testing.B) (prefix []string) {
	b.Helper()
	taskset, err := exec.LookPath("taskset")
	if err != nil || runtime.NumCPU() < 2 {
		b.Fatalf("a processor for the server and one for the load need taskset and two of them: %v", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "Cpus_allowed_list:")
	all := strings.Fields(after + " 0")[0]
	hold := func(processors string) {
		if text, err := exec.Command(taskset, "-a", "-c", "-p", processors, strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
			b.Errorf("taskset: %v\n%s", err, text)
		}
	}
	hold("1")
	before := runtime.GOMAXPROCS(1)
	b.Cleanup(func() {
		hold(all)
		runtime.GOMAXPROCS(before)
	})
	return []string{taskset, "-c", "0"}
}
