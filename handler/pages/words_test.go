package pages_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// wordsElsewhere are the files and packages below handler that say something in
// sentences and are not the place for words on pages. Each has its reason.
var wordsElsewhere = map[string]string{
	"pages/words.go":  "this is the place",
	"pages/plain.go":  "markup around words, for an answer that must cost nothing",
	"home/install.go": "what to do in a client, beside the command that it belongs to",
	"entra/":          "what an error of Entra means, beside its number: the page of a failed sign-in takes them",
	"toolkit/":        "for models and those who chat with them; no page shows it",
	"tools/":          "the catalogue, which is the owner's",
	"clients/":        "error_description of RFC 6749 and RFC 7591, for developers",
	"grants/":         "error_description",
	"oauth/":          "error_description",
	"resource/":       "error_description of RFC 6750",
	"doctor/":         "for operators at a terminal",
	"process/":        "for operators at a terminal",
	"telemetry/":      "descriptions of metrics",
	"metrics.go":      "descriptions of metrics",
	"warnings/":       "for operators, beside what each is about",
}

// describing are functions of package authserver whose text becomes an
// error_description, as that of everything in package oauth does. Pages show it to
// developers alone, folded away; people read the words of a pages.Problem.
var describing = []string{"newPageError", "tooMany"}

// TestWordsForPeopleStandInOnePlace, so that they can be changed and translated:
// no other file of the server holds a sentence, and none holds HTML.
func TestWordsForPeopleStandInOnePlace(t *testing.T) {
	sentence := regexp.MustCompile(`^\s*[A-Z“].*\s\S+\s(?s:.*)[.?!…]\s*$`)
	markup := regexp.MustCompile(`<(p|h1|html|div|span|a|body)[ >]`)
	used := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		described := map[ast.Node]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if !describes(n.Fun) {
					return true
				}
				for _, argument := range n.Args {
					ast.Inspect(argument, func(n ast.Node) bool { described[n] = true; return true })
				}
			case *ast.BasicLit:
				if n.Kind != token.STRING || described[n] {
					return true
				}
				text, err := strconv.Unquote(n.Value)
				if err != nil || !sentence.MatchString(text) && !markup.MatchString(text) {
					return true
				}
				for place := range wordsElsewhere {
					if name == place || strings.HasSuffix(place, "/") && strings.HasPrefix(name, place) {
						used[place] = true
						return true
					}
				}
				t.Errorf("%s: %q belongs in pages/words.go or a template", files.Position(n.Pos()), text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for place := range wordsElsewhere {
		if !used[place] {
			t.Errorf("%s holds no sentence: it is no exception", place)
		}
	}
}

// describes reports whether what is called takes an error_description.
func describes(called ast.Expr) bool {
	switch called := called.(type) {
	case *ast.Ident:
		return slices.Contains(describing, called.Name)
	case *ast.SelectorExpr:
		of, ok := called.X.(*ast.Ident)
		return ok && of.Name == "oauth"
	}
	return false
}
