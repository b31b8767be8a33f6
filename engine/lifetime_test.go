package engine_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ledgerfile"
	"github.com/cambiumdb/cambium/internal/vfs"
)

const ledgerName = "CAMBIUM-LEDGER"

// countingFS counts the bytes that are written to it, but for the note in LOCK.
type countingFS struct {
	vfs.FS
	written *atomic.Int64
}

type countingFile struct {
	vfs.File
	written *atomic.Int64
}

func (c countingFS) Create(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := c.FS.Create(name, mode)
	return countingFile{f, c.written}, err
}

func (c countingFS) OpenReadWrite(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := c.FS.OpenReadWrite(name, mode)
	return countingFile{f, c.written}, err
}

func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	if path.Base(f.Name()) != "LOCK" {
		f.written.Add(int64(len(p)))
	}
	return f.File.WriteAt(p, off)
}

// ledgerLoad overwrites some keys, with values small and large, and lets them be merged.
func ledgerLoad(t *testing.T, db *engine.DB, seed uint64, n int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range n {
		v := bytes.Repeat([]byte{byte(rng.Uint32())}, 20+rng.IntN(500))
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%04d", rng.IntN(500)), v, &engine.WriteOptions{Sync: engine.SyncNone}))
	}
	require.NoError(t, db.Compact(nil, nil))
}

func lifetimeOf(t *testing.T, dir string, opts *engine.Options) engine.Lifetime {
	t.Helper()
	db, err := engine.OpenReadOnly(dir, opts)
	require.NoError(t, err)
	defer db.Close()
	require.Zero(t, db.Metrics().Ledger.Total())
	return db.Metrics().Lifetime
}

// TestLifetimeCountsEveryByte compares the ledger over several opens with the writes that reached the
// file system, to the byte, by a reader and by the next open.
func TestLifetimeCountsEveryByte(t *testing.T) {
	clock := &testClock{now: time.UnixMilli(1_700_000_000_000)}
	written := new(atomic.Int64)
	opts := small(countingFS{vfs.NewMem(), written})
	opts.Clock = clock
	var sum engine.Ledger
	for i := range 3 {
		db := open(t, "db", opts)
		require.Equal(t, int64(1_700_000_000_000), db.Metrics().Lifetime.Since.UnixMilli())
		ledgerLoad(t, db, uint64(i), 1000)
		db.SaveLedger()
		ledgerLoad(t, db, uint64(i+10), 1000)
		m := db.Metrics()
		sum = sum.Add(m.Ledger)
		require.Equal(t, sum.Rows, m.Lifetime.Rows)
		require.Equal(t, sum.UserBytes, m.Lifetime.UserBytes)
		require.Equal(t, clock.Now().UnixMilli(), m.Lifetime.Saved.UnixMilli())
		clock.advance(time.Hour)
		require.NoError(t, db.Close())

		l := lifetimeOf(t, "db", opts)
		require.Equal(t, written.Load(), l.Total())
		sum = sum.Add(l.Sub(sum)) // the rest of the log, and the file itself
		require.Equal(t, sum, l.Ledger)
		require.Zero(t, l.Gaps)
		require.Equal(t, clock.Now().UnixMilli(), l.Saved.UnixMilli())
	}
	for _, cause := range []string{"wal", "flush", "compaction", "blob", "manifest", "ledger"} {
		require.Positive(t, sum.Cause(cause), cause)
	}
	require.Equal(t, int64((2+3+3)*4096), sum.Cause("ledger"))
}

// TestLifetimeGaps has things happen to a closed database after which not every byte is counted.
func TestLifetimeGaps(t *testing.T) {
	const name = "db/" + ledgerName
	edit := func(change func(c *ledgerfile.Content)) func(*vfs.Mem) {
		return func(mem *vfs.Mem) {
			c, err := ledgerfile.Decode(name, readFile(t, mem, name))
			require.NoError(t, err)
			change(&c)
			b, err := c.Encode()
			require.NoError(t, err)
			require.NoError(t, filename.Publish(mem, "db", ledgerName, 900, b))
		}
	}
	put := func(content string) func(*vfs.Mem) {
		return func(mem *vfs.Mem) {
			require.NoError(t, filename.Publish(mem, "db", ledgerName, 900, []byte(content)))
		}
	}
	scripts := map[string]struct {
		happens  func(mem *vfs.Mem)
		gaps     int
		goesOn   bool // with what was counted before
		says     string
		readable bool // by a reader
	}{
		"nothing":          {func(*vfs.Mem) {}, 0, true, "", true},
		"a crash":          {edit(func(c *ledgerfile.Content) { c.Closed = false; c.Gaps = 4 }), 5, true, "a crash", true},
		"another writer":   {edit(func(c *ledgerfile.Content) { c.Manifest-- }), 1, true, "another program", true},
		"another database": {edit(func(c *ledgerfile.Content) { c.DBID = "elsewhere" }), 1, false, "of database elsewhere", false},
		"a lost file":      {func(mem *vfs.Mem) { require.NoError(t, mem.Remove(name)) }, 1, false, "older than the ledger", false},
		"a foreign file":   {put("hello\n"), 1, false, "not a ledger", false},
		"a later build":    {put("cambium-ledger 2 00000000\n"), 1, false, "version 2", false},
		"a flipped byte": {func(mem *vfs.Mem) {
			b := readFile(t, mem, name)
			b[100] ^= 1
			put(string(b))(mem)
		}, 1, false, "crc32c", false},
		"a bad sector": {func(*vfs.Mem) {}, 1, false, "injected", false},
	}
	for what, script := range scripts {
		t.Run(what, func(t *testing.T) {
			mem := vfs.NewMem()
			db := open(t, "db", small(mem))
			ledgerLoad(t, db, 1, 100)
			require.NoError(t, db.Close())
			before := lifetimeOf(t, "db", small(mem))
			require.Positive(t, before.Total())
			script.happens(mem)
			fault := vfs.NewFault(mem)
			if what == "a bad sector" {
				fault.Add(vfs.Rule{Ops: vfs.OpRead, Path: name, Forever: true, Err: vfs.ErrInjected})
			}
			seen := lifetimeOf(t, "db", small(fault))
			require.Equal(t, script.readable, seen.Total() == before.Total())
			require.Equal(t, script.readable, !seen.Since.IsZero())

			log := new(lockedBuffer)
			opts := small(fault)
			opts.Logger = slog.New(slog.NewTextHandler(log, nil))
			db = open(t, "db", opts)
			l := db.Metrics().Lifetime
			require.Equal(t, script.gaps, l.Gaps)
			require.Equal(t, script.goesOn, l.Total() > before.Total(), "%d before, %d after", before.Total(), l.Total())
			require.False(t, l.Since.IsZero())
			if script.says == "" {
				require.NotContains(t, log.String(), ledgerName)
			} else {
				require.Contains(t, log.String(), script.says)
			}
			require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
			require.NoError(t, db.Close())

			after := lifetimeOf(t, "db", small(mem)) // it was written anew, with what happened
			require.Equal(t, script.gaps, after.Gaps)
			require.Greater(t, after.Total(), l.Total())
		})
	}
}

// lockedBuffer takes the lines of a logger.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func readFile(t *testing.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(name, vfs.Buffered)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	return b
}

// TestLifetimeAfterPowerCuts cuts the power around every sync. What is found afterwards is never
// more than was written, and never less than was written when it was last saved; and unless the
// database was closed, that something is missing is known.
func TestLifetimeAfterPowerCuts(t *testing.T) {
	mem := vfs.NewMem()
	written := new(atomic.Int64)
	type image struct {
		fs             *vfs.Mem
		written, saved int64
		closed         bool
	}
	var saved atomic.Int64
	var closed atomic.Bool
	var mu sync.Mutex
	var images []image
	rng := rand.New(rand.NewPCG(5, 5))
	cut := func(string, string) {
		mu.Lock()
		defer mu.Unlock()
		img := image{saved: saved.Load(), closed: closed.Load()}
		img.fs = mem.Crash(rng)
		img.written = written.Load()
		images = append(images, img)
	}
	opts := small(countingFS{mem, written})
	for i := range 2 {
		if i > 0 { // until the first open ends there is nothing to open
			closed.Store(false)
			mem.SetSyncHook(cut)
		}
		db := open(t, "db", opts)
		mem.SetSyncHook(cut)
		for j := range 3 {
			ledgerLoad(t, db, uint64(10*i+j), 200)
			least := written.Load()
			db.SaveLedger()
			saved.Store(least)
		}
		ledgerLoad(t, db, uint64(10*i+9), 200)
		require.NoError(t, db.Close())
		mem.SetSyncHook(nil)
		saved.Store(written.Load())
		closed.Store(true)
		cut("", "")
	}
	for _, img := range images {
		l := lifetimeOf(t, "db", small(img.fs))
		require.LessOrEqual(t, l.Total(), img.written)
		require.GreaterOrEqual(t, l.Total(), img.saved)
		db := open(t, "db", small(img.fs))
		if !img.closed && db.Metrics().Lifetime.Total() < img.written {
			require.Positive(t, db.Metrics().Lifetime.Gaps)
		}
		if img.closed {
			require.Zero(t, db.Metrics().Lifetime.Gaps)
		}
		require.NoError(t, db.Close())
	}
	t.Logf("%d power cuts", len(images))
}

// TestLedgerCannotBeSaved lets each call fail that saving makes: nothing else fails, and a crash costs
// what was counted since.
func TestLedgerCannotBeSaved(t *testing.T) {
	for _, rule := range []vfs.Rule{
		{Ops: vfs.OpRename, Path: ledgerName}, {Ops: vfs.OpCreate, Path: "*.dbtmp"}, {Ops: vfs.OpWrite, Path: "*.dbtmp"}, {Ops: vfs.OpSync, Path: "*.dbtmp"},
	} {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		log := new(lockedBuffer)
		opts := small(fault)
		opts.Logger = slog.New(slog.NewTextHandler(log, nil))
		db := open(t, "db", opts)
		rule.Err, rule.Forever = vfs.ErrNoSpace, true
		injection := fault.Add(rule)
		for i := range 3 {
			require.NoError(t, db.Put([]byte{byte('a' + i)}, []byte("v"), nil))
			db.SaveLedger()
		}
		require.Zero(t, db.Metrics().Ledger.Cause("ledger"))
		require.NoError(t, db.Close())
		require.Positive(t, injection.Hits())
		require.Equal(t, 1, strings.Count(log.String(), "save the ledger"), "it is said once")

		db = open(t, "db", small(mem))
		require.Equal(t, 1, db.Metrics().Lifetime.Gaps)
		v, err := db.Get([]byte("c"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		require.NoError(t, db.Close())
	}
}

// TestReadersLeaveTheLedger opens read-only, and makes a checkpoint, which begins a life of its own.
func TestReadersLeaveTheLedger(t *testing.T) {
	mem := vfs.NewMem()
	db := open(t, "db", small(mem))
	ledgerLoad(t, db, 1, 100)
	require.NoError(t, db.Checkpoint("copy"))
	require.NoError(t, db.Close())
	_, err := mem.Stat("copy/" + ledgerName)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, engine.Lifetime{}, lifetimeOf(t, "copy", small(mem)))
	_, err = mem.Stat("copy/" + ledgerName)
	require.ErrorIs(t, err, fs.ErrNotExist)

	was := readFile(t, mem, "db/"+ledgerName)
	lifetimeOf(t, "db", small(mem))
	require.Equal(t, was, readFile(t, mem, "db/"+ledgerName))
}

// TestRocksDBLeavesTheLedger has ldb write, compact and check: the file stays as it is, and the gap is
// known.
func TestRocksDBLeavesTheLedger(t *testing.T) {
	ldb := needTool(t, "ldb")
	dir := t.TempDir()
	db := open(t, dir, engine.FlushOften(engine.Options{MemtableSize: 64 << 10}))
	ledgerLoad(t, db, 1, 1000)
	require.NoError(t, db.Close())
	was, err := os.ReadFile(filepath.Join(dir, ledgerName))
	require.NoError(t, err)
	for _, args := range [][]string{{"put", "theirs", "1"}, {"compact"}, {"put", "theirs", "2"}, {"checkconsistency"}} {
		run(t, ldb, append([]string{"--db=" + dir}, args...)...)
	}
	is, err := os.ReadFile(filepath.Join(dir, ledgerName))
	require.NoError(t, err)
	require.Equal(t, was, is)
	before := lifetimeOf(t, dir, nil)
	db = open(t, dir, nil)
	require.Equal(t, 1, db.Metrics().Lifetime.Gaps)
	require.Greater(t, db.Metrics().Lifetime.Total(), before.Total())
	require.NoError(t, db.Close())
	compareWithRocksDB(t, dir)
	require.Equal(t, 1, lifetimeOf(t, dir, nil).Gaps)
}

// ledgerDir is set in the child processes that TestLifetimeAgreesWithTheKernel starts.
const ledgerDir = "CAMBIUM_TEST_LEDGER_DIR"

// TestLifetimeAgreesWithTheKernel loads a database in three processes, one after the other, and
// compares the ledger with what the kernel counted for them.
func TestLifetimeAgreesWithTheKernel(t *testing.T) {
	if dir := os.Getenv(ledgerDir); dir != "" {
		before := kernelWrites(t)
		db := open(t, dir, &engine.Options{MemtableSize: 1 << 20, Compression: engine.NoCompression})
		ledgerLoad(t, db, 1, 40_000)
		require.NoError(t, db.Close())
		fmt.Printf("kernel %d\n", kernelWrites(t)-before)
		return
	}
	dir := countingDir(t)
	kernel := int64(0)
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLifetimeAgreesWithTheKernel$")
		cmd.Env = append(os.Environ(), ledgerDir+"="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, rest, ok := strings.Cut(string(out), "kernel ")
		require.True(t, ok, "%s", out)
		n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		require.NoError(t, err)
		kernel += n
	}
	l := lifetimeOf(t, dir, nil)
	t.Logf("the ledger counts %d bytes, the kernel %d", l.Total(), kernel)
	require.InEpsilon(t, kernel, l.Total(), 0.03)
}

// countingDir makes a directory for the test on a file system whose writes the kernel counts: among the
// temporary ones, or else, where these lie in memory, beside the programs that the source is built to.
func countingDir(t *testing.T) string {
	t.Helper()
	built := filepath.Join("..", "bin")
	require.NoError(t, os.MkdirAll(built, 0o777))
	beside, err := os.MkdirTemp(built, "ledger-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(beside) })
	for _, dir := range []string{t.TempDir(), beside} {
		before := kernelWrites(t)
		f, err := os.Create(filepath.Join(dir, "probe"))
		require.NoError(t, err)
		_, err = f.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.NoError(t, os.Remove(f.Name()))
		if kernelWrites(t) > before {
			return dir
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no file system here counts writes")
	}
	t.Skip("no file system here counts writes")
	return ""
}

// kernelWrites is the kernel's count of the bytes that this process wrote to devices; 0 where there
// is none.
func kernelWrites(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "\nwrite_bytes: ")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return n
}

// TestLifetimeWithoutWhatFailed has a file that Close writes fail before its first byte: it is not counted.
func TestLifetimeWithoutWhatFailed(t *testing.T) {
	written := new(atomic.Int64)
	mem := vfs.NewMem()
	fault := vfs.NewFault(countingFS{mem, written})
	db := open(t, "db", small(fault))
	w := newOverwriter(db, 40, 20_000)
	w.all(t)
	w.some(t, 10)
	settleHoles(t, db)
	failed := fault.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.dbtmp", Err: vfs.ErrNoSpace}) // that of CAMBIUM-DEAD
	require.NoError(t, db.Close())
	require.Equal(t, 1, failed.Hits())
	_, err := mem.Stat(filename.Path("db", filename.Dead, 0))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, written.Load(), lifetimeOf(t, "db", small(mem)).Total())
}

// TestRefusedStaysAsItIs: an Open that fails before it has written anything leaves the ledger alone.
func TestRefusedStaysAsItIs(t *testing.T) {
	mem := vfs.NewMem()
	db := open(t, "db", small(mem))
	require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	names, err := mem.List("db")
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			require.NoError(t, mem.Remove("db/"+n))
		}
	}
	before := contents(t, mem, "db/"+ledgerName)
	_, err = engine.Open("db", small(mem))
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.Equal(t, before, contents(t, mem, "db/"+ledgerName))
}
