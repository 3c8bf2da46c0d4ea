package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entramcp/e2e/stack"
	"entramcp/handler/grants"
	"entramcp/handler/store"
	"entramcp/handler/store/embedded"
)

// memoryLimit holds a process to so much memory, its share of the page cache
// included, as a container does. It needs root and version 1 of Linux's control
// groups.
func memoryLimit(b *testing.B, pid, mebibytes int) {
	b.Helper()
	dir := filepath.Join("/sys/fs/cgroup/memory", "bench-"+strconv.Itoa(pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Skipf("no control group can be made: %v", err)
	}
	b.Cleanup(func() { _ = os.Remove(dir) })
	for _, set := range [][2]string{{"memory.limit_in_bytes", strconv.Itoa(mebibytes << 20)}, {"cgroup.procs", strconv.Itoa(pid)}} {
		if err := os.WriteFile(filepath.Join(dir, set[0]), []byte(set[1]), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLargeFile is what requests and memory are beside a file of four
// gigabytes, without a limit and with one of 256 MiB.
func BenchmarkLargeFile(b *testing.B) {
	const rowsOf, size = 16 << 10, 4 << 30
	t, authority := startTenant(b)
	program, dir := binary(b, "..", "./bench/own"), b.TempDir()
	env := map[string]string{
		"ENTRA_AUTHORITY": authority, "ENTRA_TENANT_ID": stack.TenantID, "ENTRA_CLIENT_SECRET": stack.ClientSecret,
		"LOG_LEVEL": "warn", "DATA_DIR": dir, "REFRESH_GRACE": "1s", "TRUSTED_PROXIES": "127.0.0.0/8,::1/128", "SWEEP_INTERVAL": "24h",
	}
	stop := func(s server) {
		process, err := os.FindProcess(s.pid)
		if err == nil {
			err = process.Kill()
		}
		if err == nil {
			_, err = process.Wait()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	fmt.Print("| file | memory | sign-in p50, p99 | refresh p50, p99 | own MiB | file MiB in RAM |\n|---|---|---:|---:|---:|---:|\n")
	runs := 0
	run := func(file, limit string, mebibytes int) {
		runs++
		env["ENTRA_CLIENT_ID"] = fmt.Sprintf("44444444-4444-4444-8444-%012d", runs)
		s := start(b, "this server", program, nil, env, "/readyz")
		register(b, t, env["ENTRA_CLIENT_ID"], s)
		if mebibytes > 0 {
			memoryLimit(b, s.pid, mebibytes)
		}
		var signIns, refreshes []time.Duration
		for range 40 {
			c, err := newClient(s)
			from := time.Now()
			if err == nil {
				err = c.signIn(nil)
			}
			signIns = append(signIns, time.Since(from))
			from = time.Now()
			if err == nil {
				err = c.renew()
			}
			refreshes = append(refreshes, time.Since(from))
			if err != nil {
				b.Fatalf("%s, %s: %v", file, limit, err)
			}
		}
		slices.Sort(signIns)
		slices.Sort(refreshes)
		fmt.Printf("| %s | %s | %.1f, %.1f ms | %.1f, %.1f ms | %.0f | %.0f |\n", file, limit,
			ms(at(signIns, .5)), ms(at(signIns, .99)), ms(at(refreshes, .5)), ms(at(refreshes, .99)), memory(s.pid, "RssAnon"), memory(s.pid, "RssFile"))
		stop(s)
	}
	run("empty", "no limit", 0)

	table, err := embedded.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	page, err := table.List(b.Context(), store.Prefix(grants.GrantPrefix), "")
	if err != nil || len(page.Rows) == 0 {
		b.Fatal("no grant: ", err)
	}
	if err := table.Close(); err != nil {
		b.Fatal(err)
	}
	model := page.Rows[0]
	model.Value = append(slices.Clone(model.Value), strings.Repeat(" ", rowsOf-len(model.Value))...)
	err = writeFile(filepath.Join(dir, embedded.FileName), func(yield func(store.Row) bool) {
		const n = size / rowsOf
		for i := range n {
			row := model
			row.Partition, row.Key = grants.GrantPrefix+spread16(i, n)+randomText(48), randomText(16)
			if !yield(row) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, embedded.FileName))
	if err != nil {
		b.Fatal(err)
	}
	file := fmt.Sprintf("%.1f GiB", float64(info.Size())/(1<<30))
	run(file, "no limit", 0)
	run(file, "256 MiB", 256)
	b.ReportMetric(0, "ns/op")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
