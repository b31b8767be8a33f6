package tidy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fenced is one fenced block of a document.
type fenced struct {
	line int    // of its first line of content
	lang string // "sh", "go"
	text string
	want string // what it prints on stdout: the text block behind it; "" = anything
}

// fencedBlocks returns the blocks of a document in order. A text block is not one of them but what
// the block before it prints.
func fencedBlocks(doc string) (blocks []fenced, err error) {
	var open *fenced
	n := 0
	for line := range strings.Lines(doc) {
		n++
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case open == nil && isFence:
			open = &fenced{line: n + 1, lang: fence}
		case open == nil:
		case !isFence:
			open.text += line
		case open.lang != "text":
			blocks = append(blocks, *open)
			open = nil
		case len(blocks) == 0 || blocks[len(blocks)-1].want != "":
			return nil, fmt.Errorf("line %d: a text block with no block before it that could print it", open.line)
		default:
			blocks[len(blocks)-1].want = open.text
			open = nil
		}
	}
	if open != nil {
		return nil, fmt.Errorf("line %d: a block that is not closed", open.line)
	}
	return blocks, nil
}

// documents are those whose blocks a reader can run from top to bottom.
var documents = []string{"README.md", "docs/format.md"}

// TestReadmeBlocks runs every block of the documents in order: a document's blocks share one
// new directory with bin/ in it. Blocks that begin with make run at the root; make test would run
// this test again and is left out.
func TestReadmeBlocks(t *testing.T) {
	top, err := filepath.Abs(root)
	require.NoError(t, err)
	bin := t.TempDir()
	command(t, top, "go", "build", "-o", bin+"/", "./cmd/...")
	for _, doc := range documents {
		t.Run(doc, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, doc))
			require.NoError(t, err)
			blocks, err := fencedBlocks(string(text))
			require.NoError(t, err)
			require.NotEmpty(t, blocks)
			work := t.TempDir()
			require.NoError(t, os.Symlink(bin, filepath.Join(work, "bin")))
			for _, b := range blocks {
				t.Run(fmt.Sprintf("line%d", b.line), func(t *testing.T) {
					if got := b.run(t, top, work); b.want != "" {
						require.Equal(t, b.want, got, "%s:%d prints something else than the block behind it says", doc, b.line)
					}
				})
			}
		})
	}
}

var usesLDB = regexp.MustCompile(`(?m)^\s*(ldb|sst_dump)\b`)

// run carries the block out in work and returns what it printed on stdout.
func (b *fenced) run(t *testing.T, top, work string) string {
	switch {
	case b.lang == "go":
		return command(t, work, buildProgram(t, top, b.text))
	case b.lang != "sh":
		t.Fatalf("line %d: a block of %q: this test runs sh and go", b.line, b.lang)
	case strings.TrimSpace(b.text) == "make test":
		t.Skip("skipped: make test runs this test")
	case strings.HasPrefix(b.text, "make "):
		if testing.Short() {
			t.Skip("skipped: make run and make load, in short mode")
		}
		needTool(t, "make", "make")
		work = top
	}
	if tool := usesLDB.FindStringSubmatch(b.text); tool != nil {
		needTool(t, tool[1], "rocksdb-tools")
	}
	return command(t, work, "bash", "-eu", "-o", "pipefail", "-c", b.text)
}

// needTool skips a test whose external tool is not here; with CI=true that is a failure.
func needTool(t *testing.T, name, pkg string) {
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install %s", name, pkg)
	}
	t.Skipf("skipped: %s is not installed, so a block that uses it was not run", name)
}

// buildProgram builds a Go program in a module of its own, as somebody who embeds the engine
// would, and returns the path of the binary.
func buildProgram(t *testing.T, top, code string) string {
	dir := t.TempDir()
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	require.NoError(t, err)
	text := strings.Replace(string(mod), "module "+module, "module example.com/reader", 1)
	text += fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %s\n", module, module, top)
	sum, err := os.ReadFile(filepath.Join(top, "go.sum"))
	require.NoError(t, err)
	for name, content := range map[string]string{"go.mod": text, "go.sum": string(sum), "main.go": code} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666))
	}
	out := filepath.Join(dir, "program")
	command(t, dir, "go", "vet", "-mod=mod", ".")
	command(t, dir, "go", "build", "-mod=mod", "-o", out, ".")
	return out
}

// command runs a command in dir and returns its stdout; a failure ends the test with what it said.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestFencedBlocks(t *testing.T) {
	got, err := fencedBlocks("# T\n\n```sh\na\nb\n```\n\nsays\n\n```text\nx\n```\n```go\npackage main\n```\n")
	require.NoError(t, err)
	require.Equal(t, []fenced{{4, "sh", "a\nb\n", "x\n"}, {14, "go", "package main\n", ""}}, got)
	for _, bad := range []string{"```sh\na\n", "```text\nx\n```\n", "```sh\na\n```\n```text\nx\n```\n```text\ny\n```\n"} {
		_, err := fencedBlocks(bad)
		require.Error(t, err, bad)
	}
}
