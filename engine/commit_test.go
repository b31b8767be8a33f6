package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/wal"
)

// TestSwapBesideFlush: while a compare-and-swap looks for newer writes of its key, a memtable that
// it has yet to look into is flushed and its memory given back.
func TestSwapBesideFlush(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	db, err := Open("db", FlushOften(Options{FS: fault, MemoryBudget: MinMemoryBudget, MemtableSize: 64 << 10}))
	require.NoError(t, err)
	begun, flush := make(chan bool, 100), make(chan bool)
	fault.SetSleep(func(time.Duration) { begun <- true; <-flush })
	fault.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Delay: 1})

	require.NoError(t, db.Put([]byte("sealed"), make([]byte, 70_000), nil))
	b := db.NewBatch() // the newer memtable keeps the search busy: nobody has sorted its tombstones
	for i := range 20_000 {
		b.DeleteRange(fmt.Appendf(nil, "t%05d", i), fmt.Appendf(nil, "t%05d", i+3))
	}
	require.NoError(t, db.Apply(b, nil))
	defer db.wantFlushed()()
	<-begun

	db.queue.stage.Lock()
	touched := make(chan bool)
	go func() { touched <- db.touchedSince([]byte("sealed"), 0) }()
	time.Sleep(time.Millisecond)
	close(flush)
	require.True(t, <-touched)
	db.queue.stage.Unlock()
	require.NoError(t, db.Close())
}

// TestGroupFailsHalfway: the append of one member of a group fails after that of another was
// synced, by a sync that was under way. Nobody's write is published, and the log is replaced.
func TestGroupFailsHalfway(t *testing.T) {
	db, err := Open("db", &Options{FS: vfs.NewMem()})
	require.NoError(t, err)
	require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))

	db.queue.stage.Lock()
	old := db.wal
	synced := wal.Position{Segment: db.mem.logNum, Records: 1}
	require.NoError(t, old.Commit(synced, wal.PerWrite))
	db.queue.lastSeq++
	db.queue.lastGroup++
	g := &group{id: db.queue.lastGroup, log: old, pos: synced, lastSeq: db.queue.lastSeq, members: []*commit{{}, {wake: make(chan bool, 1)}}}
	db.queue.stage.Unlock()
	g.fail(vfs.ErrInjected)
	visible := db.visible.Load()
	db.queue.stage.Lock() // keeps healing back
	db.finish(g)
	require.Equal(t, visible, db.visible.Load())
	db.queue.stage.Unlock()
	require.Eventually(t, func() bool { return db.Put([]byte("k"), []byte("w"), nil) == nil }, time.Minute, time.Millisecond)
	require.NotSame(t, old, db.currentLog())
	require.NoError(t, db.Close())
}

// TestGroupsArePublishedInOrder: groups that are synced before those that they follow wait for them, and one that follows a failed one
// fails.
func TestGroupsArePublishedInOrder(t *testing.T) {
	for _, failing := range []int{-1, 0, 1, 2} {
		t.Run(fmt.Sprintf("failing=%d", failing), func(t *testing.T) {
			db, err := Open("db", &Options{FS: vfs.NewMem()})
			require.NoError(t, err)
			require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
			visible := db.visible.Load()

			const members = 2
			db.queue.stage.Lock() // keeps healing back
			groups := make([]*group, 3)
			for i := range groups {
				g := &group{}
				for j := range members {
					b := db.NewBatch()
					b.Put(fmt.Appendf(nil, "k%d%d", i, j), []byte("v"))
					c := db.newCommit(b, wal.PerWrite)
					g.members = append(g.members, c)
				}
				db.stageGroup(g)
				db.queue.lastGroup++
				g.id = db.queue.lastGroup
				if i == failing {
					g.fail(vfs.ErrInjected)
				}
				groups[i] = g
			}
			finished := make(chan int, len(groups))
			for i := len(groups) - 1; i >= 0; i-- {
				go func() {
					db.finish(groups[i])
					finished <- i
				}()
				if i == 0 {
					break
				}
				require.Eventually(t, func() bool {
					db.queue.publish.Lock()
					defer db.queue.publish.Unlock()
					return db.queue.ready[groups[i].id] == groups[i]
				}, time.Minute, time.Millisecond)
				require.Equal(t, visible, db.visible.Load())
				require.Empty(t, finished)
			}
			for range groups {
				<-finished
			}
			for i, g := range groups {
				for j, m := range g.members {
					if j > 0 {
						require.False(t, <-m.wake, "the leader of a group leads once")
					}
					require.Empty(t, m.wake)
					if failing >= 0 && i >= failing {
						require.ErrorIs(t, m.err, vfs.ErrInjected)
					} else {
						require.NoError(t, m.err)
					}
				}
				if failing < 0 || i < failing {
					visible = g.lastSeq
				}
			}
			require.Equal(t, visible, db.visible.Load())
			require.Empty(t, db.queue.ready)
			db.queue.stage.Unlock()
			require.Eventually(t, func() bool { return db.Put([]byte("k"), []byte("w"), nil) == nil }, time.Minute, time.Millisecond)
			require.NoError(t, db.Close())
		})
	}
}
