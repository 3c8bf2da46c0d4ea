package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestEveryLicenceInTheBinaryIsPermissive reads the module cache, as a release
// does.
func TestEveryLicenceInTheBinaryIsPermissive(t *testing.T) {
	modules, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) < 20 {
		t.Errorf("only %d modules", len(modules))
	}
	var out bytes.Buffer
	if err := write(&out, modules); err != nil {
		t.Error(err)
	}
	for _, m := range modules {
		if !strings.Contains(out.String(), m.Path+" "+m.Version+" (") {
			t.Errorf("%s is left out", m.Path)
		}
	}
}

func TestOtherLicencesAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := write(&bytes.Buffer{}, []module{{Path: "example.com/none", Dir: dir}}); err == nil || !strings.Contains(err.Error(), "example.com/none") {
		t.Errorf("a module without a licence: %v", err)
	}
	for _, text := range []string{"", "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "Business Source License 1.1", "Redistribution is not permitted."} {
		if name := licence(text); name != "" {
			t.Errorf("%q is taken for %s", text, name)
		}
	}
}
