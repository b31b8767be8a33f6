package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// makeTable writes a table from words: k=v puts, -k deletes, -a..c deletes a range.
func makeTable(t testing.TB, fs vfs.FS, path, words string) string {
	t.Helper()
	w, err := engine.NewTableWriter(path, &engine.Options{FS: fs, Compression: engine.Snappy})
	require.NoError(t, err)
	defer w.Abort()
	for _, word := range strings.Fields(words) {
		if key, value, ok := strings.Cut(word, "="); ok {
			require.NoError(t, w.Put([]byte(key), []byte(value)))
		} else if lo, hi, ok := strings.Cut(word[1:], ".."); ok {
			require.NoError(t, w.DeleteRange([]byte(lo), []byte(hi)))
		} else {
			require.NoError(t, w.Delete([]byte(word[1:])))
		}
	}
	require.NoError(t, w.Close())
	return path
}

// content is everything that a database shows, as k=v, to iterators and to gets.
func content(t testing.TB, db *engine.DB, s *engine.Snapshot) string {
	t.Helper()
	var words []string
	var err error
	o := &engine.IterOptions{Snapshot: s, Err: &err}
	for k, v := range db.All(o) {
		words = append(words, fmt.Sprintf("%s=%s", k, v))
		get := db.Get
		if s != nil {
			get = s.Get
		}
		got, err := get(k)
		require.NoError(t, err, "%s", k)
		require.Equal(t, string(v), string(got), "%s", k)
	}
	require.NoError(t, err)
	return strings.Join(words, " ")
}

// shape is the tree: the tables of each level by their bounds, L0 newest first.
func shape(db *engine.DB) string {
	var b strings.Builder
	db.CurrentVersion(func(v *manifest.Version) {
		for level, tables := range v.Levels {
			for _, t := range tables {
				fmt.Fprintf(&b, "L%d[%s..%s] ", level, t.Smallest.User, t.Largest.User)
			}
		}
	})
	return strings.TrimSpace(b.String())
}

func put(t testing.TB, db *engine.DB, words string) {
	t.Helper()
	for _, word := range strings.Fields(words) {
		k, v, _ := strings.Cut(word, "=")
		require.NoError(t, db.Put([]byte(k), []byte(v), nil))
	}
}

// TestIngest is the story: tables from outside are one write, newer than those before and older than
// those after.
func TestIngest(t *testing.T) {
	fs := vfs.NewMem()
	fault := vfs.NewFault(fs)
	db := open(t, "db", small(fault))
	compaction := holdBack(fault, vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Skip: 1, Forever: true}) // the first is a flush
	put(t, db, "a=1 b=1 c=1 d=1 x=1")
	before := db.NewSnapshot()
	defer before.Close()

	require.NoError(t, db.Ingest(makeTable(t, fs, "one.sst", "b=2 c=2 m=2"), makeTable(t, fs, "two.sst", "-c -d..x y=2")))
	require.Equal(t, "a=1 b=2 x=1 y=2", content(t, db, nil), "the second table hides m of the first")
	require.Equal(t, "a=1 b=1 c=1 d=1 x=1", content(t, db, before), "a snapshot does not change")
	require.EqualValues(t, 7, db.Metrics().VisibleSeq, "five puts and two tables")
	require.Equal(t, "L0[c..y] L0[b..m] L0[a..x]", shape(db), "above what they overlap, which memory held")
	compaction.release()

	put(t, db, "b=3 n=3")
	const after = "a=1 b=3 n=3 x=1 y=2"
	require.Equal(t, after, content(t, db, nil), "a later write is newer")

	crashed := fs.CrashLoseUnsynced()
	require.NoError(t, db.Compact(nil, nil))
	require.Equal(t, after, content(t, db, nil))
	require.Equal(t, "a=1 b=1 c=1 d=1 x=1", content(t, db, before))
	require.NoError(t, db.Close())
	for _, left := range []*vfs.Mem{crashed, fs} {
		db = open(t, "db", small(left))
		require.Equal(t, after, content(t, db, nil), "reopened")
		checkValues(t, db)
		require.NoError(t, db.Close())
	}
	for _, path := range []string{"one.sst", "two.sst"} {
		_, err := fs.Stat(path)
		require.NoError(t, err, "the given file is still there")
	}
}

// TestIngestGoesDeep puts tables that overlap nothing into the last level, by links that write
// nothing.
func TestIngestGoesDeep(t *testing.T) {
	fs := vfs.NewMem()
	var told []engine.IngestInfo
	fault := vfs.NewFault(fs)
	compaction := holdBack(fault, vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Forever: true})
	opts := small(fault)
	opts.Events = &engine.Events{Ingested: func(i engine.IngestInfo) { told = append(told, i) }}
	db := open(t, "db", opts)
	put(t, db, "m=1")
	require.NoError(t, db.Ingest(makeTable(t, fs, "a.sst", "a=1 c=1"), makeTable(t, fs, "x.sst", "x=1 z=1")))
	require.Equal(t, "L6[a..c] L6[x..z]", shape(db), "what memory holds lies between them and stays there")
	require.Zero(t, db.Metrics().Ledger.Cause("ingest"))
	require.NoError(t, db.Ingest(makeTable(t, fs, "b.sst", "b=2")))
	require.Equal(t, "L5[b..b] L6[a..c] L6[x..z]", shape(db))
	compaction.release()
	require.Len(t, told, 2)
	require.Equal(t, []int{2, 2}, []int{told[0].Tables, told[0].Linked})
	require.Equal(t, "a=1 b=2 c=1 m=1 x=1 z=1", content(t, db, nil))
	require.NoError(t, db.Ingest())
	require.NoError(t, db.Close())
}

// TestWriteWhileIngestFlushes overwrites a key of the table while the memory under it is flushed: the
// table is the newer one all the same, and the flush of that write too is told as a stall.
func TestWriteWhileIngestFlushes(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	put(t, db, "a=1")
	table := makeTable(t, mem, "t.sst", "a=2")
	flush := holdBack(fault, vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst"})
	var ingest sync.WaitGroup
	ingest.Go(func() {
		if err := db.Ingest(table); err != nil {
			t.Error(err)
		}
	})
	<-flush.reached
	put(t, db, "a=3")
	require.Equal(t, "a=3", content(t, db, nil))
	flush.release()
	within(t, "ingest", finished(&ingest))
	require.Equal(t, "a=2", content(t, db, nil))
	require.Positive(t, db.Metrics().Stalls.ByCause["ingest"])
	require.NotEmpty(t, db.Metrics().Stalls.Advice)
	require.NoError(t, db.Close())
}

// clockHook calls a function the next time that somebody asks for the time.
type clockHook struct {
	*testClock
	next atomic.Pointer[func()]
}

func (c *clockHook) Now() time.Time {
	if f := c.next.Swap(nil); f != nil {
		(*f)()
	}
	return c.testClock.Now()
}

// TestCompareAndSwapSeesIngest takes a table in between the read of a compare-and-swap and its
// write: the swap must not overwrite what it did not see.
func TestCompareAndSwapSeesIngest(t *testing.T) {
	fs := vfs.NewMem()
	clock := &clockHook{testClock: &testClock{now: time.Now()}}
	opts := small(fs)
	opts.Clock = clock
	db := open(t, "db", opts)
	put(t, db, "k=1")
	require.NoError(t, db.Flush())
	ingest := func() { require.NoError(t, db.Ingest(makeTable(t, fs, "t.sst", "k=2"))) }
	clock.next.Store(&ingest)
	ok, err := db.CompareAndSwap([]byte("k"), []byte("1"), []byte("3"), nil)
	require.NoError(t, err)
	require.False(t, ok, "the value was no longer 1")
	require.Nil(t, clock.next.Load(), "the table came in between")
	require.Equal(t, "k=2", content(t, db, nil))
	require.NoError(t, db.Close())
}

// TestIngestRewrites takes in the tables of another database, with several versions of keys, range
// tombstones and values that expire, and finds what that one shows.
func TestIngestRewrites(t *testing.T) {
	fs := vfs.NewMem()
	clock := &testClock{now: time.UnixMilli(1_700_000_000_000)}
	opts := func() *engine.Options {
		o := small(fs)
		o.Clock, o.ValueThreshold = clock, -1
		return o
	}
	other := open(t, "other", opts())
	put(t, other, "a=1 b=1 c=1 d=1")
	held := other.NewSnapshot() // keeps the versions
	require.NoError(t, other.DeleteRange([]byte("b"), []byte("d"), nil))
	put(t, other, "c=2 d=2")
	require.NoError(t, other.Put([]byte("e"), []byte("short"), &engine.WriteOptions{TTL: time.Minute}))
	require.NoError(t, other.Flush())
	require.NoError(t, other.Close())
	require.NoError(t, held.Close()) // only now: a sweep would compact what it held
	names, err := fs.List("other")
	require.NoError(t, err)
	var paths []string
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			paths = append(paths, "other/"+n)
		}
	}
	require.Len(t, paths, 1)

	db := open(t, "db", opts())
	put(t, db, "b=0 c=0 x=0")
	require.NoError(t, db.Ingest(paths...))
	require.Equal(t, "a=1 c=2 d=2 e=short x=0", content(t, db, nil))
	require.Positive(t, db.Metrics().Ledger.Cause("ingest"), "a rewritten table is counted")
	clock.advance(time.Hour)
	require.Equal(t, "a=1 c=2 d=2 x=0", content(t, db, nil))
	require.NoError(t, db.Compact(nil, nil))
	require.Equal(t, "a=1 c=2 d=2 x=0", content(t, db, nil))
	checkValues(t, db)
	require.NoError(t, db.Close())
}

// TestIngestThroughLinks takes a table by a symbolic link and finds its bytes shared; where the
// file system does not link, it is copied and the copy counted.
func TestIngestThroughLinks(t *testing.T) {
	from := t.TempDir()
	table := makeTable(t, vfs.OS(nil), filepath.Join(from, "t.sst"), "a=1 b=2")
	require.NoError(t, os.Symlink("t.sst", filepath.Join(from, "symbolic")))
	given, err := os.Stat(table)
	require.NoError(t, err)
	for _, links := range []bool{true, false} {
		dir := t.TempDir()
		fault := vfs.NewFault(vfs.OS(nil))
		if !links {
			fault.Add(vfs.Rule{Ops: vfs.OpLink, Forever: true, Err: syscall.EXDEV})
		}
		db := open(t, dir, &engine.Options{FS: fault})
		require.NoError(t, db.Ingest(filepath.Join(from, "symbolic")))
		require.Equal(t, "a=1 b=2", content(t, db, nil))
		tables, err := filepath.Glob(dir + "/*.sst")
		require.NoError(t, err)
		require.Len(t, tables, 1)
		info, err := os.Lstat(tables[0])
		require.NoError(t, err)
		require.True(t, info.Mode().IsRegular())
		require.Equal(t, links, os.SameFile(given, info))
		written := db.Metrics().Ledger.Cause("ingest")
		require.Equal(t, links, written == 0, "%d bytes", written)
		require.ErrorIs(t, db.Ingest(tables[0]), engine.ErrInvalidArgument, "its own file")
		wayIn := filepath.Join(t.TempDir(), "way in")
		require.NoError(t, os.Symlink(dir, wayIn))
		require.ErrorIs(t, db.Ingest(filepath.Join(wayIn, filepath.Base(tables[0]))), engine.ErrInvalidArgument)
		require.NoError(t, db.Close())
	}
	require.NoError(t, os.Remove(table))
}

// TestIngestKeepsLargeKeysAndValues: the limits of a database bind its own writes only.
func TestIngestKeepsLargeKeysAndValues(t *testing.T) {
	fs := vfs.NewMem()
	opts := small(fs)
	opts.MaxKeyBytes, opts.MaxValueBytes = 5000, 2<<20
	w, err := engine.NewTableWriter("t.sst", opts)
	require.NoError(t, err)
	key, value := bytes.Repeat([]byte("k"), 5000), bytes.Repeat([]byte("value "), 300_000)
	require.NoError(t, w.Put(key, value))
	require.NoError(t, w.Close())
	opts = small(fs)
	opts.MaxValueBytes = 1000
	db := open(t, "db", opts)
	require.ErrorIs(t, db.Put(key, nil, nil), engine.ErrInvalidArgument)
	require.NoError(t, db.Ingest("t.sst"))
	want := string(key) + "=" + string(value)
	require.Equal(t, want, content(t, db, nil))
	require.NoError(t, db.Ingest(makeTable(t, fs, "u.sst", "kk=1 kkkkkkkkkkkkl=1")))
	require.NoError(t, db.Compact(nil, nil))
	require.Equal(t, "kk=1 "+want+" kkkkkkkkkkkkl=1", content(t, db, nil))
	require.NoError(t, db.Close())
}

// TestIngestRefuses lists what is not taken in. Nothing of the call is, and nothing stays behind.
func TestIngestRefuses(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, "db", small(fs))
	put(t, db, "a=1")
	require.NoError(t, db.Flush())
	good := makeTable(t, fs, "good.sst", "b=2")
	require.NoError(t, fs.MkdirAll("folder"))
	writeFile(t, fs, "short", []byte("no table"))
	whole := readFile(t, fs, good)
	const footer = 53 // has no checksum
	stamp := bytes.Index(whole, []byte("global_seqno")) + len("global_seqno")
	for at := range whole[:len(whole)-footer] {
		if at >= stamp && at < stamp+8 {
			continue // where RocksDB overwrites without a new checksum
		}
		damaged := append([]byte{}, whole...)
		damaged[at] ^= 0x10
		writeFile(t, fs, "damaged.sst", damaged)
		require.Error(t, db.Ingest(good, "damaged.sst"), "byte %d", at)
	}
	for path, want := range map[string]struct {
		kind    error
		message string
	}{
		"":            {engine.ErrInvalidArgument, "ingest into db: path 2 of 2 is empty"},
		"missing.sst": {os.ErrNotExist, "missing.sst"},
		"folder":      {engine.ErrInvalidArgument, "ingest into db: folder: it is no file: name table files"},
		"db/CURRENT":  {engine.ErrInvalidArgument, "ingest into db: db/CURRENT: it lies in the database's own directory: name a file elsewhere"},
		"short":       {engine.ErrCorruption, "ingest into db: short: corruption: short at 0x0: 8 bytes are no table"},
	} {
		err := db.Ingest(good, path)
		require.ErrorIs(t, err, want.kind, path)
		require.ErrorContains(t, err, want.message)
	}
	require.Equal(t, "a=1", content(t, db, nil))
	require.Len(t, tableFiles(t, fs), 1, "what had been brought in is gone")
	require.NoError(t, db.Close())
	require.ErrorIs(t, db.Ingest(good), engine.ErrClosed)
	r, err := engine.OpenReadOnly("db", small(fs))
	require.NoError(t, err)
	require.ErrorIs(t, r.Ingest(good), engine.ErrReadOnly)
	require.NoError(t, r.Close())
}

func writeFile(t testing.TB, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.Buffered)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func tableFiles(t testing.TB, fs vfs.FS) (tables []string) {
	t.Helper()
	names, err := fs.List("db")
	require.NoError(t, err)
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			tables = append(tables, n)
		}
	}
	return tables
}

// TestSnapshotBesideIngest makes a snapshot while the edit that adds a table is on its way to the device.
func TestSnapshotBesideIngest(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	put(t, db, "a=1 k=1")
	require.NoError(t, db.Flush())
	table := makeTable(t, mem, "t.sst", "k=2")
	edit := holdBack(fault, vfs.Rule{Ops: vfs.OpSync, Path: "MANIFEST-*"})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.Ingest(table); err != nil {
			t.Error(err)
		}
	})
	<-edit.reached
	during := db.NewSnapshot()
	defer during.Close()
	require.Equal(t, "a=1 k=1", content(t, db, nil))
	edit.release()
	within(t, "ingest", finished(&wg))
	require.Equal(t, "a=1 k=2", content(t, db, nil))
	require.Equal(t, "a=1 k=1", content(t, db, during))
	require.NoError(t, db.Close())
}

// TestIngestBesideCompaction takes in a table between the two that are being merged into one, which
// nothing must come in the way of.
func TestIngestBesideCompaction(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	for _, words := range []string{"a=1 b=1", "y=1 z=1"} {
		put(t, db, words)
		require.NoError(t, db.Flush())
	}
	table := makeTable(t, mem, "t.sst", "m=1")
	merging := holdBack(fault, vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst"})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.Compact(nil, nil); err != nil {
			t.Error(err)
		}
	})
	<-merging.reached
	require.NoError(t, db.Ingest(table))
	require.Equal(t, "L0[m..m] L0[y..z] L0[a..b]", shape(db))
	merging.release()
	within(t, "compaction", finished(&wg))
	require.Equal(t, "a=1 b=1 m=1 y=1 z=1", content(t, db, nil))
	require.NoError(t, db.Close())
}

// TestIngestReadsWhatItTakes puts another file in the place of one that is being taken in, at the moment
// at which it is linked, or copied: what is not right or not such a table is refused.
func TestIngestReadsWhatItTakes(t *testing.T) {
	for _, links := range []bool{true, false} {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		db := open(t, "db", small(fault))
		put(t, db, "a=1")
		require.NoError(t, db.Flush())
		good := readFile(t, mem, makeTable(t, mem, "t.sst", "k=v"))
		damaged := bytes.Clone(good)
		damaged[5] ^= 0x10
		inside := readFile(t, mem, "db/"+tableFiles(t, mem)[0])
		for _, other := range [][]byte{damaged, inside} {
			writeFile(t, mem, "t.sst", good)
			swap := fault.Add(vfs.Rule{Ops: vfs.OpLink, Err: syscall.EXDEV, Match: func(vfs.Op, string) bool {
				writeFile(t, mem, "t.sst", other)
				return !links
			}})
			require.Error(t, db.Ingest("t.sst"))
			swap.Remove()
			require.Equal(t, "a=1", content(t, db, nil))
			require.Len(t, tableFiles(t, mem), 1)
		}
		require.NoError(t, db.Close())
	}
}

// TestIngestRefusesBlobReferences: the values of a table out of a database with blob files would
// not come along.
func TestIngestRefusesBlobReferences(t *testing.T) {
	fs := vfs.NewMem()
	other := open(t, "other", small(fs))
	require.NoError(t, other.Put([]byte("k"), make([]byte, 1000), nil))
	require.NoError(t, other.Flush())
	require.NoError(t, other.Close())
	names, err := fs.List("other")
	require.NoError(t, err)
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".sst") })
	db := open(t, "db", small(fs))
	err = db.Ingest("other/" + names[i])
	require.ErrorIs(t, err, engine.ErrUnsupported)
	require.ErrorContains(t, err, `key "k" refers to a blob file, which does not come along`)
	require.Empty(t, tableFiles(t, fs))
	require.NoError(t, db.Close())
}

// TestCloseDuringIngest closes the database while a table is being read.
func TestCloseDuringIngest(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	makeTable(t, fault, "t.sst", "a=1")
	db := open(t, "db", small(fault))
	reading := holdBack(fault, vfs.Rule{Ops: vfs.OpRead, Path: "t.sst", Forever: true})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.Ingest("t.sst"); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("ingest: %v", err)
		}
	})
	<-reading.reached
	wg.Go(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	for db.Put([]byte("k"), nil, nil) == nil { // until Close has begun
		time.Sleep(time.Millisecond)
	}
	reading.release()
	within(t, "close", finished(&wg))
	require.Empty(t, tableFiles(t, fault))
}

// TestReadOnlyBesideIngest lets a table be brought in, then a reader read the manifest, then the edit
// come that adds the table, and then the reader read the log, which tells of it.
func TestReadOnlyBesideIngest(t *testing.T) {
	mem := vfs.NewMem()
	writerFS, readerFS := vfs.NewFault(mem), vfs.NewFault(mem)
	db := open(t, "db", small(writerFS))
	put(t, db, "a=1")
	table := makeTable(t, mem, "t.sst", "b=2")
	brought := holdBack(writerFS, vfs.Rule{Ops: vfs.OpSyncDir, Path: "db"})
	var writer, reader sync.WaitGroup
	writer.Go(func() {
		if err := db.Ingest(table); err != nil {
			t.Error(err)
		}
	})
	<-brought.reached
	log := holdBack(readerFS, vfs.Rule{Ops: vfs.OpOpen, Path: "*.log"})
	reader.Go(func() {
		r, err := engine.OpenReadOnly("db", small(readerFS))
		if err != nil {
			t.Error(err)
			return
		}
		if got := content(t, r, nil); got != "a=1 b=2 c=3" {
			t.Errorf("the reader sees %q", got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	<-log.reached
	brought.release()
	within(t, "ingest", finished(&writer))
	put(t, db, "c=3")
	log.release()
	within(t, "reader", finished(&reader))
	require.NoError(t, db.Close())
}
