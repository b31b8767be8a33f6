package compaction

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/sstable"
)

// TestBuriedScript draws a table and the range tombstones over it, and shows whether it may be
// dropped without being read.
func TestBuriedScript(t *testing.T) {
	datadriven.RunTest(t, "testdata/buried", func(t *testing.T, d *datadriven.TestData) string {
		var snapshots []uint64
		for _, arg := range d.CmdArgs {
			for _, v := range arg.Vals {
				snapshots = append(snapshots, mustUint(t, v))
			}
		}
		word, spans, _ := strings.Cut(d.Input, "\n")
		if buried(drawnTable(t, 1, word), drawnTombstones(t, spans), snapshots) {
			return "dropped unread\n"
		}
		return "read\n"
	})
}

// TestDeletedTablesAreNotRead deletes everything but the ends: of many tables two are read, and
// with a snapshot that sees the data all are.
func TestDeletedTablesAreNotRead(t *testing.T) {
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprintf("snapshot=%t", held), func(t *testing.T) {
			tr := newTree(t, Options{BaseBytes: 8 << 10, TargetFileBytes: 2 << 10})
			for i := range 2000 {
				tr.put(fmt.Sprintf("key%05d", i), fmt.Appendf(nil, "value %d %x", i, i*i*i))
			}
			_, err := tr.flush()
			require.NoError(t, err)
			tr.compactAll()
			tables := len(tr.v.Levels[bottom])
			require.Greater(t, tables, 8)
			if held {
				tr.snapshots = []uint64{tr.seq}
			}
			tr.deleteRange("key00001", "key01999")
			_, err = tr.flush()
			require.NoError(t, err)

			plan := Manual(tr.v, nil, nil, 0)
			opened := map[string]bool{}
			env := tr.env()
			env.OpenTable = func(table *manifest.Table) (*sstable.Reader, func(), error) {
				opened[filename.Base(filename.Table, table.Num)] = true
				return tr.openTable(table)
			}
			r, err := Run(context.Background(), env, plan)
			require.NoError(t, err)
			if held {
				require.Len(t, opened, tables+1)
			} else {
				require.Len(t, opened, 3, "the tombstone and the two ends")
				require.Equal(t, uint64(1998), r.Dropped.RangeDeleted)
				require.Equal(t, uint64(2), r.Out)
				require.Less(t, r.BytesRead, plan.Bytes()/2)
			}
			tr.install(r)
			tr.check()
		})
	}
}

// TestDeadTablesAreNotRead drops tables in which everything has expired or is deleted, whatever the
// snapshots are, and reads those that still hide something.
func TestDeadTablesAreNotRead(t *testing.T) {
	tr := newTree(t, Options{})
	tr.put("m", []byte("hidden until the end"))
	_, err := tr.flush()
	require.NoError(t, err)
	tr.compactAll()
	for i := range 100 {
		tr.putTTL(fmt.Sprintf("a%02d", i), []byte("short"), tr.now+10)
		tr.putTTL(fmt.Sprintf("b%02d", i), []byte("short"), tr.now+10)
	}
	tr.delete("a50")
	tr.snapshots = []uint64{tr.seq - 1}
	_, err = tr.flush()
	require.NoError(t, err)
	tr.delete("m")
	_, err = tr.flush()
	require.NoError(t, err)
	tr.put("b10", []byte("again"))
	_, err = tr.flush()
	require.NoError(t, err)
	require.Nil(t, PickDead(tr.v, nil, tr.now))
	tr.now += 10
	opened := map[uint64]bool{}
	env := tr.env()
	env.OpenTable = func(table *manifest.Table) (*sstable.Reader, func(), error) {
		opened[table.Num] = true
		return tr.openTable(table)
	}
	nums := []uint64{}
	for _, table := range tr.v.Levels[0] {
		nums = append(nums, table.Num)
	}
	last := tr.v.Levels[bottom][0].Num

	// The deletion of m is dead too, but what it hides is not: in one merge both are read, and
	// the table between, over which nothing older lies, is not.
	r, err := Run(context.Background(), env, Manual(tr.v, nil, nil, 0))
	require.NoError(t, err)
	require.Equal(t, map[uint64]bool{nums[0]: true, nums[1]: true, last: true}, opened)
	require.Equal(t, Dropped{Expired: 200, Tombstone: 1}, r.Dropped)
	require.Equal(t, uint64(3), r.Out, "the snapshot sees m")
	tr.install(r)
	tr.check()

	// By itself such a table goes with an edit alone.
	tr.putTTL("z", []byte("short"), tr.now)
	_, err = tr.flush()
	require.NoError(t, err)
	clear(opened)
	r, err = Run(context.Background(), env, PickDead(tr.v, nil, tr.now))
	require.NoError(t, err)
	require.Empty(t, opened)
	require.Zero(t, r.BytesRead)
	tr.install(r)
	require.Empty(t, tr.v.Levels[0])
	tr.check()
}
