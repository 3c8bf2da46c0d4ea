// Rename makes a clone a module of its own: it changes the module path in go.mod and
// wherever Go files name a package of it. Other texts with the old name, such as what
// keys are derived for, stay as they are: what is stored depends on them. Run again
// after an upgrade was merged, it renames what the upgrade brought.
//
//	rename MODULE
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: make rename MODULE=example.com/you/name")
		os.Exit(64)
	}
	changed, err := rename(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("The module is %s now: %d files changed.\n", os.Args[1], changed)
}

// original is the module path that upgrades come with.
const original = "entramcp"

var (
	moduleLine = regexp.MustCompile(`(?m)^module (\S+)$`)
	modulePath = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(/[A-Za-z0-9][A-Za-z0-9._~-]*)*$`)
)

// rename returns how many files it changed. Run again, it finishes what was broken off:
// go.mod comes last.
func rename(root, to string) (changed int, err error) {
	if !modulePath.MatchString(to) {
		return 0, fmt.Errorf("%q is not a module path: write one such as example.com/you/name", to)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return 0, err
	}
	line := moduleLine.FindSubmatch(mod)
	if line == nil {
		return 0, fmt.Errorf("go.mod names no module")
	}
	from := string(line[1])
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || isModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		was, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		is, err := renamed(root, was, []string{from, original}, to)
		if err != nil || bytes.Equal(was, is) {
			return err
		}
		changed++
		return os.WriteFile(path, is, d.Type().Perm()|0o644)
	})
	if err != nil {
		return changed, err
	}
	mod = moduleLine.ReplaceAll(mod, []byte("module "+to))
	return changed + 1, os.WriteFile(filepath.Join(root, "go.mod"), mod, 0o644)
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// renamed changes the string literals of a file that name a package of the module, by
// any of the paths in from.
func renamed(root string, source []byte, from []string, to string) ([]byte, error) {
	var s scanner.Scanner
	files := token.NewFileSet()
	file := files.AddFile("", files.Base(), len(source))
	s.Init(file, source, nil, 0)
	var out bytes.Buffer
	done := 0
	for {
		pos, kind, literal := s.Scan()
		if kind == token.EOF {
			break
		}
		if kind != token.STRING {
			continue
		}
		text, err := strconv.Unquote(literal)
		if err != nil {
			continue
		}
		rest, ok := packageOf(root, text, from)
		if !ok {
			continue
		}
		at := file.Offset(pos)
		out.Write(source[done:at])
		out.WriteString(strconv.Quote(to + "/" + rest))
		done = at + len(literal)
	}
	if done == 0 {
		return source, nil
	}
	out.Write(source[done:])
	return format.Source(out.Bytes())
}

// packageOf returns the directory of the package that text names by one of the module
// paths.
func packageOf(root, text string, modules []string) (string, bool) {
	for _, module := range modules {
		if rest, ok := strings.CutPrefix(text, module+"/"); ok && isDir(filepath.Join(root, rest)) {
			return rest, true
		}
	}
	return "", false
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
