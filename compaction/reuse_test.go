package compaction

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/block"
)

// TestReuse merges a little into much: what comes out is what the model says, by and large in the
// blocks that went in, and in none of them where these are compressed otherwise.
func TestReuse(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(tr *tree, i int)
		least      float64 // share of the blocks that are used again
		compressed block.Compression
	}{
		"updates":              {func(tr *tree, i int) { tr.put(reuseKey(i), reuseValue("new", i)) }, 0.65, block.Snappy},
		"inserts":              {func(tr *tree, i int) { tr.put(reuseKey(i)+"+", reuseValue("new", i)) }, 0.25, block.Snappy},
		"deletions":            {func(tr *tree, i int) { tr.delete(reuseKey(i)) }, 0.25, block.Snappy},
		"ranges deleted":       {func(tr *tree, i int) { tr.deleteRange(reuseKey(i), reuseKey(i+3)) }, 0.25, block.Snappy},
		"another compression":  {func(tr *tree, i int) { tr.put(reuseKey(i), reuseValue("new", i)) }, 0, block.Zstd},
		"none at all any more": {func(tr *tree, i int) { tr.put(reuseKey(i), reuseValue("new", i)) }, 0, block.None},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, Options{TargetFileBytes: 64 << 10})
			for i := range 4000 {
				tr.put(reuseKey(i), reuseValue("old", i))
			}
			_, err := tr.flush()
			require.NoError(t, err)
			tr.compactAll()
			for i := 0; i < 4000; i += 73 {
				c.change(tr, i)
			}
			tr.snapshots = append(tr.snapshots, tr.seq-20) // holds the old versions of some
			_, err = tr.flush()
			require.NoError(t, err)

			env := tr.env()
			env.WriterOptions = func(int) sstable.WriterOptions {
				return sstable.WriterOptions{BitsPerKey: 10, Compression: c.compressed, BlockSize: 512}
			}
			r, err := Run(context.Background(), env, newPlan(tr.v, Input{0, tr.v.Levels[0]}, bottom, ReasonL0))
			require.NoError(t, err)
			tr.install(r)
			tr.check()
			blocks := 0
			for _, table := range r.Tables {
				reader, release, err := tr.openTable(table)
				require.NoError(t, err)
				_, err = reader.Verify(context.Background())
				require.NoError(t, err)
				blocks += int(reader.Properties().NumDataBlocks)
				release()
			}
			t.Logf("%d of %d blocks", r.BlocksReused, blocks)
			require.GreaterOrEqual(t, float64(r.BlocksReused), c.least*float64(blocks))
			require.Equal(t, c.least == 0, r.BlocksReused == 0)
		})
	}
}

func reuseKey(i int) string { return fmt.Sprintf("key%06d", i) }

func reuseValue(what string, i int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%s%05d", what, i), 12)
}
