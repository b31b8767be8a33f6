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
