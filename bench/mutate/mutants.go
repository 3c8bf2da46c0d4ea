//go:build unix

package main

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
)

// mutant is one change to one file: the text between two offsets, and what
// takes its place.
type mutant struct {
	file        string
	line        int
	start, end  int // byte offsets
	replacement string
	// change says what was done; was is the text that it was done to.
	change, was string
}

// apply is the file's text with the change.
func (m mutant) apply(source []byte) []byte {
	return slices.Concat(source[:m.start], []byte(m.replacement), source[m.end:])
}

// opposite are the operators that one is exchanged for.
var opposite = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
}

// mutantsOf are the changes that can be made to a file, in the order of the
// source. It knows the syntax only: some of them do not compile.
func mutantsOf(name string, source []byte) ([]mutant, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := finder{files: files, name: name, source: source}
	f.in(file, nil)
	slices.SortStableFunc(f.found, func(a, b mutant) int { return cmp.Compare(a.start, b.start) })
	return f.found, nil
}

type finder struct {
	files  *token.FileSet
	name   string
	source []byte
	found  []mutant
}

func (f *finder) offset(p token.Pos) int { return f.files.Position(p).Offset }

func (f *finder) add(change string, from, to token.Pos, replacement string) {
	start, end := f.offset(from), f.offset(to)
	f.found = append(f.found, mutant{
		file: f.name, line: f.files.Position(from).Line, start: start, end: end,
		replacement: replacement, change: change, was: string(f.source[start:end]),
	})
}

// in finds the changes below root, which is part of a function of type
// function, or of none.
func (f *finder) in(root ast.Node, function *ast.FuncType) {
	ast.Inspect(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Body != nil {
				f.in(n.Body, n.Type)
			}
			return false
		case *ast.FuncLit:
			f.in(n.Body, n.Type)
			return false
		case *ast.IfStmt:
			f.add("condition negated", n.Cond.Pos(), n.Cond.End(), "!("+f.text(n.Cond)+")")
			if len(n.Body.List) > 0 {
				f.add("body of the if dropped", n.Body.Pos(), n.Body.End(), "{}")
			}
		case *ast.BinaryExpr:
			if other, ok := opposite[n.Op]; ok {
				f.add("operator exchanged for "+other.String(), n.Pos(), n.End(), f.text(n.X)+" "+other.String()+" "+f.text(n.Y))
			}
		case *ast.ReturnStmt:
			f.result(n, function)
		case *ast.ExprStmt:
			if _, ok := n.X.(*ast.CallExpr); ok {
				f.add("call deleted", n.Pos(), n.End(), "")
			}
		case *ast.DeferStmt:
			f.add("defer deleted", n.Pos(), n.End(), "")
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				f.add("assignment deleted", n.Pos(), n.End(), "")
			}
		}
		return true
	})
}

// result changes the last result of a function: an error to nil, a constant
// truth value to the other.
func (f *finder) result(n *ast.ReturnStmt, function *ast.FuncType) {
	if len(n.Results) == 0 || function == nil || function.Results == nil {
		return
	}
	last := n.Results[len(n.Results)-1]
	name := ""
	if id, ok := last.(*ast.Ident); ok {
		name = id.Name
	}
	kind, _ := function.Results.List[len(function.Results.List)-1].Type.(*ast.Ident)
	switch {
	case name == "true":
		f.add("other truth value returned", last.Pos(), last.End(), "false")
	case name == "false":
		f.add("other truth value returned", last.Pos(), last.End(), "true")
	// The one result of a function with several is a call that makes them all.
	case kind != nil && kind.Name == "error" && name != "nil" && len(n.Results) == function.Results.NumFields():
		f.add("error returned as nil", last.Pos(), last.End(), "nil")
	}
}

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.offset(n.Pos()):f.offset(n.End())])
}
