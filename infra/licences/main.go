// Command licences prints the licence of every module that is in the deployed
// binary, for distribution with it, and fails where one is not permissive or not
// known.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	modules, err := modules()
	if err == nil {
		err = write(os.Stdout, modules)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type module struct{ Path, Version, Dir string }

// modules are those with a package in the binary, the standard library's among
// them.
func modules() ([]module, error) {
	main, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	out, err := exec.Command("go", "list", "-deps", "-json=Module,Standard", strings.TrimSpace(string(main))).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	env, err := exec.Command("go", "env", "GOROOT", "GOVERSION", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(env)), "\n")
	if len(lines) != 3 {
		return nil, fmt.Errorf("go env: %q", env)
	}
	own := filepath.Dir(lines[2]) + string(filepath.Separator)
	found := []module{{Path: "Go standard library", Version: lines[1], Dir: lines[0]}}
	for packages := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Module *struct {
				module
				Main bool
			}
			Standard bool
		}
		switch err := packages.Decode(&p); {
		case errors.Is(err, io.EOF):
			slices.SortFunc(found[1:], func(a, b module) int { return cmp.Compare(a.Path, b.Path) })
			return found, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		case p.Standard || p.Module == nil || p.Module.Main:
		case strings.HasPrefix(p.Module.Dir, own): // ours, under the repository's licence
		case !slices.Contains(found, p.Module.module):
			found = append(found, p.Module.module)
		}
	}
}

// permissive are the licences that may be in the binary, by words that only
// they have.
var permissive = []struct {
	name string
	text *regexp.Regexp
}{
	{"Apache-2.0", regexp.MustCompile(`Apache License\s+Version 2\.0`)},
	{"MPL-2.0", regexp.MustCompile(`Mozilla Public License,? [Vv]ersion 2\.0`)},
	{"BSD", regexp.MustCompile(`Redistribution and use in source and binary forms, with or without\s+modification, are permitted`)},
	{"MIT", regexp.MustCompile(`Permission is hereby granted, free of charge, to any person obtaining\s+a\s+copy`)},
	{"ISC", regexp.MustCompile(`Permission to use, copy, modify, and(/or)? distribute this software for any\s+purpose`)},
}

func write(w io.Writer, modules []module) error {
	var unknown []string
	for _, m := range modules {
		texts, err := licenceTexts(m)
		if err != nil {
			return err
		}
		name := licence(texts)
		if name == "" {
			unknown = append(unknown, m.Path)
		}
		if _, err := fmt.Fprintf(w, "%s %s (%s)\n\n%s\n\n%s\n\n", m.Path, m.Version, name, strings.TrimSpace(texts), strings.Repeat("-", 72)); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no permissive licence was recognised for %s", strings.Join(unknown, ", "))
	}
	return nil
}

// licence is the name of the licence of a text, or empty.
func licence(text string) string {
	for _, l := range permissive {
		if l.text.MatchString(text) {
			return l.name
		}
	}
	return ""
}

// licenceTexts are the licence and notice files at the root of a module. A
// nested module may leave them to the repository's root, which the module cache
// copies into it only if it has none.
func licenceTexts(m module) (string, error) {
	var texts []string
	for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
		files, err := filepath.Glob(filepath.Join(m.Dir, pattern))
		if err != nil {
			return "", err
		}
		for _, file := range files {
			text, err := os.ReadFile(file) //nolint:gosec // in the module cache
			if err != nil {
				return "", err
			}
			texts = append(texts, strings.TrimSpace(string(text)))
		}
	}
	return strings.Join(texts, "\n\n"), nil
}
