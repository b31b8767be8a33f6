package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// later matches the marks of work put off.
var later = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

// badComments returns comments that put work off and comments that are code.
func badComments(f *source) (problems []string) {
	lineHasCode := codeLines(f)
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			if mark := later.FindString(c.Text); mark != "" {
				problems = append(problems, fmt.Sprintf("%s: %s: do it or open an issue", f.at(c.Pos()), mark))
			}
			if lineHasCode[f.fset.Position(c.Pos()).Line] {
				continue // a remark on the code beside it may well quote code
			}
			if line := commentedCode(c.Text); line != "" {
				problems = append(problems, fmt.Sprintf("%s: commented-out code: %s", f.at(c.Pos()), line))
			}
		}
	}
	return problems
}

func codeLines(f *source) map[int]bool {
	lines := map[int]bool{}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n.(type) {
		case nil, *ast.Comment, *ast.CommentGroup, *ast.File:
			return n != nil
		}
		lines[f.fset.Position(n.Pos()).Line] = true
		lines[f.fset.Position(n.End()).Line] = true
		return true
	})
	return lines
}

// commentedCode returns the first line of a comment that is code. Examples in documentation are
// indented and directives have no space behind the slashes; neither counts.
func commentedCode(comment string) string {
	block := strings.HasPrefix(comment, "/*")
	text := strings.TrimSuffix(strings.TrimPrefix(comment, "/*"), "*/")
	for line := range strings.Lines(text) {
		if !block {
			rest, ok := strings.CutPrefix(line, "// ")
			if !ok || strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t") {
				continue
			}
			line = rest
		}
		if line = strings.TrimSpace(line); looksLikeCode.MatchString(line) && parses(line) {
			return line
		}
	}
	return ""
}

// looksLikeCode picks lines that a sentence would hardly form: an assignment with :=, an opened
// or closed block, a call, a return of something, a declaration.
var looksLikeCode = regexp.MustCompile(`:=|^(if|for|switch|select|func|go|defer)\b.*[{)]$|^[})]+[,;]?$|^[\w.]+\(.*\);?$|^return\b.+[\w)]$|^(var|const|type)\s+\w+\s|^import\s|^case\s.+:$`)

// parses reports whether a line is part of a Go function, with blocks closed for it.
func parses(line string) bool {
	switch {
	case strings.Trim(line, "}),;") == "":
		return true
	case strings.HasPrefix(line, "import "):
		_, err := parser.ParseFile(token.NewFileSet(), "", "package x\n"+line, 0)
		return err == nil
	case strings.HasPrefix(line, "case "):
		line = "switch {\n" + line + "\n}"
	case strings.HasSuffix(line, "{"):
		line += "\n}"
	}
	for _, body := range []string{"func _() {\n" + line + "\n}", line} {
		if _, err := parser.ParseFile(token.NewFileSet(), "", "package x\n"+body, 0); err == nil {
			return true
		}
	}
	return false
}

func TestComments(t *testing.T) {
	for _, f := range repository(t) {
		report(t, badComments(f))
	}
}

func TestCommentRules(t *testing.T) {
	for comment, bad := range map[string]bool{
		"// TO" + "DO: later":                             true,
		"// see FIX" + "ME":                               true,
		"// MANIFEST-XX" + "XXXX is a name":               false,
		"// n := len(b)":                                  true,
		"// if err != nil {":                              true,
		"// }":                                            true,
		"// return nil, err":                              true,
		"// return to the caller":                         false,
		"// fmt.Println(x)":                               true,
		"// log.Append(rec); log.Sync()":                  true,
		"// defer f.Close()":                              true,
		"// for _, x := range xs {":                       true,
		"// var x int":                                    true,
		"// var is a keyword":                             false,
		"// type of the block":                            false,
		"// func f(x int) error {":                        true,
		"// case x == 1:":                                 true,
		"//\tn := len(b)":                                 false,
		"//   n := len(b)":                                false,
		"//go:build linux":                                false,
		"// Sync (see above)":                             false,
		"// import cycles are bad":                        false,
		"// nil = nobody":                                 false,
		"/* x := 1 */":                                    true,
		"// The caller holds mu.":                         false,
		"// if it is gone, so is the file (and its name)": false,
	} {
		f, err := parse("x/x.go", []byte("package x\n\n"+comment+"\n\nvar y int\n"))
		require.NoError(t, err)
		require.Equal(t, bad, len(badComments(f)) > 0, comment)
	}
	f, err := parse("x/x.go", []byte("package x\n\nvar y = g() // g(x)\n"))
	require.NoError(t, err)
	require.Empty(t, badComments(f))
}
