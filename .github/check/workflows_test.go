// Package workflows checks the workflows, which nothing else runs before they
// are on the repository's main branch.
package workflows

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

func TestWorkflowsAreValid(t *testing.T) {
	files, err := filepath.Glob("../workflows/*.yml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		problems, err := linter.LintFile(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Error(p.Error())
		}
	}
}

// TestActionsArePinned: a tag can be moved to other code, a commit cannot.
func TestActionsArePinned(t *testing.T) {
	files, err := filepath.Glob("../workflows/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	uses := regexp.MustCompile(`uses:\s*(\S+)(.*)`)
	pinned := regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)
	version := regexp.MustCompile(`^ # v\d+\.\d+\.\d+$`)
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "\npermissions:\n") {
			t.Errorf("%s takes the repository's default permissions", file)
		}
		if strings.Contains(string(text), "secrets.") {
			t.Errorf("%s uses a secret", file)
		}
		for _, m := range uses.FindAllStringSubmatch(string(text), -1) {
			found++
			if !pinned.MatchString(m[1]) || !version.MatchString(m[2]) {
				t.Errorf("%s: %s%s", file, m[1], m[2])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d actions", found)
	}
}
