package funchost

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// contents is what a package holds: the binary under the name that azd gives
// it, and host.json. Anything more would be deployed by accident.
var contents = []string{"app", "host.json"}

// Build builds the handler of the module in dir as azd does for language go
// (azure-dev: cli/azd/pkg/project/framework_service_go.go) and packs it with
// host.json into the zip file at path. Flags are further ones of go build, for
// tests.
func Build(ctx context.Context, dir, goos, goarch, path string, flags ...string) error {
	scratch, err := os.MkdirTemp("", "funchost-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	app := filepath.Join(scratch, "app")
	build := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-o", app}, flags, []string{"."})...)
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(build.Args, " "), err, out)
	}
	return Pack(path, app, filepath.Join(dir, "host.json"))
}

// Pack writes the zip file at path from a binary and a host.json. Flex mounts
// packages as they are, so the execute permission is in the zip.
func Pack(path, app, hostJSON string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	z := zip.NewWriter(file)
	err = errors.Join(add(z, "app", 0o755, app), add(z, "host.json", 0o644, hostJSON), z.Close(), file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func add(z *zip.Writer, name string, mode os.FileMode, from string) error {
	header := &zip.FileHeader{Name: name, Method: zip.Deflate}
	header.SetMode(mode)
	w, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// unpack puts the package at path, a zip file or a directory, into root.
func unpack(path, root string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		names, err := listDirectory(path)
		if err != nil {
			return err
		}
		if err := exactly(names); err != nil {
			return err
		}
		return os.CopyFS(root, os.DirFS(path))
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	if err := exactly(names); err != nil {
		return err
	}
	for _, f := range z.File {
		if err := extract(f, filepath.Join(root, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

func listDirectory(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		if e.IsDir() {
			if _, err := os.Stat(filepath.Join(path, e.Name(), "function.json")); err == nil {
				names[len(names)-1] += "/function.json"
			}
		}
	}
	return names, nil
}

// exactly reports what is missing from names, or too much.
func exactly(names []string) error {
	for _, name := range names {
		if strings.HasSuffix(name, "/function.json") {
			// HttpWorkerFunctionProvider.GetFunctionMetadataAsync
			return fmt.Errorf("%s: detected both function.json files and custom handler HTTP route configuration", name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, contents) {
		return fmt.Errorf("the package holds %v, not %v", names, contents)
	}
	return nil
}

func extract(f *zip.File, to string) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
