package sstable

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/block"
)

// craft builds a table block by block, right or wrong, from lines "separator: key key ...". Keys
// and separators are written user#seq. A line "--" ends a partition of the index.
func craft(t *testing.T, text string, edit func(*Properties)) []byte {
	t.Helper()
	var file []byte
	add := func(b []byte) block.Handle {
		h := block.Handle{Offset: uint64(len(file)), Size: uint64(len(b))}
		file = append(file, block.AppendTrailer(append([]byte(nil), b...), block.None, block.ChecksumCRC32C)...)
		return h
	}
	p := Properties{Comparator: comparatorName, WholeKeyFiltering: true}
	type part struct {
		index *block.Builder
		last  []byte
	}
	parts := []part{{index: block.NewBuilder(1)}}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if strings.TrimSpace(line) == "--" {
			parts = append(parts, part{index: block.NewBuilder(1)})
			continue
		}
		sep, keys, ok := strings.Cut(line, ":")
		require.True(t, ok)
		b := block.NewDataBuilder(2, false)
		for _, k := range strings.Fields(keys) {
			b.Add(parseKey(t, k).Encode(nil), []byte("v"))
			p.NumEntries++
		}
		p.NumDataBlocks++
		at := &parts[len(parts)-1]
		at.last = parseKey(t, strings.TrimSpace(sep)).Encode(nil)
		at.index.Add(at.last, add(b.Finish()).Encode(nil))
	}
	var index block.Handle
	if len(parts) == 1 {
		index = add(parts[0].index.Finish())
	} else {
		p.IndexType = indexPartitioned
		top := block.NewBuilder(1)
		for _, at := range parts {
			top.Add(at.last, add(at.index.Finish()).Encode(nil))
		}
		index = add(top.Finish())
	}
	if edit != nil {
		edit(&p)
	}
	meta := block.NewBuilder(1)
	addMeta(meta, metaProperties, add(p.encode()))
	f := footer{version: 5, checksum: block.ChecksumCRC32C, index: index, metaindex: add(meta.Finish())}
	return append(file, f.encode()...)
}

func parseKey(t *testing.T, s string) ikey.Key {
	t.Helper()
	user, seq, ok := strings.Cut(s, "#")
	require.True(t, ok, s)
	n := uint64(0)
	for _, c := range seq {
		n = n*10 + uint64(c-'0')
	}
	return ikey.Make([]byte(user), n, ikey.KindSet)
}

// TestVerifyFinds shows what Verify says about tables whose checksums are right and whose
// contents are not.
func TestVerifyFinds(t *testing.T) {
	for _, c := range []struct {
		name, table string
		edit        func(*Properties)
		want        string
	}{
		{"sound", "b#9: a#3 b#9\n d#1: c#4 d#1", nil, ""},
		{"sound, one user key in two blocks", "a#3: a#9 a#3\n a#1: a#2 a#1", nil, ""},
		{"order in a block", "b#9: b#9 a#3", nil, `"a"#3,SET after "b"#9,SET`},
		{"order between blocks", "b#2: a#1 b#2\n b#5: b#5", nil, `"b"#5,SET after "b"#2,SET`},
		{"twice", "b#2: a#1 a#1 b#2", nil, `"a"#1,SET after "a"#1,SET`},
		{"above its separator", "a#1: a#1 b#1\n d#1: c#1 d#1", nil, `last key "b"#1,SET lies above the block's separator "a"`},
		{"below the separator before", "m#1: a#1 b#1\n z#1: c#1 d#1", nil, `first key "c"#1,SET lies below the separator "m" of the block before`},
		{"entries", "b#2: a#1 b#2", func(p *Properties) { p.NumEntries = 7 }, "rocksdb.num.entries says 7, found 2"},
		{"deletions", "b#2: a#1 b#2", func(p *Properties) { p.NumDeletions = 1 }, "rocksdb.deleted.keys says 1, found 0"},
		{"blocks", "b#2: a#1 b#2", func(p *Properties) { p.NumDataBlocks = 2 }, "rocksdb.num.data.blocks says 2, found 1"},
		{"ranges", "b#2: a#1 b#2", func(p *Properties) { p.NumRangeDeletions = 1 }, "rocksdb.num.range-deletions says 1, found 0"},
		{"empty block", "b#2: a#1 b#2\n c#1:", nil, "data block without entries"},
	} {
		r, err := Open(&bytesFile{data: craft(t, c.table, c.edit)}, ReaderOptions{})
		require.NoError(t, err, c.name)
		_, err = r.Verify(context.Background())
		if c.want == "" {
			require.NoError(t, err, c.name)
		} else {
			require.ErrorContains(t, err, c.want, c.name)
		}
		require.NoError(t, r.Close())
	}
}

// TestVerifyStops hears the context.
func TestVerifyStops(t *testing.T) {
	r, err := Open(&bytesFile{data: craft(t, "a#1: a#1", nil)}, ReaderOptions{})
	require.NoError(t, err)
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = r.Verify(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// TestLooseSeparators looks keys up where a separator names the user key that starts the next
// block, or partition: legal, though no writer known does it.
func TestLooseSeparators(t *testing.T) {
	for _, table := range []string{
		"k#9: a#1 b#1\n z#1: k#5 k#3 m#1",
		"k#9: a#1 b#1\n --\n z#1: k#5 k#3 m#1",
		"b#1: a#1 b#1\n --\n k#9: c#1\n z#1: k#5 k#3 m#1",
	} {
		r, err := Open(&bytesFile{data: craft(t, table, nil)}, ReaderOptions{})
		require.NoError(t, err)
		for seq, want := range map[uint64]uint64{ikey.MaxSeq: 5, 9: 5, 8: 5, 4: 3} {
			v, ok, err := r.Get([]byte("k"), seq)
			require.NoError(t, err)
			require.True(t, ok, "%s at %d", table, seq)
			require.Equal(t, want, v.Trailer.Seq())
			v.Release()
		}
		_, ok, err := r.Get([]byte("k"), 2)
		require.NoError(t, err)
		require.False(t, ok)
		it := r.NewIterator(IterOptions{})
		require.True(t, it.SeekGE(ikey.Seek([]byte("k"), ikey.MaxSeq)))
		require.Equal(t, `"k"#5,SET`, it.Key().String())
		require.NoError(t, it.Close())
		require.NoError(t, it.Close())
		require.False(t, it.First())
		require.NoError(t, r.Close())
	}
}

// TestRefusals shows what Open says about sound tables that it cannot use.
func TestRefusals(t *testing.T) {
	for want, edit := range map[string]func(*Properties){
		"unsupported: comparator rocksdb.ReverseBytewiseComparator":               func(p *Properties) { p.Comparator = "rocksdb.ReverseBytewiseComparator" },
		"unsupported: index type 4":                                               func(p *Properties) { p.IndexType = 4 },
		"rocksdb.external_sst_file.global_seqno in a table that is not external":  func(p *Properties) { p.User = map[string]string{propGlobalSeq: strings.Repeat("\x00", 8)} },
		"global sequence number 72057594037927936":                                func(p *Properties) { p.ExternalVersion, p.GlobalSeq = 2, ikey.MaxSeq+1 },
		"global sequence number 5, manifest says 6":                               func(p *Properties) { p.ExternalVersion, p.GlobalSeq = 2, 5 },
		"property rocksdb.external_sst_file.version of 2 bytes: 0102":             func(p *Properties) { p.User = map[string]string{propExternalVersion: "\x01\x02"} },
		"external table of version 1 with rocksdb.external_sst_file.global_seqno": func(p *Properties) { p.ExternalVersion = 1 },
	} {
		data := craft(t, "a#1: a#1", edit)
		o := ReaderOptions{}
		if strings.Contains(want, "manifest") {
			o.LargestSeq = 6
		}
		_, err := Open(&bytesFile{data: data}, o)
		require.ErrorContains(t, err, want)
	}
}

// TestPropertyOrder refuses names that do not ascend.
func TestPropertyOrder(t *testing.T) {
	b := block.NewBuilder(1)
	b.Add([]byte("b"), nil)
	b.Add([]byte("a"), nil)
	_, err := decodeProperties(b.Finish(), block.Origin{File: "f", Offset: 5})
	require.EqualError(t, err, `corruption: f at 0x5: property "a" after "b"`)
	b.Reset()
	b.Add([]byte(propNumEntries), []byte{0x80})
	_, err = decodeProperties(b.Finish(), block.Origin{File: "f"})
	require.ErrorContains(t, err, "property rocksdb.num.entries is no number: 80")
	b.Reset()
	b.Add([]byte(propIndexType), binary.LittleEndian.AppendUint16(nil, 1))
	_, err = decodeProperties(b.Finish(), block.Origin{File: "f"})
	require.ErrorContains(t, err, "property rocksdb.block.based.table.index.type of 2 bytes: 0100")
}
