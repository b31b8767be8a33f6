package manifest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// ldb runs RocksDB's tool. Where it is missing the test is skipped, but fails under CI.
func ldb(t *testing.T, args ...string) string {
	path, err := exec.LookPath("ldb")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ldb (Debian: rocksdb-tools) is needed")
		}
		t.Skip("skip: no ldb (Debian: rocksdb-tools)")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "ldb %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// RocksDB reads in our manifests what we wrote: the first one, one of many edits, and one that
// begins with a whole state, of our own tree and of each of its own.
func TestLdbReadsOurManifests(t *testing.T) {
	dir := t.TempDir()
	fs := vfs.OS(nil)
	s, err := Create(fs, dir, Options{DBID: "11111111-2222-4333-8444-555555555555"})
	require.NoError(t, err)
	require.NoError(t, s.Apply(edit(t, "add L0 7:a#1..m#9", "log 4", "blob 8 count=5", "add L0 9:c#10..z#19 blob=8", "garbage 8 count=2")))
	require.NoError(t, s.Apply(edit(t, "del L0 7", "add L1 7:a#1..m#9", "add L6 10:a#1..z#1!")))
	first := filepath.Join(dir, "MANIFEST-000001")
	checkLdbDump(t, first, s)
	dump := ldb(t, "manifest_dump", "--verbose", "--path="+first)
	require.Contains(t, dump, "DB ID: 11111111-2222-4333-8444-555555555555")
	require.Contains(t, dump, "DeleteFile: 0 7")
	require.NoError(t, s.Close())

	s, err = Recover(fs, dir, Options{})
	require.NoError(t, err)
	require.NoError(t, s.Apply(edit(t, "seq 77")))
	checkLdbDump(t, filepath.Join(dir, fmt.Sprintf("MANIFEST-%06d", s.ManifestNum())), s)
	require.NoError(t, s.Close())
}

func TestLdbReadsRewrittenFixtures(t *testing.T) {
	eachFixture(t, func(t *testing.T, mem *vfs.Mem) {
		s := reopen(t, mem)
		require.NoError(t, s.Apply(&Edit{}))
		name := fmt.Sprintf("MANIFEST-%06d", s.ManifestNum())
		checkLdbDump(t, filepath.Join(exportFile(t, mem, name), name), s)
	})
}

// exportFile copies a file to the operating system's file system and returns the directory.
func exportFile(t *testing.T, mem *vfs.Mem, name string) string {
	dir := t.TempDir()
	f, err := mem.Open("db/"+name, vfs.Buffered)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	return dir
}

var ldbTable = regexp.MustCompile(`^ (\d+):(\d+)\[(\d+) \.\. (\d+)\]`)

// checkLdbDump compares the tree at the end of ldb's dump with the Set's.
func checkLdbDump(t *testing.T, path string, s *Set) {
	t.Helper()
	v := s.Current()
	defer v.Unref()
	var want, got []string
	for level, tables := range v.Levels {
		for _, table := range tables {
			want = append(want, fmt.Sprintf("L%d %d %d bytes seq %d..%d", level, table.Num, table.Size, table.SmallestSeq, table.LargestSeq))
		}
	}
	for _, num := range v.blobNums() {
		want = append(want, fmt.Sprintf("blob %d", num))
	}
	dump := ldb(t, "manifest_dump", "--path="+path)
	level := -1
	for line := range strings.Lines(dump) {
		if n, _ := fmt.Sscanf(line, "--- level %d ---", &level); n == 1 {
			continue
		}
		if m := ldbTable.FindStringSubmatch(line); m != nil {
			got = append(got, fmt.Sprintf("L%d %s %s bytes seq %s..%s", level, m[1], m[2], m[3], m[4]))
		}
		var num, count uint64
		if n, _ := fmt.Sscanf(strings.TrimSpace(line), "blob_file_number: %d total_blob_count: %d", &num, &count); n == 2 {
			require.Equal(t, v.Blobs[num].Count, count)
			got = append(got, fmt.Sprintf("blob %d", num))
		}
	}
	require.Equal(t, want, got, "%s", dump)
	require.Contains(t, dump, fmt.Sprintf("last_sequence %d", s.LastSeq()))
	require.Contains(t, dump, fmt.Sprintf("log number: %d", s.LogNum()))
	require.Contains(t, dump, "comparator: "+Comparator)
}
