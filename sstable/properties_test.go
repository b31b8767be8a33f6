package sstable

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestExpiry shows the expiry properties.
func TestExpiry(t *testing.T) {
	fs := vfs.NewMem()
	f, err := fs.Create("t.sst", vfs.Buffered)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{})
	for i, ms := range []uint64{500, 300, 900} {
		require.NoError(t, w.Add(ikey.Make([]byte{byte(i)}, 1, ikey.KindEntity), nil))
		w.NoteExpiry(ms)
	}
	_, err = w.Finish()
	require.NoError(t, err)
	r := openFile(t, fs, "t.sst", ReaderOptions{})
	defer r.Close()
	p := r.Properties()
	require.Equal(t, []uint64{3, 300, 900}, []uint64{p.ExpiryCount, p.ExpiryMin, p.ExpiryMax})
}

// TestHidden shows what a table says of versions that only snapshots see.
func TestHidden(t *testing.T) {
	fs := vfs.NewMem()
	f, err := fs.Create("t.sst", vfs.Buffered)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{})
	for _, e := range []struct {
		key string
		seq uint64
	}{{"a", 9}, {"a", 7}, {"a", 2}, {"b", 3}, {"c", 5}, {"c", 4}} {
		require.NoError(t, w.Add(ikey.Make([]byte(e.key), e.seq, ikey.KindSet), nil))
	}
	_, err = w.Finish()
	require.NoError(t, err)
	r := openFile(t, fs, "t.sst", ReaderOptions{})
	defer r.Close()
	require.EqualValues(t, 3, r.Properties().Hidden)
	_, err = r.Verify(context.Background())
	require.NoError(t, err)
	r.props.Hidden = 2
	_, err = r.Verify(context.Background())
	require.ErrorContains(t, err, "cambium.hidden.count says 2, found 3")
}
