package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// world is what a crash test knows about a log: which record went where, what was promised.
type world struct {
	mu       sync.Mutex
	seq      uint64            // last appended
	first    map[uint64]uint64 // segment -> sequence number of its first record
	oldest   uint64            // the oldest segment that is not released
	promised atomic.Uint64     // acked per write, or older than a second when another was acked
	acks     []ack             // per second, not yet that old
	policies []Policy          // to draw from
	clock    *clock            //
	rng      *rand.Rand        //
	next     uint64            // number of the next segment
	maxSize  int               //
	log      *Log              //
	errs     []error           // of checks, which run on any goroutine
	checks   int               //
	torn     int               // checks that met a torn tail
	kept     map[[2]uint64]int // recovered and appended -> how often, to see that it varies
}

type ack struct {
	seq uint64
	at  time.Time
}

func newWorld(seed uint64, policies ...Policy) *world {
	return &world{
		first: map[uint64]uint64{7: 1}, oldest: 7, next: 8, policies: policies, clock: newClock(),
		rng: rand.New(rand.NewPCG(seed, 99)), maxSize: 6000, kept: map[[2]uint64]int{},
	}
}

// step does one thing to the log.
func (w *world) step() error {
	switch w.rng.IntN(40) {
	case 0:
		return w.rotate()
	case 1:
		return w.log.Flush()
	case 2:
		return w.release()
	case 3:
		w.clock.advance(time.Duration(w.rng.IntN(700)) * time.Millisecond)
		w.log.tick()
		return w.log.Err()
	case 4:
		return w.log.Trim()
	}
	size := 32 + w.rng.IntN(200)
	if w.rng.IntN(4) == 0 {
		size = 32 + w.rng.IntN(w.maxSize)
	}
	policy := w.policies[w.rng.IntN(len(w.policies))]
	w.mu.Lock()
	rec := recordOf(w.seq+1, size)
	pos, err := w.log.Append(rec, policy)
	if err == nil {
		w.seq++
	}
	seq := w.seq
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return w.commit(pos, seq, policy)
}

func (w *world) commit(pos Position, seq uint64, p Policy) error {
	err := w.log.Commit(pos, p)
	if err != nil {
		return err
	}
	switch p {
	case PerWrite:
		w.promise(seq)
	case PerSecond:
		w.mu.Lock()
		now := w.clock.Now()
		w.acks = append(w.acks, ack{seq, now})
		for len(w.acks) > 0 && now.Sub(w.acks[0].at) > syncLimit {
			w.promise(w.acks[0].seq)
			w.acks = w.acks[1:]
		}
		w.mu.Unlock()
	}
	return nil
}

func (w *world) promise(seq uint64) {
	for {
		old := w.promised.Load()
		if seq <= old || w.promised.CompareAndSwap(old, seq) {
			return
		}
	}
}

func (w *world) rotate() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.log.Rotate(w.next, batch.AppendLogHeader(nil, w.seq+1, w.next-1, w.seq)); err != nil {
		return err
	}
	w.first[w.next] = w.seq + 1
	w.next++
	return nil
}

// release gives up the oldest segment once all of it was promised.
func (w *world) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	segs := w.log.Segments()
	if len(segs) < 2 || w.promised.Load()+1 < w.first[segs[1]] {
		return nil
	}
	w.oldest = segs[1]
	return w.log.Release(segs[0])
}

// check crashes in a few ways and reads what is left. It may run while the log is in use.
func (w *world) check(m *vfs.Mem, seed uint64) {
	// What was promised before the crash must be there, what is appended after it cannot be.
	promised := w.promised.Load()
	for i := range uint64(3) {
		after := m.Crash(rand.New(rand.NewPCG(seed, i)))
		if err := w.recover(after, promised); err != nil {
			w.mu.Lock()
			w.errs = append(w.errs, fmt.Errorf("crash %d.%d: %w", seed, i, err))
			w.mu.Unlock()
		}
	}
}

// recover reads the segments as an engine would and checks that they hold a prefix.
func (w *world) recover(m *vfs.Mem, promised uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checks++
	expect := w.first[w.oldest]
	complete := true
	for num := w.oldest; num < w.next; num++ {
		recs, err := readAllRecords(m, num)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == io.EOF:
		case isTorn(err):
			w.torn++
		default:
			return fmt.Errorf("segment %d: %w", num, err)
		}
		if len(recs) > 0 && !complete {
			return fmt.Errorf("segment %d holds %d records, but the one before it ended at %d", num, len(recs), expect-1)
		}
		for _, rec := range recs {
			if _, count, _ := batch.Header(rec); count == 0 {
				if seqOf(rec) != w.first[num] {
					return fmt.Errorf("segment %d begins with the header of %d", num, seqOf(rec))
				}
				continue
			}
			if seqOf(rec) != expect {
				return fmt.Errorf("segment %d: record %d, want %d", num, seqOf(rec), expect)
			}
			expect++
		}
		if next, ok := w.first[num+1]; ok && expect != next {
			complete = false
		}
	}
	if expect <= promised {
		return fmt.Errorf("recovered up to %d, but %d was promised", expect-1, promised)
	}
	w.kept[[2]uint64{expect - 1, w.seq}]++
	return nil
}

func isTorn(err error) bool {
	var torn *TornError
	return errors.As(err, &torn)
}

func readAllRecords(m vfs.FS, num uint64) (recs [][]byte, err error) {
	r, err := OpenReader(m, segmentPath(num), num)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.Mark = batch.Mark
	for {
		rec, _, err := r.Next()
		if err != nil {
			return recs, err
		}
		if !batch.IsFiller(rec) {
			recs = append(recs, split(append([]byte(nil), rec...))...)
		}
	}
}

var crashPolicies = map[string][]Policy{
	"per-write":  {PerWrite},
	"per-second": {PerSecond},
	"none":       {None},
	"mixed":      {PerWrite, PerSecond, None, None},
}

// TestCrashAtEverySync cuts the power around every sync and between all steps.
func TestCrashAtEverySync(t *testing.T) {
	for name, policies := range crashPolicies {
		t.Run(name, func(t *testing.T) {
			checks, torn, lossy := 0, 0, 0
			seeds := rounds(12)
			if name == "per-write" {
				seeds = rounds(4) // it syncs, and so is checked, at each step
			}
			for seed := range seeds {
				w := newWorld(seed, policies...)
				m := newMem(t)
				opts := testOptions(m)
				opts.SegmentBytes = 64 << 10
				opts.Now = w.clock.Now
				w.log = newQuiet(t, opts, 7)
				point := seed << 32
				m.SetSyncHook(func(op, file string) {
					point++
					if w.mu.TryLock() { // else within Rotate or Release, which sync nothing
						w.mu.Unlock()
						w.check(m, point)
					}
				})
				for range 150 {
					require.NoError(t, w.step())
					point++
					if w.rng.IntN(5) == 0 {
						w.check(m, point)
					}
				}
				require.NoError(t, w.log.shut())
				w.promise(w.seq)
				w.check(m, point+1)
				require.Empty(t, w.errs)
				checks, torn = checks+w.checks, torn+w.torn
				for k := range w.kept {
					if k[0] < k[1] {
						lossy++
					}
				}
			}
			// The test would be worth nothing if crashes never lost or tore anything.
			require.Greater(t, checks, int(40*seeds))
			if name != "per-write" {
				require.NotZero(t, torn)
			}
			require.NotZero(t, lossy)
		})
	}
}

// TestCrashWithManyWriters does the same with commits of all policies at once, the background
// goroutine and two syncs in flight.
func TestCrashWithManyWriters(t *testing.T) {
	for seed := range rounds(4) {
		w := newWorld(seed, PerWrite)
		m := newMem(t)
		opts := testOptions(m)
		opts.SegmentBytes = 64 << 10
		var err error
		w.log, err = Create(opts, 7, nil)
		require.NoError(t, err)
		var point atomic.Uint64
		m.SetSyncHook(func(op, file string) {
			if p := point.Add(1); p%3 == 0 && w.mu.TryLock() {
				w.mu.Unlock()
				w.check(m, seed<<32+p)
			}
		})
		var wg sync.WaitGroup
		for g := range 6 {
			rng := rand.New(rand.NewPCG(seed, uint64(g)))
			wg.Go(func() {
				for i := range 40 {
					w.mu.Lock()
					pos, err := w.log.Append(recordOf(w.seq+1, 32+rng.IntN(3000)), PerWrite)
					if err == nil {
						w.seq++
					}
					seq := w.seq
					w.mu.Unlock()
					if err == nil {
						err = w.commit(pos, seq, []Policy{PerWrite, PerWrite, None}[rng.IntN(3)])
					}
					if err == nil && g == 0 && i%10 == 9 {
						err = w.rotate()
					}
					if err != nil {
						w.mu.Lock()
						w.errs = append(w.errs, err)
						w.mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		m.SetSyncHook(nil)
		require.NoError(t, w.log.Close())
		w.promise(w.seq)
		w.check(m, seed)
		require.Empty(t, w.errs)
		require.NotZero(t, w.checks)
	}
}

// TestKill: what a killed process leaves behind, with everything that was written.
func TestKill(t *testing.T) {
	w := newWorld(5, PerWrite, None, None, None)
	m := newMem(t)
	opts := testOptions(m)
	opts.Now = w.clock.Now
	w.log = newQuiet(t, opts, 7)
	for range 2000 {
		require.NoError(t, w.step())
		if w.rng.IntN(50) == 0 {
			require.NoError(t, w.recover(m.CrashKeepAll(), w.promised.Load()))
		}
	}
	require.NoError(t, w.log.shut())
}

// TestPowerCutAfterRotate is the shortest way to a hole: unsynced bytes in one segment, synced
// ones in the next.
func TestPowerCutAfterRotate(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	appendCommit(t, l, recordOf(1, 5000), None)
	require.NoError(t, l.Flush())
	appendCommit(t, l, recordOf(2, 5000), None)
	require.NoError(t, l.Rotate(8, batch.AppendLogHeader(nil, 3, 7, 2)))
	appendCommit(t, l, recordOf(3, 500), PerWrite)
	after := m.CrashLoseUnsynced()
	requireRecords(t, after, 7, [][]byte{recordOf(1, 5000), recordOf(2, 5000)})
	requireRecords(t, after, 8, [][]byte{batch.AppendLogHeader(nil, 3, 7, 2), recordOf(3, 500)})
	require.NoError(t, l.shut())
}

// TestMarksTurnDamageIntoCorruption flips a byte in each page of a log that synced each record.
// Below the last mark that is corruption; in the last record nothing can tell it from a tear.
func TestMarksTurnDamageIntoCorruption(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	var ends []int64
	for i := range 20 {
		appendCommit(t, l, recordOf(uint64(i+1), 3000), PerWrite)
		ends = append(ends, l.current().tail)
	}
	for i := range ends {
		for j, damage := range []func([]byte){func(b []byte) { b[2000] ^= 1 }, func(b []byte) { clear(b) }} {
			at := ends[i] - 4096
			if i == 0 && j == 0 && compressed {
				at += record.CompressionHeaderLen // which is sound
			}
			bad := m.CrashLoseUnsynced()
			f, err := bad.OpenReadWrite(segmentPath(7), vfs.Direct)
			require.NoError(t, err)
			page := vfs.AlignedBuffer(4096)
			_, err = f.ReadAt(page, ends[i]-4096)
			require.NoError(t, err)
			damage(page)
			_, err = f.WriteAt(page, ends[i]-4096)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			recs, err := readAllRecords(bad, 7)
			require.Len(t, recs, i)
			if ce, ok := corrupt.As(err); i < len(ends)-1 {
				require.True(t, ok, "page %d: %v", i, err)
				require.Equal(t, at, ce.Offset)
			} else {
				require.False(t, ok, "last page: %v", err)
			}
		}
	}
	require.NoError(t, l.shut())
}

// TestHoleBehindTrailer: the synced part ends with the zeros that close a block, behind its last
// record; a hole right after it is still above the mark.
func TestHoleBehindTrailer(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	appendCommit(t, l, recordOf(1, record.BlockSize-5-framedLen(0, 0)), PerWrite)
	for i := range 2 {
		appendCommit(t, l, recordOf(uint64(i+2), 3000), None)
		require.NoError(t, l.Flush())
	}
	f, err := m.OpenReadWrite(segmentPath(7), vfs.Direct)
	require.NoError(t, err)
	_, err = f.WriteAt(vfs.AlignedBuffer(4096), record.BlockSize)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	recs, err := readSegment(t, m, 7)
	require.Len(t, recs, 1)
	require.True(t, isTorn(err), "%v", err)
	require.NoError(t, l.shut())
}

// TestHoleAboveMarks: unsynced pages that reached the device out of order are a torn tail.
func TestHoleAboveMarks(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	appendCommit(t, l, recordOf(1, 3000), PerWrite)
	for i := range 5 {
		appendCommit(t, l, recordOf(uint64(i+2), 3000), None)
		require.NoError(t, l.Flush())
	}
	f, err := m.OpenReadWrite(segmentPath(7), vfs.Direct)
	require.NoError(t, err)
	_, err = f.WriteAt(vfs.AlignedBuffer(4096), 8192)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r, err := OpenReader(m, segmentPath(7), 7)
	require.NoError(t, err)
	r.Mark = batch.Mark
	n := 0
	for err == nil {
		if _, _, err = r.Next(); err == nil {
			n++
		}
	}
	require.Equal(t, 4, n, "two records and their fillers")
	var torn *TornError
	require.ErrorAs(t, err, &torn)
	require.EqualValues(t, 8192, torn.Offset)
	require.EqualValues(t, 8192, r.End())
	require.EqualValues(t, 4096, r.SyncedTo())
	require.NoError(t, r.Close())
	require.NoError(t, l.shut())
}
