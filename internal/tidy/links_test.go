package tidy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	linked = regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	// A file or folder of the repository in backticks: it has a slash, and no blank or wildcard.
	quotedPath = regexp.MustCompile("`((?:cmd|compaction|docs|engine|fuzz|internal|memtable|perf|sstable|wal)/[\\w./-]+)`")
)

// deadPaths returns what a document in the folder dir points to and is not there.
func deadPaths(dir, text string) (problems []string) {
	gone := func(path string) bool {
		_, err := os.Stat(path)
		return err != nil
	}
	for _, m := range linked.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(m[1], "://") && gone(filepath.Join(dir, m[1])) {
			problems = append(problems, fmt.Sprintf("links to %s, which is not there", m[1]))
		}
	}
	for _, m := range quotedPath.FindAllStringSubmatch(text, -1) {
		if gone(filepath.Join(root, m[1])) {
			problems = append(problems, fmt.Sprintf("names %s, which is not there", m[1]))
		}
	}
	return problems
}

func TestDocumentsNameWhatIsThere(t *testing.T) {
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		more, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		names = append(names, more...)
	}
	require.Greater(t, len(names), 5)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, p := range deadPaths(filepath.Dir(name), string(text)) {
			t.Errorf("%s %s", filepath.Base(name), p)
		}
	}
}

func TestDeadPathRule(t *testing.T) {
	require.Empty(t, deadPaths(root, "[a](README.md) [b](https://example.com/x) [c](README.md#embed-it) `engine/open.go` `go test ./engine`"))
	require.Len(t, deadPaths(root, "[a](NONE.md) `engine/none.go`"), 2)
}
