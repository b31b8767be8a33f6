package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/internal/zstd"
)

// The tests run twice: with records as they are, and with records that are merged and compressed.
type bothFormats struct{ m *testing.M }

var compressed bool

func (b bothFormats) Run() int {
	compressed = false
	code := b.m.Run()
	compressed = true
	return code | b.m.Run()
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(bothFormats{m}) }

const testDir = "db"

func fileName(num uint64) string { return fmt.Sprintf("%06d.log", num) }

func segmentPath(num uint64) string { return path.Join(testDir, fileName(num)) }

func newMem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll(testDir))
	require.NoError(t, m.SyncDir("."))
	return m
}

func testOptions(fs vfs.FS) Options {
	opts := Options{
		FS: fs, Dir: testDir, FileName: fileName, SegmentBytes: 1 << 20, MaxRecycled: 2,
		Filler: batch.Filler, MinFiller: batch.MinFiller,
	}
	if compressed {
		opts.Compress, opts.Merge = true, batch.Merge
	}
	return opts
}

// clock is a settable time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newQuiet makes a log without its background goroutine: the test calls tick.
func newQuiet(t testing.TB, opts Options, num uint64) *Log {
	t.Helper()
	l, err := create(opts, num, nil)
	require.NoError(t, err)
	close(l.bgDone)
	return l
}

// recordOf is a batch of exactly size bytes, at least 32, with sequence number seq and one op.
func recordOf(seq uint64, size int) []byte {
	rep := make([]byte, batch.HeaderLen)
	batch.SetHeader(rep, seq, 1)
	key := binary.BigEndian.AppendUint64(nil, seq)
	for pad := range 3 {
		k := append(key, make([]byte, pad)...)
		n := size - batch.OpLen(ikey.KindSet, len(k), 0) - batch.HeaderLen
		for ; n >= 0 && batch.HeaderLen+batch.OpLen(ikey.KindSet, len(k), n) > size; n-- {
		}
		if n >= 0 && batch.HeaderLen+batch.OpLen(ikey.KindSet, len(k), n) == size {
			value := make([]byte, n)
			rng := rand.New(rand.NewPCG(seq, uint64(size)))
			mask := [3]byte{0xff, 0x03, 0}[seq%3] // from noise to nothing, for compression
			for i := range value {
				value[i] = byte(rng.Uint32()) & mask
			}
			return batch.AppendOp(rep, ikey.KindSet, k, value)
		}
	}
	panic(fmt.Sprintf("no record of %d bytes", size))
}

func seqOf(rec []byte) uint64 {
	seq, _, _ := batch.Header(rec)
	return seq
}

// rounds is how often a randomised test repeats: n, and less in builds that check invariants,
// which are many times slower.
func rounds(n uint64) uint64 {
	if invariants.Enabled {
		return (n + 3) / 4
	}
	return n
}

// readSegment returns the records of a segment that are no fillers, and the error at its end.
func readSegment(t testing.TB, fs vfs.FS, num uint64) (recs [][]byte, err error) {
	t.Helper()
	r, err := OpenReader(fs, segmentPath(num), num)
	if err != nil {
		return nil, err
	}
	r.Mark = batch.Mark
	defer func() { require.NoError(t, r.Close()) }()
	for {
		rec, _, err := r.Next()
		if err != nil {
			return recs, err
		}
		if !batch.IsFiller(rec) {
			recs = append(recs, split(bytes.Clone(rec))...)
		}
	}
}

// split undoes batch.Merge for batches that had one op each.
func split(rec []byte) (recs [][]byte) {
	seq, count, ok := batch.Header(rec)
	if !ok || count < 2 {
		return [][]byte{rec}
	}
	r, err := batch.NewReader(rec)
	for err == nil {
		var op batch.Op
		var more bool
		if op, more, err = r.Next(); err == nil && !more {
			return recs
		}
		one := make([]byte, batch.HeaderLen)
		batch.SetHeader(one, seq+uint64(len(recs)), 1)
		recs = append(recs, batch.AppendOp(one, op.Kind, op.Key, op.Value))
	}
	panic(err)
}

// requireRecords checks that a segment holds exactly want and ends cleanly.
func requireRecords(t testing.TB, fs vfs.FS, num uint64, want [][]byte) {
	t.Helper()
	recs, err := readSegment(t, fs, num)
	require.Equal(t, io.EOF, err)
	require.Equal(t, len(want), len(recs), "segment %d", num)
	for i := range want {
		if !bytes.Equal(want[i], recs[i]) {
			t.Fatalf("segment %d record %d: %d bytes, want %d", num, i, len(recs[i]), len(want[i]))
		}
	}
}

func appendCommit(t testing.TB, l *Log, rec []byte, p Policy) Position {
	t.Helper()
	pos, err := l.Append(rec, p)
	require.NoError(t, err)
	require.NoError(t, l.Commit(pos, p))
	return pos
}

func TestWriteAndRead(t *testing.T) {
	m := newMem(t)
	l, err := Create(testOptions(m), 7, batch.AppendLogHeader(nil, 1, 3, 0))
	require.NoError(t, err)
	want := [][]byte{batch.AppendLogHeader(nil, 1, 3, 0)}
	for i, size := range []int{32, 100, 4000, 40_000, 200_000, 700_000, 3_000_000, 10 << 20, 33} {
		rec := recordOf(uint64(i+1), size)
		want = append(want, rec)
		appendCommit(t, l, rec, Policy(i%3))
	}
	require.NoError(t, l.Flush())
	requireRecords(t, m.CrashKeepAll(), 7, want)
	require.NoError(t, l.Close())
	requireRecords(t, m, 7, want)
	requireRecords(t, m.CrashLoseUnsynced(), 7, want)
	met := l.Metrics()
	require.EqualValues(t, len(want), met.Records)
	require.Zero(t, met.Backlog)
}

// TestCloseCutsFile: a closed log ends where its last record ends.
func TestCloseCutsFile(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	pos, err := l.Append(recordOf(1, 100), PerWrite)
	require.NoError(t, err)
	s := l.current()
	require.NoError(t, l.shut())
	info, err := m.Stat(segmentPath(7))
	require.NoError(t, err)
	require.Equal(t, s.tail, info.Size())
	require.EqualValues(t, framedLen(0, 100), info.Size())
	_, err = l.Append(nil, PerWrite)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, l.Rotate(8, nil), ErrClosed)
	require.ErrorIs(t, l.Flush(), ErrClosed)
	require.NoError(t, l.Commit(pos, PerWrite), "it is on the device")
}

// framedLen is how many bytes a record of size bytes takes at offset at of a file when it is not
// compressed.
func framedLen(at, size int) (n int) {
	if compressed {
		if size = zstd.StoredLen(size); at == 0 {
			n = record.CompressionHeaderLen
		}
	}
	return n + record.FramedLen((at+n)%record.BlockSize, true, size)
}

// TestFillerPayload checks the arithmetic for every place in a block: the filler's frame ends
// at a page, and is never more than one page longer than the gap.
func TestFillerPayload(t *testing.T) {
	for _, page := range []int{4096, 8192, 32768} {
		for at := range record.BlockSize {
			gap := (page - at%page) % page
			if gap == 0 || record.TrailerLen(at, true) == gap {
				continue
			}
			n := fillerPayload(at, gap, page, batch.MinFiller)
			framed := record.FramedLen(at, true, n)
			if (at+framed)%page != 0 || framed > gap+page || n < batch.MinFiller {
				t.Fatalf("page %d at %d gap %d: payload %d framed %d", page, at, gap, n, framed)
			}
		}
	}
}

// TestEveryGap syncs at every offset of a page, in each page of a block, and reads it all back.
func TestEveryGap(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	var want [][]byte
	for gap := range 4096 {
		at := int(l.current().tail)
		require.Zero(t, at%4096)
		size := 32
		for (at+framedLen(at, size)+gap)%4096 != 0 {
			size++
		}
		rec := recordOf(uint64(gap+1), size)
		want = append(want, rec)
		before := l.Metrics().FillerBytes
		appendCommit(t, l, rec, PerWrite)
		require.EqualValues(t, gap, (l.Metrics().FillerBytes-before)%4096)
	}
	requireRecords(t, m, 7, want)
	requireRecords(t, m.CrashLoseUnsynced(), 7, want)
	require.NoError(t, l.shut())
	requireRecords(t, m, 7, want)
}

// TestEveryBlockGap ends a sync at each of the last 60 and the first 40 offsets of a block,
// where headers do not fit or fillers span blocks.
func TestEveryBlockGap(t *testing.T) {
	for off := -60; off < 40; off++ {
		m := newMem(t)
		l := newQuiet(t, testOptions(m), 7)
		size := record.BlockSize + off - record.RecyclableHeaderLen
		if size+record.RecyclableHeaderLen > record.BlockSize {
			size -= record.RecyclableHeaderLen
		}
		want := [][]byte{recordOf(1, size), recordOf(2, 500)}
		appendCommit(t, l, want[0], PerWrite)
		requireRecords(t, m.CrashLoseUnsynced(), 7, want[:1])
		appendCommit(t, l, want[1], PerWrite)
		requireRecords(t, m.CrashLoseUnsynced(), 7, want)
		require.NoError(t, l.shut())
	}
}

// TestOnePageOnce: no page is ever written twice, whatever the policies.
func TestOnePageOnce(t *testing.T) {
	m := newMem(t)
	w := &watch{FS: m, pages: map[string]int{}}
	l := newQuiet(t, testOptions(w), 7)
	rng := rand.New(rand.NewPCG(1, 2))
	seq := uint64(0)
	for n := uint64(7); n < 10; n++ {
		for range 300 {
			seq++
			appendCommit(t, l, recordOf(seq, 32+rng.IntN(9000)), Policy(rng.IntN(3)))
			switch rng.IntN(10) {
			case 0:
				require.NoError(t, l.Flush())
			case 1:
				require.NoError(t, l.SyncAll())
			}
		}
		require.NoError(t, l.Rotate(n+1, nil))
	}
	require.NoError(t, l.shut())
	require.Empty(t, w.twice)
	require.NotEmpty(t, w.pages)
}

// watch notes pages with records that are written more than once.
type watch struct {
	vfs.FS
	mu    sync.Mutex
	pages map[string]int
	twice []string
}

func (w *watch) Create(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := w.FS.Create(name, mode)
	return &watchFile{f, w}, err
}

type watchFile struct {
	vfs.File
	w *watch
}

func (f *watchFile) WriteAt(p []byte, off int64) (int, error) {
	f.w.mu.Lock()
	for at := 0; at < len(p); at += 4096 {
		if bytes.Count(p[at:at+4096], []byte{0}) == 4096 {
			continue // zeros ahead
		}
		key := fmt.Sprintf("%s@%d", f.Name(), off+int64(at))
		if f.w.pages[key]++; f.w.pages[key] > 1 {
			f.w.twice = append(f.w.twice, key)
		}
	}
	f.w.mu.Unlock()
	return f.File.WriteAt(p, off)
}

// TestUncontendedCost: a commit is one write and one sync, but for the zeros written ahead
// once for every 128 pages of new blocks, and none at all in a recycled file.
func TestUncontendedCost(t *testing.T) {
	f := vfs.NewFault(newMem(t))
	opts := testOptions(f)
	opts.SegmentBytes = 4 << 20
	l := newQuiet(t, opts, 7)
	writes := f.Add(vfs.Rule{Ops: vfs.OpWrite})
	syncs := f.Add(vfs.Rule{Ops: vfs.OpSync})
	const n = 512
	for i := range n {
		appendCommit(t, l, recordOf(uint64(i+1), 1000), PerWrite)
	}
	require.Equal(t, n, syncs.Calls())
	require.Equal(t, n+n/129+1, writes.Calls())
	require.NoError(t, l.Rotate(8, nil))
	appendCommit(t, l, recordOf(n+1, 1000), PerWrite)
	require.NoError(t, l.Release(7))
	require.NoError(t, l.Rotate(9, nil))
	appendCommit(t, l, recordOf(n+2, 1000), PerWrite)
	w, s := writes.Calls(), syncs.Calls()
	for i := range 400 {
		appendCommit(t, l, recordOf(uint64(n+3+i), 1000), PerWrite)
	}
	require.Equal(t, 400, writes.Calls()-w)
	require.Equal(t, 400, syncs.Calls()-s)
	met := l.Metrics()
	require.EqualValues(t, 1, met.Recycled)
	require.EqualValues(t, writes.Calls(), met.Writes)
	require.EqualValues(t, syncs.Calls(), met.Syncs)
	require.NoError(t, l.shut())
}

// TestOnWrite: the ledger hears of every byte that the device got.
func TestOnWrite(t *testing.T) {
	var ledger uint64
	opts := testOptions(newMem(t))
	opts.OnWrite = func(n int64) { ledger += uint64(n) }
	l := newQuiet(t, opts, 7)
	for i := range 100 {
		appendCommit(t, l, recordOf(uint64(i+1), 5000), Policy(i%3))
	}
	require.NoError(t, l.shut())
	met := l.Metrics()
	require.Equal(t, met.Bytes, ledger)
	require.Greater(t, met.Bytes, met.RecordBytes+met.FillerBytes+met.ZeroBytes)
	require.Less(t, met.Bytes, met.RecordBytes+met.FillerBytes+met.ZeroBytes+100*30+4096)
}

// TestOnlySyncedSegmentsAreRecycled: where nobody waits for syncs, a file kept for cheap ones is only space.
func TestOnlySyncedSegmentsAreRecycled(t *testing.T) {
	for _, p := range []Policy{PerWrite, PerSecond, None} {
		m := newMem(t)
		l := newQuiet(t, testOptions(m), 7)
		appendCommit(t, l, recordOf(1, 100), p)
		require.NoError(t, l.Rotate(8, nil))
		appendCommit(t, l, recordOf(2, 100), p)
		require.NoError(t, l.SyncAll())
		require.NoError(t, l.Release(7))
		names, err := m.List(testDir)
		require.NoError(t, err)
		require.Equal(t, p == PerWrite, len(names) == 2, "%s: %v", p, names)
		require.NoError(t, l.shut())
	}
}

func TestSegmentsAndRelease(t *testing.T) {
	m := newMem(t)
	opts := testOptions(m)
	opts.MaxRecycled = 1
	l := newQuiet(t, opts, 7)
	appendCommit(t, l, recordOf(1, 100), None)
	require.NoError(t, l.Rotate(8, nil))
	appendCommit(t, l, recordOf(2, 100), None)
	require.NoError(t, l.Rotate(9, nil))
	l.segs[0].waited, l.segs[1].waited = true, true
	require.Equal(t, []uint64{7, 8, 9}, l.Segments())
	require.Error(t, l.Release(9), "it is being appended to")
	require.Error(t, l.Release(5))
	require.Error(t, l.Rotate(9, nil))

	// 7 is not on the device yet: it is recycled when it is, and hidden at once.
	require.NoError(t, l.Release(7))
	require.Error(t, l.Release(7))
	require.Equal(t, []uint64{8, 9}, l.Segments())
	appendCommit(t, l, recordOf(3, 100), PerWrite)
	require.NoError(t, l.Release(8))
	names, err := m.List(testDir)
	require.NoError(t, err)
	require.Equal(t, []string{"000008.log", "000009.log"}, names, "9 is 7's file")
	require.NoError(t, l.Rotate(10, nil))
	appendCommit(t, l, recordOf(4, 100), PerWrite)
	require.NoError(t, l.Release(9))
	require.NoError(t, l.Rotate(11, nil))
	require.NoError(t, l.Rotate(12, nil))
	require.NoError(t, l.SyncAll())
	require.NoError(t, l.Release(11), "it never had a file")
	require.NoError(t, l.shut())
	names, err = m.List(testDir)
	require.NoError(t, err)
	require.Equal(t, []string{"000010.log"}, names)
}

func TestOptionErrors(t *testing.T) {
	for _, breakIt := range []func(*Options){
		func(o *Options) { o.FS = nil },
		func(o *Options) { o.FileName = nil },
		func(o *Options) { o.Filler = nil },
		func(o *Options) { o.MinFiller = 5000 },
		func(o *Options) { o.Dir = "missing" },
	} {
		opts := testOptions(newMem(t))
		breakIt(&opts)
		_, err := Create(opts, 7, nil)
		require.Error(t, err)
	}
	m := newMem(t)
	m.SetDirect(65536)
	_, err := Create(testOptions(m), 7, nil)
	require.ErrorContains(t, err, "units of 65536 bytes")
}

// TestAlignments runs on devices with other units, and on a file system without direct I/O.
func TestAlignments(t *testing.T) {
	for _, unit := range []int{0, 512, 4096, 16384, 32768} {
		m := newMem(t)
		m.SetDirect(unit)
		l := newQuiet(t, testOptions(m), 7)
		var want [][]byte
		for i := range 200 {
			rec := recordOf(uint64(i+1), 32+i*97%9000)
			want = append(want, rec)
			appendCommit(t, l, rec, Policy(i%3))
		}
		require.NoError(t, l.SyncAll())
		requireRecords(t, m.CrashLoseUnsynced(), 7, want)
		require.NoError(t, l.shut())
		requireRecords(t, m, 7, want)
	}
}

func TestCommitBeyondEnd(t *testing.T) {
	l := newQuiet(t, testOptions(newMem(t)), 7)
	require.ErrorContains(t, l.Commit(Position{7, 100}, PerWrite), "record 100 of log 7: the last one is 0")
	require.NoError(t, l.Commit(Position{7, 0}, PerWrite))
	require.NoError(t, l.shut())
}

func TestNoSpace(t *testing.T) {
	m := newMem(t)
	m.SetCapacity(3 << 20)
	l := newQuiet(t, testOptions(m), 7)
	var err error
	for i := 0; err == nil; i++ {
		var pos Position
		if pos, err = l.Append(recordOf(uint64(i+1), 50_000), PerWrite); err == nil {
			err = l.Commit(pos, PerWrite)
		}
	}
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.ErrorIs(t, l.Err(), vfs.ErrNoSpace)
	require.True(t, errors.Is(l.shut(), vfs.ErrNoSpace))
}
