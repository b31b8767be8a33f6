package wal

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/internal/zstd"
)

// TestPerSecond walks through the policy by a clock that the test sets.
func TestPerSecond(t *testing.T) {
	f := vfs.NewFault(newMem(t))
	syncs := f.Add(vfs.Rule{Ops: vfs.OpSync})
	writes := f.Add(vfs.Rule{Ops: vfs.OpWrite})
	c := newClock()
	opts := testOptions(f)
	opts.Now = c.Now
	l := newQuiet(t, opts, 7)

	appendCommit(t, l, recordOf(1, 100), PerSecond)
	require.Equal(t, syncEvery, l.tick(), "look again when it is due")
	c.advance(syncEvery - 1)
	l.tick()
	require.Zero(t, writes.Calls())
	c.advance(1)
	require.Zero(t, l.tick(), "an idle log was synced and needs nothing more")
	require.Equal(t, 1, writes.Calls())
	require.Equal(t, 1, syncs.Calls())

	// A background that never came: the commit beyond the limit waits, that is, syncs.
	appendCommit(t, l, recordOf(2, 100), PerSecond)
	c.advance(syncLimit - 1)
	appendCommit(t, l, recordOf(3, 100), PerSecond)
	require.Equal(t, 1, syncs.Calls())
	c.advance(1)
	appendCommit(t, l, recordOf(4, 100), PerSecond)
	require.Equal(t, 2, syncs.Calls())

	// A sync for someone else serves too.
	c.advance(syncEvery)
	appendCommit(t, l, recordOf(5, 100), PerSecond)
	appendCommit(t, l, recordOf(6, 100), PerWrite)
	require.Equal(t, 3, syncs.Calls())
	c.advance(time.Hour)
	require.Zero(t, l.tick())
	require.Equal(t, 3, syncs.Calls())
	require.NoError(t, l.shut())
}

// TestPerSecondWaitsForFlight: the oldest commit is covered by a sync in flight that takes
// longer than a second.
func TestPerSecondWaitsForFlight(t *testing.T) {
	g := newGate(newMem(t))
	c := newClock()
	opts := testOptions(g)
	opts.Now = c.Now
	l := newQuiet(t, opts, 7)
	appendCommit(t, l, recordOf(1, 100), PerSecond)
	c.advance(syncEvery)
	ticked := make(chan struct{})
	go func() { l.tick(); close(ticked) }()
	first := g.await(0)
	appendCommit(t, l, recordOf(2, 100), PerSecond)
	c.advance(syncLimit)
	pos, err := l.Append(recordOf(3, 100), PerWrite)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- l.Commit(pos, PerSecond) }()
	time.Sleep(5 * time.Millisecond)
	require.Empty(t, done)
	g.openUp() // record 2 is too old as well by now, and needs a sync of its own
	first <- nil
	require.NoError(t, <-done)
	<-ticked
	require.False(t, Position{7, 2}.After(l.synced), "record 2 is on the device")
	require.NoError(t, l.shut())
}

// TestNone: nothing is synced; what is written comes by size or by age.
func TestNone(t *testing.T) {
	m := newMem(t)
	f := vfs.NewFault(m)
	syncs := f.Add(vfs.Rule{Ops: vfs.OpSync})
	writes := f.Add(vfs.Rule{Ops: vfs.OpWrite})
	c := newClock()
	opts := testOptions(f)
	opts.Now = c.Now
	l := newQuiet(t, opts, 7)
	want := [][]byte{recordOf(1, 100)}
	appendCommit(t, l, want[0], None)
	require.Equal(t, writeIdle, l.tick())
	require.Zero(t, writes.Calls())
	c.advance(writeIdle)
	require.Zero(t, l.tick())
	require.Equal(t, 1, writes.Calls())
	requireRecords(t, m.CrashKeepAll(), 7, want)

	for seq := uint64(2); l.unwritten < writeTrigger; seq++ {
		want = append(want, recordOf(seq, 10_000))
		appendCommit(t, l, want[len(want)-1], None)
	}
	require.Equal(t, writeIdle, l.tick(), "whole pages are written, the last one waits for its time")
	require.Less(t, l.Metrics().Backlog, int64(mergeBytes+mergeBytes/2), "a record that is cut, and one that may yet grow")
	c.advance(writeIdle)
	l.tick()
	requireRecords(t, m.CrashKeepAll(), 7, want)
	require.Zero(t, syncs.Calls())

	// Rotation syncs what it seals, in the background.
	require.NoError(t, l.Rotate(8, nil))
	require.Zero(t, syncs.Calls())
	l.tick()
	require.Equal(t, 1, syncs.Calls())
	requireRecords(t, m.CrashLoseUnsynced(), 7, want)
	require.NoError(t, l.shut())
}

// TestBacklogBound: without a background goroutine Append itself keeps the bound, of bytes as they were
// appended, however short they become.
func TestBacklogBound(t *testing.T) {
	for _, noise := range []int{1 << 30, 10_000, 40} {
		m := newMem(t)
		l := newQuiet(t, testOptions(m), 7)
		var want [][]byte
		rng := rand.New(rand.NewPCG(3, 4))
		for i := range 300 {
			size := 32 + rng.IntN(40_000)
			if i%150 == 149 {
				size = 3 << 20
			}
			rec := recordOf(uint64(i+1), size)
			clear(rec[min(len(rec), noise):])
			want = append(want, rec)
			appendCommit(t, l, rec, None)
			require.LessOrEqual(t, len(l.current().chunks), backlogBytes/chunkBytes+3)
			if i%10 > 0 {
				continue
			}
			// A killed process loses at most the backlog.
			lost := int64(0)
			recs, _ := readSegment(t, m.CrashKeepAll(), 7)
			for _, rec := range want[len(recs):] {
				lost += int64(len(rec))
			}
			require.LessOrEqual(t, lost, int64(1<<20), "noise %d, record %d", noise, i)
		}
		require.NotZero(t, l.Metrics().Stalls)
		require.NoError(t, l.shut())
		requireRecords(t, m, 7, want)
	}
}

// TestBacklogBoundWhileWriting appends beside a write that does not end: what it writes is not in the file.
func TestBacklogBoundWhileWriting(t *testing.T) {
	fault := vfs.NewFault(newMem(t))
	l := newQuiet(t, testOptions(fault), 7)
	reached, open := make(chan struct{}, 1000), make(chan struct{})
	fault.SetSleep(func(time.Duration) {
		reached <- struct{}{}
		<-open
	})
	fault.Add(vfs.Rule{Ops: vfs.OpWrite, Delay: 1, Forever: true})
	var acked atomic.Int64
	written, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for seq := uint64(1); seq <= 200; seq++ {
			rec := recordOf(seq, 10_000)
			clear(rec[1000:])
			pos, err := l.Append(rec, None)
			if err == nil {
				err = l.Commit(pos, None)
			}
			if err != nil {
				t.Error(err)
				return
			}
			if n := acked.Add(int64(len(rec))); n >= writeTrigger && n < writeTrigger+10_000 {
				go l.tick()
				<-reached
				close(written)
			}
		}
	}()
	<-written
	await(l, func() bool { return l.metrics.Stalls > 0 })
	require.LessOrEqual(t, acked.Load(), int64(1<<20))
	close(open)
	<-done
	require.NoError(t, l.shut())
}

// TestSealingGrace: while a sealed segment is being synced more may be appended, but not for
// longer than the grace.
func TestSealingGrace(t *testing.T) {
	g := newGate(newMem(t))
	c := newClock()
	opts := testOptions(g)
	opts.Now = c.Now
	l := newQuiet(t, opts, 7)
	appendCommit(t, l, recordOf(1, 100), None)
	require.NoError(t, l.Rotate(8, nil))
	ticked := make(chan struct{})
	go func() { l.tick(); close(ticked) }()
	seal := g.await(0)
	for seq := uint64(2); l.Metrics().Backlog < 2*backlogBytes; seq++ {
		appendCommit(t, l, recordOf(seq, 10_000), None)
	}
	c.advance(sealGrace)
	appended := make(chan error)
	go func() { _, err := l.Append(recordOf(9999, 100), PerWrite); appended <- err }()
	await(l, func() bool { return l.metrics.Stalls == 1 })
	require.Empty(t, appended)
	g.openUp()
	seal <- nil
	require.NoError(t, <-appended)
	<-ticked
	require.NoError(t, l.shut())
}

// TestBackground lets the real goroutine do it; only that it happens is checked, not when.
func TestBackground(t *testing.T) {
	for _, p := range []Policy{PerSecond, None} {
		m := newMem(t)
		l, err := Create(testOptions(m), 7, nil)
		require.NoError(t, err)
		appendCommit(t, l, recordOf(1, 100), p)
		require.Eventually(t, func() bool {
			after := m.CrashKeepAll()
			if p == PerSecond {
				after = m.CrashLoseUnsynced()
			}
			recs, _ := readSegment(t, after, 7)
			return len(recs) == 1
		}, time.Minute, 10*time.Millisecond)
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Close(), ErrClosed)
	}
}

// TestManyWriters appends and commits from 16 goroutines, rotates and releases meanwhile, and
// reads everything back.
func TestManyWriters(t *testing.T) {
	m := newMem(t)
	opts := testOptions(m)
	opts.MaxRecycled = 0
	l, err := Create(opts, 7, nil)
	require.NoError(t, err)
	var mu sync.Mutex
	var order [][]byte
	first := map[uint64]int{7: 0}
	segment := uint64(7)
	var wg sync.WaitGroup
	for g := range 16 {
		rng := rand.New(rand.NewPCG(uint64(g), 1))
		wg.Go(func() {
			for i := range 60 {
				mu.Lock()
				rec := recordOf(uint64(len(order)+1), 32+rng.IntN(3000))
				pos, err := l.Append(rec, PerWrite)
				order = append(order, rec)
				if err == nil && g == 0 && i%20 == 19 {
					segment++
					first[segment] = len(order)
					err = l.Rotate(segment, nil)
				}
				mu.Unlock()
				if err == nil {
					err = l.Commit(pos, Policy(rng.IntN(3)))
				}
				if err != nil {
					t.Errorf("writer %d: %v", g, err)
					return
				}
				_ = l.Metrics()
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Close())
	for num := uint64(7); num <= segment; num++ {
		end, ok := first[num+1]
		if !ok {
			end = len(order)
		}
		if first[num] < end {
			requireRecords(t, m, num, order[first[num]:end])
		}
	}
	met := l.Metrics()
	require.EqualValues(t, len(order), met.Records)
	require.Greater(t, met.GroupedCommits, uint64(0))
}

// TestRecycledStaleRecords is the recycled log's trap: the old life's records lie in one piece
// behind the new one's, some at offsets where the reader looks next. Each length of the new
// life must end cleanly. The control reads the same file under the old number.
func TestRecycledStaleRecords(t *testing.T) {
	stale, garbage := 0, 0
	for n := range 40 {
		m := newMem(t)
		l := newQuiet(t, testOptions(m), 7)
		for i := range 60 {
			appendCommit(t, l, recordOf(uint64(i+1), 3000), []Policy{PerWrite, None}[n/2%2])
		}
		l.current().waited = true // else it is not recycled
		require.NoError(t, l.Rotate(8, nil))
		appendCommit(t, l, recordOf(100, 100), PerWrite)
		require.NoError(t, l.Release(7))
		require.NoError(t, l.Rotate(9, nil))
		var want [][]byte
		for i := range n {
			want = append(want, recordOf(uint64(200+i), 3000))
			appendCommit(t, l, want[i], []Policy{PerWrite, None}[n%2])
		}
		require.NoError(t, l.Flush())
		if n > 0 {
			require.EqualValues(t, 1, l.Metrics().Recycled)
			after := m.CrashKeepAll()
			requireRecords(t, after, 9, want)
			state := endOf(t, after, 9)
			stale, garbage = stale+state[0], garbage+state[1]
		}
		require.NoError(t, l.shut())
	}
	require.NotZero(t, stale, "no file ended at a record of its former life: the detection was not tested")
	require.NotZero(t, garbage, "no file ended in the middle of such a record")
}

// endOf tells what lies behind the last record of a live, recycled segment.
func endOf(t *testing.T, m vfs.FS, num uint64) (stale [2]int) {
	r, err := OpenReader(m, segmentPath(num), num)
	require.NoError(t, err)
	for err == nil {
		_, _, err = r.Next()
	}
	require.Equal(t, io.EOF, err)
	require.NoError(t, r.Close())
	f, err := m.Open(segmentPath(num), vfs.Direct)
	require.NoError(t, err)
	defer f.Close()
	end := r.End() + int64(record.TrailerLen(int(r.End()%record.BlockSize), true))
	b := make([]byte, record.BlockSize-end%record.BlockSize)
	require.NoError(t, vfs.ReadFullAt(f, b, end))
	old, err := record.NewLogReader(bytes.NewReader(b), "", 7).Next()
	if err == nil && compressed {
		old, err = zstd.Frames(nil, old, 1<<20)
	}
	if err == nil && seqOf(old) < 100 {
		return [2]int{1, 0}
	}
	if bytes.Count(b, []byte{0}) < len(b) {
		return [2]int{0, 1}
	}
	return [2]int{}
}

// TestRecycledTornRename: a crash at the moment of reuse leaves the old life under the new
// name, or under the old one, and neither reader takes anything from it that is not its own.
func TestRecycledTornRename(t *testing.T) {
	m := newMem(t)
	l := newQuiet(t, testOptions(m), 7)
	appendCommit(t, l, recordOf(1, 3000), PerWrite)
	require.NoError(t, l.Rotate(8, nil))
	appendCommit(t, l, recordOf(2, 3000), PerWrite)
	require.NoError(t, l.Release(7))
	require.NoError(t, l.Rotate(9, batch.AppendLogHeader(nil, 3, 8, 2)))
	sawNew, sawOld := false, false
	m.SetSyncHook(func(op, name string) {
		if op != "syncdir" && op != "syncdir done" {
			return
		}
		for seed := range uint64(10) {
			after := m.Crash(rand.New(rand.NewPCG(seed, 0)))
			if recs, err := readSegment(t, after, 9); err == io.EOF {
				require.Empty(t, recs)
				sawNew = true
			} else {
				recs, err := readSegment(t, after, 7)
				require.Equal(t, io.EOF, err)
				require.Len(t, recs, 1)
				sawOld = true
			}
		}
	})
	appendCommit(t, l, recordOf(3, 3000), PerWrite)
	require.True(t, sawNew && sawOld)
	require.NoError(t, l.shut())
}
