package sstable

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// TestReuse copies a table whose blocks an iterator told of: none is compressed again, and the copy
// is the original byte for byte.
func TestReuse(t *testing.T) {
	fs := vfs.NewMem()
	o := WriterOptions{Compression: block.Zstd, BitsPerKey: 10}
	c := content{}
	for _, p := range numbered(500, 0).points {
		c.points = append(c.points, pair{p.key, strings.Repeat(string(p.key.User), 30)})
	}
	writeTable(t, fs, "from", c, o)
	r := openFile(t, fs, "from", ReaderOptions{})
	defer r.Close()

	stored := map[string][]byte{}
	var firsts []string
	it := r.NewIterator(IterOptions{Compaction: true, OnBlock: func(b Block) {
		require.Equal(t, block.Zstd, b.Stored.Compression)
		stored[string(b.Raw)] = bytes.Clone(b.Stored.Payload)
		firsts = append(firsts, b.First.String())
	}})
	for ok := it.First(); ok; ok = it.Next() {
	}
	require.NoError(t, it.Close())
	require.Len(t, stored, int(r.Properties().NumDataBlocks))
	require.Len(t, firsts, len(stored))
	require.Equal(t, c.points[0].key.String(), firsts[0])

	asked := 0
	o.Reuse = func(raw []byte) (payload []byte, ok bool) {
		asked++
		payload, ok = stored[string(raw)]
		return payload, ok
	}
	writeTable(t, fs, "to", c, o)
	require.Equal(t, len(stored), asked)
	require.True(t, bytes.Equal(fileBytes(t, fs, "from"), fileBytes(t, fs, "to")))

	// What it gives is what is written.
	o.Reuse = func(raw []byte) ([]byte, bool) { return stored[string(raw)][1:], true }
	writeTable(t, fs, "wrong", c, o)
	wrong := openFile(t, fs, "wrong", ReaderOptions{})
	defer wrong.Close()
	_, err := wrong.Verify(context.Background())
	require.Error(t, err)
}

// TestEndBlock ends a block where it is half full, and not before.
func TestEndBlock(t *testing.T) {
	for entries, blocks := range map[int]int{10: 1, 15: 1, 22: 2, 30: 2} {
		fs := vfs.NewMem()
		f, err := fs.Create("table", vfs.Direct)
		require.NoError(t, err)
		w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{})
		for i, p := range numbered(entries+1, 100).points {
			if i == entries {
				require.NoError(t, w.EndBlock())
			}
			require.NoError(t, w.Add(p.key, []byte(p.val)))
		}
		info, err := w.Finish()
		require.NoError(t, err)
		require.Equal(t, blocks, int(info.Properties.NumDataBlocks), "%d entries of 115 bytes, then one more", entries)
	}
}
