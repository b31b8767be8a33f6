package perf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSectionsAreReplaced(t *testing.T) {
	text := "# Head\n"
	for _, title := range []string{"one", "two", "three"} {
		text = putSection(text, title, "## "+title+"\n\nold "+title+"\n")
	}
	require.Equal(t, "# Head\n\n## one\n\nold one\n\n## two\n\nold two\n\n## three\n\nold three\n", text)
	text = putSection(text, "two", "## two\n\nnew\n")
	require.Equal(t, "# Head\n\n## one\n\nold one\n\n## two\n\nnew\n\n## three\n\nold three\n", text)
	text = putSection(text, "three", "## three\n\nnew\n")
	require.Equal(t, "# Head\n\n## one\n\nold one\n\n## two\n\nnew\n\n## three\n\nnew\n", text)
}

func TestMarkdown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	r := &Report{
		Kind: "writeamp", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Command:  []string{"/some/where/bin/kvbench", "writeamp", "--keys", "10", "--markdown", "x.md", "--title=T", "--dir", "/d"},
		Build:    Build{Go: "go1.26", Revision: "0123456789abcdef0123", Modified: true},
		Machine:  Machine{OS: "linux", Arch: "amd64", CPUs: 2, CPU: "Fast 9000", FileSystem: "ext4"},
		Runs:     []Run{point("cambium/tiered", 1.5, 1.9, 3), point("pebble/leveled", 1.5, 1.9, 4)},
		Fairness: []Condition{{"sync", map[string]string{"cambium": "none", "pebble": "none"}}},
	}
	r.Verdicts = Verdicts(r.Runs)
	for range 2 {
		require.NoError(t, WriteSection(path, "Deep tree", r.Markdown("Deep tree")))
	}
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(b)
	require.True(t, strings.HasPrefix(text, markdownHead))
	require.Equal(t, 1, strings.Count(text, "## Deep tree"))
	for _, want := range []string{
		"\n    kvbench writeamp --keys 10\n",
		"\n2026-01-02, commit 0123456789ab and changes, go1.26, linux/amd64, 2 CPUs (Fast 9000), ext4\n",
		"cambium/tiered  overwrite",
		"0.75  yes",
		"<details><summary>Conditions</summary>",
	} {
		require.Contains(t, text, want)
	}

	r.Kind = "scenario"
	r.Runs = []Run{{Name: "cambium/leveled queue", Findings: []Finding{{Name: "last / first", Value: "1.2", Met: true}}, Problems: []string{"a lie"}}}
	require.Contains(t, r.Markdown("x"), "Findings: cambium/leveled queue")
	require.Contains(t, r.Markdown("x"), "WRONG a lie")
	r.Kind = "run"
	r.Runs = []Run{exampleRun()}
	require.Contains(t, r.Markdown("x"), "\ncambium\n")
	require.Contains(t, r.Markdown("x"), "fillrandom")
}
