package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// undocumented returns the exported names without a comment. In a group one comment may do for
// all. Methods of unexported types are their interface's business.
func undocumented(f *source) (problems []string) {
	if f.test {
		return nil
	}
	missing := func(at token.Pos, name string) {
		problems = append(problems, fmt.Sprintf("%s: %s is exported and has no comment", f.at(at), name))
	}
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && receiverExported(d) {
				missing(d.Pos(), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, name := range undocumentedNames(d, spec) {
					missing(name.Pos(), name.Name)
				}
			}
		}
	}
	return problems
}

func undocumentedNames(d *ast.GenDecl, spec ast.Spec) (names []*ast.Ident) {
	var own []*ast.Ident
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Doc == nil && s.Comment == nil && (d.Doc == nil || d.Lparen.IsValid()) {
			own = []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if s.Doc == nil && s.Comment == nil && d.Doc == nil {
			own = s.Names
		}
	}
	for _, name := range own {
		if name.IsExported() {
			names = append(names, name)
		}
	}
	return names
}

func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return true
		}
	}
}

func TestExportedNamesHaveComments(t *testing.T) {
	for _, f := range repository(t) {
		report(t, undocumented(f))
	}
}

func TestPackagesHaveComments(t *testing.T) {
	files := repository(t)
	documented := map[string]bool{}
	for _, f := range files {
		documented[f.pkg] = documented[f.pkg] || f.ast.Doc != nil
	}
	for _, pkg := range packages(files) {
		if !documented[pkg] {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// names reports whether a text names a package by its whole path.
func names(text []byte, pkg string) bool {
	return regexp.MustCompile(`(^|[^\w/.-])` + regexp.QuoteMeta(pkg) + `($|[^\w/-])`).Match(text)
}

func TestArchitectureNamesPackages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	require.NoError(t, err, "the code map of ARCHITECTURE.md has a line for every package")
	for _, pkg := range packages(repository(t)) {
		if !names(text, pkg) {
			t.Errorf("ARCHITECTURE.md does not name %s", pkg)
		}
	}
}

func TestDocRules(t *testing.T) {
	const code = `package x

func A() {}

// B is told.
func B() {}

func c() {}

type D struct{ E int }

func (D) F() {}

func (*D) G() {}

type h struct{}

func (h) I() {}

type J[T any] struct{} // J is told.

func (*J[T]) K() {}

// Told for all.
const (
	L = 1
	M = 2
)

var (
	N int
	O int // O is told.
	p int
)

// A group's comment does not do for its types.
type (
	Q int
	// R is told.
	R int
)
`
	f, err := parse("x/x.go", []byte(code))
	require.NoError(t, err)
	var got []string
	for _, p := range undocumented(f) {
		got = append(got, regexp.MustCompile(`: (\w) is`).FindStringSubmatch(p)[1])
	}
	slices.Sort(got)
	require.Equal(t, []string{"A", "D", "F", "G", "K", "N", "Q"}, got)

	for text, want := range map[string]bool{
		"| wal | log |": true, "`wal`": true, "wal": true, "wal.": true, "internal/wal": false, "wal/x": false, "walnut": false, "x-wal": false,
	} {
		require.Equal(t, want, names([]byte(text), "wal"), text)
	}
}
