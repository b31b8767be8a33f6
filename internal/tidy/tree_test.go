package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root   = "../.."
	module = "github.com/cambiumdb/cambium"
)

// source is one parsed Go file.
type source struct {
	name  string // slash-separated path from the root
	pkg   string // its directory; "" = the root
	test  bool
	lines int
	ast   *ast.File
	fset  *token.FileSet
}

func (s *source) at(p token.Pos) string {
	return fmt.Sprintf("%s:%d", s.name, s.fset.Position(p).Line)
}

// ours returns the packages of this module that the file imports, as paths from the root.
func (s *source) ours() (pkgs []string) {
	for _, imp := range s.imports() {
		if rest, ok := strings.CutPrefix(imp, module); ok {
			pkgs = append(pkgs, strings.TrimPrefix(rest, "/"))
		}
	}
	return pkgs
}

func (s *source) imports() (paths []string) {
	for _, imp := range s.ast.Imports {
		paths = append(paths, strings.Trim(imp.Path.Value, "`\""))
	}
	return paths
}

func parse(name string, content []byte) (*source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	pkg := path.Dir(name)
	if pkg == "." {
		pkg = ""
	}
	return &source{name: name, pkg: pkg, test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(content, []byte("\n")), ast: file, fset: fset}, nil
}

// repository parses every Go file of the module. Directories with a module of their own,
// hidden ones and testdata are not looked into.
func repository(t *testing.T) (files []*source) {
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && skipped(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, ".pb.go") { // generated
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parse(rel, content)
		if err != nil {
			return err
		}
		files = append(files, file)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(files), 20, "is %s the root?", root)
	return files
}

func skipped(name, base string) bool {
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func packages(files []*source) (pkgs []string) {
	for _, f := range files {
		pkgs = append(pkgs, f.pkg)
	}
	slices.Sort(pkgs)
	return slices.Compact(pkgs)
}

// report fails the test with every problem on a line of its own.
func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

const maxLines = 600

func TestFileLength(t *testing.T) {
	for _, f := range repository(t) {
		if f.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: a file is one noun", f.name, f.lines, maxLines)
		}
	}
}
