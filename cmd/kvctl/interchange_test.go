package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
)

// archives are databases that RocksDB 7.8 wrote, each with what a scan must print. They lie
// beside the repository.
const archives = "../../../shared/data/rocksdb-7.8"

// eachFixture unpacks every archive and runs test on it.
func eachFixture(t *testing.T, test func(t *testing.T, dir, expect string)) {
	t.Helper()
	files, err := filepath.Glob(archives + "/*.tar.zst")
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skipf("skipped: no databases of RocksDB in %s, so nothing of RocksDB's was read", archives)
	}
	require.Len(t, files, 12)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".tar.zst")
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			unpack(t, file, root)
			expect, err := os.ReadFile(filepath.Join(root, name, "expect.txt"))
			require.NoError(t, err)
			test(t, filepath.Join(root, name, "db"), string(expect))
		})
	}
}

func unpack(t *testing.T, archive, root string) {
	t.Helper()
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	require.NoError(t, err)
	defer z.Close()
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		require.True(t, filepath.IsLocal(h.Name), h.Name)
		path := filepath.Join(root, h.Name)
		if h.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(path, 0o755))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, content, 0o644))
	}
}

// state is everything about the files of a directory that a reader must leave as it is: name,
// size, mode, time of the last change, and a hash of the bytes.
func state(t *testing.T, dir string) (lines []string) {
	t.Helper()
	own, err := os.Stat(dir)
	require.NoError(t, err)
	lines = append(lines, fmt.Sprintf(". %v %v", own.Mode(), own.ModTime()))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		lines = append(lines, fmt.Sprintf("%s %d %v %v %x", e.Name(), info.Size(), info.Mode(), info.ModTime(), sha256.Sum256(b)))
	}
	return lines
}

// agree compares two scans and shows the first line that differs.
func agree(t *testing.T, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		require.Equal(t, a[i], b[i], "line %d", i+1)
	}
	require.Len(t, b, len(a), "lines")
}

func TestReadsRocksDB(t *testing.T) {
	eachFixture(t, func(t *testing.T, dir, expect string) {
		before := state(t, dir)
		ok := func(args ...string) string {
			t.Helper()
			stdout, stderr, code := kvctl(t, args...)
			require.Equal(t, 0, code, "%v\n%s", args, stderr)
			require.Empty(t, stderr)
			return stdout
		}
		agree(t, expect, ok("db", "scan", "--db", dir, "--hex"))
		agree(t, reversed(expect), ok("db", "scan", "--db", dir, "--hex", "--reverse"))
		require.Equal(t, fmt.Sprintln(strings.Count(expect, "\n")), ok("db", "scan", "--db", dir, "--count"))
		require.Contains(t, ok("db", "check", "--db", dir), "ok: ")
		require.Contains(t, ok("db", "info", "--db", dir), "compaction_style = ")
		getSome(t, dir, expect)
		filesAgree(t, dir)
		require.Equal(t, before, state(t, dir), "reading changed the directory")
	})
}

func reversed(text string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	var b strings.Builder
	for i := len(lines) - 1; i >= 0; i-- {
		b.WriteString(strings.TrimSuffix(lines[i], "\n") + "\n")
	}
	return b.String()
}

// getSome gets some keys one by one.
func getSome(t *testing.T, dir, expect string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(expect), "\n")
	for i := 0; i < len(lines); i += 1 + len(lines)/5 {
		key, value, _ := strings.Cut(lines[i], " ")
		stdout, stderr, code := kvctl(t, "db", "get", "--db", dir, "--hex", key)
		require.Equal(t, 0, code, stderr)
		require.Equal(t, value+"\n", stdout)
	}
}

// filesAgree dumps and verifies every file, and compares the tree that the manifest's edits
// lead to with the tree of the open database.
func filesAgree(t *testing.T, dir string) {
	t.Helper()
	var tree struct{ Tables []inspect.TableMeta }
	stdout, stderr, code := kvctl(t, "db", "lsm", "--db", dir, "--tables", "-o", "json")
	require.Equal(t, 0, code, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), &tree))
	manifests, err := filepath.Glob(dir + "/MANIFEST-*")
	require.NoError(t, err)
	var dump struct{ Manifest inspect.Manifest }
	stdout, stderr, code = kvctl(t, "manifest", "dump", manifests[len(manifests)-1], "-o", "json")
	require.Equal(t, 0, code, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), &dump))
	if len(tree.Tables) == 0 {
		require.Empty(t, dump.Manifest.Tables)
	} else {
		require.Equal(t, tree.Tables, dump.Manifest.Tables)
	}
	for _, table := range tree.Tables {
		for _, args := range [][]string{{"sst", "verify"}, {"sst", "dump", "--entries", "--blocks", "-o", "jsonl"}} {
			stdout, stderr, code = kvctl(t, append(args, filepath.Join(dir, table.File))...)
			require.Equal(t, 0, code, "%s\n%s", stdout, stderr)
		}
	}
	logs, err := filepath.Glob(dir + "/*.log")
	require.NoError(t, err)
	for _, log := range logs {
		_, stderr, code = kvctl(t, "wal", "dump", log)
		require.Equal(t, 0, code, stderr)
	}
}

// TestReadsReadOnlyDirectory scans, as a user who may not write there, directories that forbid
// writing, each beside a second reader.
func TestReadsReadOnlyDirectory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: another user's rights are tried on Linux only")
	}
	bin := filepath.Join(t.TempDir(), "kvctl") // under this name the test binary is kvctl
	self, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(bin, self, 0o755))
	passable(t, bin)
	eachFixture(t, func(t *testing.T, dir, expect string) {
		passable(t, dir)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			require.NoError(t, os.Chmod(filepath.Join(dir, e.Name()), 0o444))
		}
		require.NoError(t, os.Chmod(dir, 0o555))
		defer os.Chmod(dir, 0o755) // for the removal
		before := state(t, dir)

		other, err := engine.OpenReadOnly(dir, nil)
		require.NoError(t, err)
		it := other.NewIterator(nil)
		require.True(t, it.First())
		cmd := exec.Command(bin, "db", "scan", "--db", dir, "--hex")
		if os.Getuid() == 0 { // whom no mode stops
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, stderr.String())
		agree(t, expect, string(out))
		n := 1
		for it.Next() {
			n++
		}
		require.NoError(t, it.Err())
		require.Equal(t, strings.Count(expect, "\n"), n, "the reader beside it")
		require.NoError(t, it.Close())
		require.NoError(t, other.Close())
		require.Equal(t, before, state(t, dir))
	})
}

// passable lets every user go through the temporary directories above path.
func passable(t *testing.T, path string) {
	t.Helper()
	for dir := filepath.Dir(path); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

// TestWritesToRocksDB opens each database for writing, changes 1,000 keys, opens it again, and
// compares our scan with RocksDB's own.
func TestWritesToRocksDB(t *testing.T) {
	ldb, err := exec.LookPath("ldb")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ldb is missing: apt-get install rocksdb-tools")
		}
		t.Skip("skipped: ldb is not installed, so RocksDB did not read what we wrote")
	}
	eachFixture(t, func(t *testing.T, dir, expect string) {
		model := parseScan(t, expect)
		change(t, dir, model)
		compare := func(when string) {
			t.Helper()
			stdout, stderr, code := kvctl(t, "db", "scan", "--db", dir, "--hex")
			require.Equal(t, 0, code, stderr)
			require.Equal(t, len(model), strings.Count(stdout, "\n"), when)
			for key, value := range parseScan(t, stdout) {
				if model[key] != value {
					require.Equal(t, model[key], value, "%s: %s", when, key)
				}
			}
			agree(t, stdout, ldbScan(t, ldb, dir))
		}
		compare("after the writes")
		db, err := engine.Open(dir, nil)
		require.NoError(t, err)
		require.NoError(t, db.Compact(nil, nil))
		require.NoError(t, db.Close())
		compare("after a compaction")
		require.NoError(t, engine.Check(dir))
	})
}

func parseScan(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	sc := bufio.NewScanner(strings.NewReader(text))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		key, value, ok := strings.Cut(sc.Text(), " ")
		require.True(t, ok, sc.Text())
		out[key] = value
	}
	require.NoError(t, sc.Err())
	return out
}

// change makes 1,000 writes to the database and to the model, over two openings.
func change(t *testing.T, dir string, model map[string]string) {
	t.Helper()
	keys := make([]string, 0, len(model))
	for k := range model {
		keys = append(keys, k)
	}
	// Map order is random; which key is drawn is not what is tested, but a failure must repeat.
	slices.Sort(keys)
	rng := rand.New(rand.NewPCG(7, uint64(len(keys))))
	draw := func() string { return keys[rng.IntN(len(keys))] }
	open := func() *engine.DB {
		db, err := engine.Open(dir, nil)
		require.NoError(t, err)
		return db
	}
	db := open()
	none := &engine.WriteOptions{Sync: engine.SyncNone}
	for i := range 1000 {
		if i == 600 {
			require.NoError(t, db.Close())
			db = open()
		}
		key, err := hex.DecodeString(draw())
		require.NoError(t, err)
		value := fmt.Appendf(nil, "written by us %d %s", i, bytes.Repeat([]byte("v"), rng.IntN(200)))
		switch {
		case i%100 == 99:
			end := append(bytes.Clone(key), 0x40)
			require.NoError(t, db.DeleteRange(key, end, none))
			for k := range model {
				if b, err := hex.DecodeString(k); err == nil && bytes.Compare(b, key) >= 0 && bytes.Compare(b, end) < 0 {
					delete(model, k)
				}
			}
			continue
		case i%5 == 0:
			require.NoError(t, db.Delete(key, none))
			delete(model, hex.EncodeToString(key))
			continue
		case i%2 == 0:
			key = fmt.Appendf(nil, "new key %04d", i)
		}
		require.NoError(t, db.Put(key, value, none))
		model[hex.EncodeToString(key)] = hex.EncodeToString(value)
	}
	require.NoError(t, db.Close())
}

// ldbScan returns RocksDB's own scan in our form.
func ldbScan(t *testing.T, ldb, dir string) string {
	t.Helper()
	cmd := exec.Command(ldb, "--db="+dir, "scan", "--hex")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s", stderr.String())
	require.NotContains(t, stderr.String(), "Corruption")
	var b strings.Builder
	sc := bufio.NewScanner(&stdout)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		key, value, ok := strings.Cut(sc.Text(), " : ")
		require.True(t, ok, "%s\n%s", sc.Text(), stderr.String())
		b.WriteString(strings.ToLower(strings.TrimPrefix(key, "0x") + " " + strings.TrimPrefix(value, "0x") + "\n"))
	}
	require.NoError(t, sc.Err())
	return b.String()
}
