package e2e

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"entramcp/dev/funchost"
	"entramcp/e2e/stack"
)

// TestThePackageIsOneStaticBinaryAndHostJSON: what azd would deploy. That the
// binary needs no other file, the hosted tests prove: there is none beside it.
func TestThePackageIsOneStaticBinaryAndHostJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "package.zip")
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		var err error
		if path, err = stack.Package(); err != nil {
			t.Fatal(err)
		}
	} else if err := funchost.Build(t.Context(), "..", "linux", "amd64", path); err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if len(z.File) != 2 || z.File[0].Name != "app" || z.File[1].Name != "host.json" || z.File[0].Mode().Perm() != 0o755 {
		t.Fatalf("the package holds %v, %v", z.File[0].FileHeader, z.File[1:])
	}
	app, hostJSON := content(t, z.File[0]), content(t, z.File[1])
	if want, err := os.ReadFile("../host.json"); err != nil || !bytes.Equal(hostJSON, want) {
		t.Errorf("another host.json: %v", err)
	}
	binary, err := elf.NewFile(bytes.NewReader(app))
	if err != nil {
		t.Fatal(err)
	}
	libraries, err := binary.ImportedLibraries()
	if err != nil || len(libraries) > 0 || binary.Machine != elf.EM_X86_64 {
		t.Errorf("it needs %v on %v, %v", libraries, binary.Machine, err)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it needs a dynamic loader")
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(app))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if settings["CGO_ENABLED"] != "0" || settings["GOOS"] != "linux" || settings["GOARCH"] != "amd64" || settings["-race"] == "true" {
		t.Errorf("built with %v", settings)
	}
	// What is downloaded at every cold start that finds no cache.
	stat, err := os.Stat(path)
	if err != nil || stat.Size() > 20<<20 {
		t.Errorf("the package has %d MiB, %v", stat.Size()>>20, err)
	}
	t.Logf("binary %.1f MiB, package %.1f MiB", float64(len(app))/(1<<20), float64(stat.Size())/(1<<20))
}

func content(t *testing.T, f *zip.File) []byte {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
