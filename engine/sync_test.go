package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestOneSyncForEachGroup counts the log's syncs through the file system: one for each write of a
// single writer, one for each group of many, and none for writes that ask for none.
func TestOneSyncForEachGroup(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	db := open(t, "db", &engine.Options{FS: fault})
	defer db.Close()
	count := fault.Add(vfs.Rule{Ops: vfs.OpSync, Path: "*.log"})
	put := func(k string, s engine.Sync) {
		if err := db.Put([]byte(k), []byte("value"), &engine.WriteOptions{Sync: s}); err != nil {
			t.Error(err)
		}
	}
	for i := range 200 {
		put(fmt.Sprint(i), engine.SyncPerWrite)
	}
	require.Equal(t, 200, count.Calls(), "a writer alone: a sync for each write")
	for i := range 200 {
		put(fmt.Sprint(i), engine.SyncNone)
	}
	require.Equal(t, 200, count.Calls(), "no write without a sync waits for one")

	before := db.Metrics().Log
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 100 {
				put(fmt.Sprintf("%d-%d", w, i), engine.SyncPerWrite)
			}
		})
	}
	wg.Wait()
	after := db.Metrics().Log
	syncs := int64(count.Calls() - 200)
	require.Equal(t, after.Syncs-before.Syncs, syncs)
	require.Equal(t, after.Groups-before.Groups, syncs, "one sync for each group")
	require.LessOrEqual(t, syncs, int64(1600))
	t.Logf("16 writers, 1600 synced writes: %d syncs, up to %d writes in one", syncs, after.MaxGroup)
}

// TestSystemCalls looks at the real binary under strace: the log, flushes, compactions and reads of
// tables use O_DIRECT, a synced write is one write and one fdatasync, and new names are made durable.
func TestSystemCalls(t *testing.T) {
	strace := needTool(t, "strace")
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin, "../cmd/kvctl", "../cmd/kvbench").CombinedOutput()
	require.NoError(t, err, "%s", out)
	// Not t.TempDir: that may be a tmpfs, where nothing is direct.
	dir, err := os.MkdirTemp(".", "strace-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	trace := func(program string, args ...string) string {
		log := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command(strace, append([]string{"-f", "-y", "-o", log, "-e", "trace=openat,pwrite64,pread64,fdatasync,fsync,rename,renameat,renameat2,fallocate", filepath.Join(bin, program)}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		b, err := os.ReadFile(log)
		require.NoError(t, err)
		return string(b)
	}
	db := filepath.Join(dir, "db")
	trace("kvctl", "db", "put", "--db", db, "k0", "v0") // makes the database

	calls := trace("kvctl", "db", "put", "--db", db, "k1", "v1")
	requireCall(t, calls, `openat\(.*\.log", .*O_CREAT.*O_DIRECT`, "the log is opened for direct I/O")
	requireCall(t, calls, `openat\(.*\.sst", .*O_CREAT.*O_DIRECT`, "the replayed log is flushed with direct I/O")
	requireCall(t, calls, `fallocate\(.*\.log`, "the log is preallocated")
	requireCall(t, calls, `rename.*CURRENT`, "the manifest is published by a rename")
	requireCall(t, calls, `fsync\(\d+<[^>]*/db>\)`, "the directory is synced")

	// Each synced write of one writer is a group of its own: one write and one fdatasync. Beside
	// these there are the zeros written ahead, and what opening and closing take.
	const puts = 100
	calls = trace("kvbench", "run", "fillrandom", "--dir", filepath.Join(dir, "bench"), "--keys", fmt.Sprint(puts), "--value-size", "100", "--sync", "per-write")
	logs := regexp.MustCompile(`(pwrite64|fdatasync)\(\d+<[^>]*\.log>`).FindAllString(calls, -1)
	writes, syncs := 0, 0
	for _, c := range logs {
		if strings.HasPrefix(c, "pwrite64") {
			writes++
		} else {
			syncs++
		}
	}
	t.Logf("%d synced puts, an open and a close: %d writes and %d syncs of the log", puts, writes, syncs)
	require.GreaterOrEqual(t, syncs, puts)
	require.LessOrEqual(t, syncs, puts+5)
	require.GreaterOrEqual(t, writes, puts)
	require.LessOrEqual(t, writes, puts+10)

	calls = trace("kvctl", "db", "compact", "--db", db)
	requireCall(t, calls, `openat\(.*\.sst", O_RDONLY.*O_DIRECT`, "compaction reads with direct I/O")
	requireCall(t, calls, `pwrite64\(\d+<[^>]*\.sst>`, "compaction writes a table")
	calls = trace("kvctl", "db", "get", "--db", db, "k1")
	requireCall(t, calls, `openat\(.*\.sst", O_RDONLY.*O_DIRECT`, "a get reads with direct I/O")
	requireCall(t, calls, `pread64\(\d+<[^>]*\.sst>`, "a get reads the table")
	require.NotRegexp(t, `O_CREAT|O_RDWR|O_WRONLY`, strings.Join(regexp.MustCompile(`openat\(.*`+regexp.QuoteMeta(dir)+`.*`).FindAllString(calls, -1), "\n"),
		"a get opens nothing for writing")
}

func requireCall(t *testing.T, calls, pattern, what string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(calls) {
		t.Errorf("%s: no call matches %s in\n%.4000s", what, pattern, calls)
	}
}
