package wal

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// faultRun is a piece of work on a log over fs; it returns the last record that was promised
// and the first error.
func faultRun(fs vfs.FS) (l *Log, promised uint64, err error) {
	opts := testOptions(fs)
	opts.SegmentBytes = 64 << 10
	l, err = create(opts, 7, nil)
	if err != nil {
		return nil, 0, err
	}
	close(l.bgDone)
	segment := uint64(7)
	for seq := uint64(1); seq <= 60; seq++ {
		size := 32 + int(seq*977%5000)
		if seq%20 == 0 {
			size = largeRecord + 5000
		}
		pos, err := l.Append(recordOf(seq, size), PerWrite)
		if err != nil {
			return l, promised, err
		}
		p := Policy(seq % 3)
		if err := l.Commit(pos, p); err != nil {
			return l, promised, err
		}
		if p == PerWrite {
			promised = seq
		}
		if seq%11 == 0 {
			if err := l.Flush(); err != nil {
				return l, promised, err
			}
		}
		if seq%15 == 0 {
			segment++
			if err := l.Rotate(segment, batch.AppendLogHeader(nil, seq+1, segment-1, seq)); err != nil {
				return l, promised, err
			}
		}
	}
	return l, promised, nil
}

// TestErrorAtEveryOperation fails each operation that changes the device in turn. The error
// must come out, stick, and leave everything promised before on the device; no sync is retried.
func TestErrorAtEveryOperation(t *testing.T) {
	counting := vfs.NewFault(newMem(t))
	count := counting.Add(vfs.Rule{Ops: vfs.OpChange &^ vfs.OpMkdir})
	l, _, err := faultRun(counting)
	require.NoError(t, err)
	before := count.Calls()
	require.NoError(t, l.shut())
	require.Greater(t, before, 60)

	for _, rule := range []vfs.Rule{{Err: vfs.ErrNoSpace}, {Short: true}, {Err: vfs.ErrInjected, Forever: true}} {
		for n := 0; n < before; n += int(5 - rounds(4)) {
			m := newMem(t)
			f := vfs.NewFault(m)
			rule.Ops, rule.Skip = vfs.OpChange&^vfs.OpMkdir, n
			hit := f.Add(rule)
			l, promised, err := faultRun(f)
			require.NotZero(t, hit.Hits())
			if l == nil {
				require.Error(t, err)
				continue
			}
			if err == nil {
				err = l.SyncAll() // a lazy write at the very end
			}
			require.Error(t, err, "operation %d", n)
			if rule.Err != nil {
				require.ErrorIs(t, err, rule.Err)
			}
			require.Equal(t, l.Err(), err)
			_, appendErr := l.Append(recordOf(99, 100), PerWrite)
			require.Equal(t, err, appendErr)
			for _, p := range []Policy{PerWrite, PerSecond, None} {
				require.Equal(t, err, l.Commit(l.current().end(), p), "%s", p)
			}
			require.Equal(t, err, l.Rotate(99, nil))
			require.Equal(t, err, l.Flush())
			require.Equal(t, err, l.SyncAll())
			require.Equal(t, err, l.shut())
			require.Zero(t, f.Resyncs(), "operation %d", n)
			w := newWorld(0)
			w.first = map[uint64]uint64{7: 1, 8: 16, 9: 31, 10: 46, 11: 61}
			w.next = 12
			require.NoError(t, w.recover(m.CrashLoseUnsynced(), promised), "operation %d", n)
		}
	}
}

// TestFailedGroup: all members of a group whose sync fails hear of it, and so does the group
// that was in flight behind it, though its own sync went well.
func TestFailedGroup(t *testing.T) {
	for _, failing := range []string{"write", "sync"} {
		t.Run(failing, func(t *testing.T) {
			f := vfs.NewFault(newMem(t))
			l, err := Create(testOptions(f), 7, nil)
			require.NoError(t, err)
			op := vfs.OpWrite
			if failing == "sync" {
				op = vfs.OpSync
			}
			f.Add(vfs.Fail(op, 40))
			var mu sync.Mutex
			var wg sync.WaitGroup
			seq := uint64(0)
			outcomes := map[uint64]error{}
			for range 16 {
				wg.Go(func() {
					for range 50 {
						mu.Lock()
						seq++
						mine := seq
						pos, err := l.Append(recordOf(mine, 200), PerWrite)
						mu.Unlock()
						if err == nil {
							err = l.Commit(pos, PerWrite)
						}
						mu.Lock()
						outcomes[mine] = err
						mu.Unlock()
						if err != nil {
							return
						}
					}
				})
			}
			wg.Wait()
			require.ErrorIs(t, l.Err(), vfs.ErrInjected)
			failedAt := uint64(0)
			for n := uint64(1); n <= seq; n++ {
				if outcomes[n] != nil && failedAt == 0 {
					failedAt = n
				}
				if failedAt > 0 {
					require.ErrorIs(t, outcomes[n], vfs.ErrInjected, "record %d succeeded behind the failed %d", n, failedAt)
				}
			}
			require.NotZero(t, failedAt)
			require.ErrorIs(t, l.Close(), vfs.ErrInjected)
			if failing == "write" {
				require.Zero(t, f.Resyncs())
			} // else the group behind may call its sync in the moment between the failure and its being told
		})
	}
}

// TestNoSyncAfterFailed: a group that was being written when the sync of the one before it failed calls none of its own.
func TestNoSyncAfterFailed(t *testing.T) {
	f := vfs.NewFault(newMem(t))
	l, err := Create(testOptions(f), 7, nil)
	require.NoError(t, err)
	const atSync, atWrite = 1, 2
	syncing, writing := make(chan struct{}), make(chan struct{})
	f.SetSleep(func(what time.Duration) {
		if what == atSync {
			close(syncing)
			<-writing // the next group's is under way
			return
		}
		close(writing)
		for l.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	f.Add(vfs.Rule{Ops: vfs.OpSync, Delay: atSync, Err: vfs.ErrInjected})
	syncs := f.Add(vfs.Rule{Ops: vfs.OpSync})
	commit := func(seq uint64) error {
		pos, err := l.Append(recordOf(seq, 200), PerWrite)
		if err != nil {
			return err
		}
		return l.Commit(pos, PerWrite)
	}
	first := make(chan error)
	go func() { first <- commit(1) }()
	<-syncing
	f.Add(vfs.Rule{Ops: vfs.OpWrite, Delay: atWrite})
	require.ErrorIs(t, commit(2), vfs.ErrInjected)
	require.ErrorIs(t, <-first, vfs.ErrInjected)
	require.Equal(t, 1, syncs.Calls())
	require.ErrorIs(t, l.Close(), vfs.ErrInjected)
	require.Zero(t, f.Resyncs())
}

// gate lets a test hold syncs of files and see which are waiting.
type gate struct {
	vfs.FS
	mu      sync.Mutex
	waiting []chan error
	changed *sync.Cond
	open    bool
}

func newGate(fs vfs.FS) *gate {
	g := &gate{FS: fs}
	g.changed = sync.NewCond(&g.mu)
	return g
}

func (g *gate) Create(name string, mode vfs.Mode) (vfs.File, error) {
	f, err := g.FS.Create(name, mode)
	return &gatedFile{f, g}, err
}

type gatedFile struct {
	vfs.File
	g *gate
}

func (f *gatedFile) Sync() error {
	f.g.mu.Lock()
	if f.g.open {
		f.g.mu.Unlock()
		return f.File.Sync()
	}
	c := make(chan error, 1)
	f.g.waiting = append(f.g.waiting, c)
	f.g.changed.Broadcast()
	f.g.mu.Unlock()
	if err := <-c; err != nil {
		return err
	}
	return f.File.Sync()
}

// await returns the n-th sync that came, when it has come.
func (g *gate) await(n int) chan error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) <= n {
		g.changed.Wait()
	}
	return g.waiting[n]
}

func (g *gate) openUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
}

// TestSecondGroupFlies: while one group syncs the next is written and synced, but it is not
// acknowledged before the first, and a third waits and gathers members.
func TestSecondGroupFlies(t *testing.T) {
	g := newGate(newMem(t))
	l := newQuiet(t, testOptions(g), 7)
	results := make(chan string, 10)
	commit := func(seq uint64) {
		pos, err := l.Append(recordOf(seq, 100), PerWrite)
		require.NoError(t, err)
		go func() { results <- fmt.Sprint(seq, l.Commit(pos, PerWrite)) }()
	}
	commit(1)
	first := g.await(0)
	commit(2)
	second := g.await(1)
	l.mu.Lock()
	require.Equal(t, 2, l.syncing)
	require.EqualValues(t, 8192, l.current().written)
	l.mu.Unlock()

	second <- nil
	// Group 2 has synced; records 3 to 5 gather behind, since group 2 holds its place until
	// group 1 is done.
	for seq := uint64(3); seq <= 5; seq++ {
		commit(seq)
	}
	await(l, func() bool { return l.next != nil && l.next.commits == 3 })
	require.Empty(t, results)
	first <- nil
	got := []string{<-results, <-results}
	require.ElementsMatch(t, []string{"1 <nil>", "2 <nil>"}, got)
	g.await(2) <- nil
	got = []string{<-results, <-results, <-results}
	require.ElementsMatch(t, []string{"3 <nil>", "4 <nil>", "5 <nil>"}, got)
	met := l.Metrics()
	require.EqualValues(t, 3, met.Groups)
	require.EqualValues(t, 5, met.GroupedCommits)
	require.EqualValues(t, 3, met.MaxGroup)
	require.EqualValues(t, 3, met.Syncs)
	g.openUp()
	require.NoError(t, l.shut())
}

// TestLaterSyncDoesNotHideFailure: group 2's sync succeeds, before or after group 1's fails:
// both fail.
func TestLaterSyncDoesNotHideFailure(t *testing.T) {
	for _, secondFirst := range []bool{true, false} {
		g := newGate(newMem(t))
		l := newQuiet(t, testOptions(g), 7)
		boom := errors.New("boom")
		results := make(chan error, 2)
		for i := range 2 {
			pos, err := l.Append(recordOf(uint64(i+1), 100), PerWrite)
			require.NoError(t, err)
			go func() { results <- l.Commit(pos, PerWrite) }()
			g.await(i)
		}
		if secondFirst {
			g.await(1) <- nil
			await(l, func() bool { return l.flight[0].done != nil }) // group 2 waits for group 1
			g.await(0) <- boom
		} else {
			g.await(0) <- boom
			await(l, func() bool { return l.err != nil })
			g.await(1) <- nil
		}
		require.ErrorIs(t, <-results, boom)
		require.ErrorIs(t, <-results, boom)
		require.ErrorIs(t, l.shut(), boom)
	}
}

// await returns when cond holds under the log's lock.
func await(l *Log, cond func() bool) {
	for {
		l.mu.Lock()
		ok := cond()
		l.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// TestFirstGroupSurvivesSecondsFailure: group 1's sync succeeds, group 2's fails: group 1's
// promise holds, and Commit still says so afterwards.
func TestFirstGroupSurvivesSecondsFailure(t *testing.T) {
	g := newGate(newMem(t))
	l := newQuiet(t, testOptions(g), 7)
	boom := errors.New("boom")
	results := [2]chan error{make(chan error, 1), make(chan error, 1)}
	var positions [2]Position
	for i := range 2 {
		pos, err := l.Append(recordOf(uint64(i+1), 100), PerWrite)
		require.NoError(t, err)
		positions[i] = pos
		go func() { results[i] <- l.Commit(pos, PerWrite) }()
		g.await(i)
	}
	g.await(1) <- boom
	g.await(0) <- nil
	require.NoError(t, <-results[0])
	require.ErrorIs(t, <-results[1], boom)
	require.NoError(t, l.Commit(positions[0], PerWrite))
	require.ErrorIs(t, l.Commit(positions[1], PerWrite), boom)
	require.ErrorIs(t, l.shut(), boom)
}

// TestBufferedSyncsAlone: without direct I/O there is one sync at a time.
func TestBufferedSyncsAlone(t *testing.T) {
	m := newMem(t)
	m.SetDirect(0)
	g := newGate(m)
	l := newQuiet(t, testOptions(g), 7)
	require.Equal(t, 1, l.depth)
	done := make(chan error, 2)
	for i := range 2 {
		pos, err := l.Append(recordOf(uint64(i+1), 100), PerWrite)
		require.NoError(t, err)
		go func() { done <- l.Commit(pos, PerWrite) }()
		if i == 0 {
			g.await(0)
		}
	}
	time.Sleep(5 * time.Millisecond)
	g.mu.Lock()
	require.Len(t, g.waiting, 1)
	g.mu.Unlock()
	g.await(0) <- nil
	g.await(1) <- nil
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	g.openUp()
	require.NoError(t, l.shut())
}

// TestReleaseAfterFailure: a poisoned log's segments can be removed, once their records are
// safe elsewhere.
func TestReleaseAfterFailure(t *testing.T) {
	m := newMem(t)
	f := vfs.NewFault(m)
	l := newQuiet(t, testOptions(f), 7)
	appendCommit(t, l, recordOf(1, 100), PerWrite)
	require.NoError(t, l.Rotate(8, nil))
	f.Add(vfs.Fail(vfs.OpTruncate, 0))
	require.ErrorIs(t, l.SyncAll(), vfs.ErrInjected)
	require.NoError(t, l.Release(7))
	require.Equal(t, []uint64{8}, l.Segments())
	_, err := m.Stat(segmentPath(7))
	require.Error(t, err)
	require.ErrorIs(t, l.shut(), vfs.ErrInjected)
}
