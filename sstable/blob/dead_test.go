package blob

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// deadCase is a file of which some records are dead, as the compactions that met them said and
// as the references that are left say.
type deadCase struct {
	m       *vfs.Mem
	records []pair
	xs      []Index
	dead    []bool
	told    *Dead // by the records that died
	found   *Dead // by those that live
}

func drawDead(t *rapid.T) deadCase {
	c := deadCase{m: vfs.NewMem(), told: &Dead{}}
	for i := range rapid.IntRange(1, 30).Draw(t, "records") {
		n := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 20_000)).Draw(t, "bytes")
		c.records = append(c.records, pair{fmt.Appendf(nil, "%0*d", rapid.IntRange(1, 40).Draw(t, "key"), i), make([]byte, n)})
		c.dead = append(c.dead, rapid.Bool().Draw(t, "dead"))
	}
	c.xs, _ = writeBlob(t, c.m, "1.blob", WriterOptions{FileNum: 1}, c.records)
	var live Live
	for i, x := range c.xs {
		if c.dead[i] {
			c.told.Add(len(c.records[i].key), x)
		} else {
			live.Add(len(c.records[i].key), x)
		}
	}
	r := openBlob(t, c.m, "1.blob", ReaderOptions{FileNum: 1})
	c.found = live.Rest(r.End())
	require.NoError(t, r.Close())
	return c
}

// holes returns the pages that may be given back.
func (c deadCase) holes(d *Dead) map[int64]bool {
	pages := map[int64]bool{}
	for off, n := range d.Holes(vfs.HoleUnit, nil) {
		for end := off + n; off < end; off += vfs.HoleUnit {
			pages[off] = true
		}
	}
	return pages
}

// TestHolesAreTheDeadPages compares the holes with a map of the file byte by byte, whichever way
// the dead records became known.
func TestHolesAreTheDeadPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawDead(t)
		size := int64(c.xs[len(c.xs)-1].Offset + c.xs[len(c.xs)-1].Size)
		dead := make([]bool, size)
		for i, x := range c.xs {
			for b := int64(x.Offset) - int64(len(c.records[i].key)) - RecordHeaderLen; b < int64(x.Offset+x.Size); b++ {
				dead[b] = c.dead[i]
			}
		}
		want := map[int64]bool{}
		for off := int64(0); off+vfs.HoleUnit <= size; off += vfs.HoleUnit {
			if !slices.Contains(dead[off:off+vfs.HoleUnit], false) {
				want[off] = true
			}
		}
		require.Equal(t, want, c.holes(c.told))
		require.Equal(t, want, c.holes(c.found))
		require.EqualValues(t, len(want)*vfs.HoleUnit, c.told.HoleBytes(vfs.HoleUnit))

		// In two steps, in any order: what the second adds holds every page that is new.
		first, second := &Dead{}, &Dead{}
		for i, x := range c.xs {
			if c.dead[i] {
				[]*Dead{first, second}[rapid.IntRange(0, 1).Draw(t, "step")].Add(len(c.records[i].key), x)
			}
		}
		had := c.holes(first)
		all := first.Clone()
		all.Union(second)
		require.Equal(t, want, c.holes(all))
		require.Equal(t, had, c.holes(first), "a clone is its own")
		for off, n := range all.Holes(vfs.HoleUnit, second) {
			for ; n > 0; off, n = off+vfs.HoleUnit, n-vfs.HoleUnit {
				had[off] = true
			}
		}
		require.Equal(t, want, had)
	})
}

// TestVerifyPassesOverHoles: with every dead page given back, the records that live are verified,
// all of them and no other, and a damaged one is found.
func TestVerifyPassesOverHoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawDead(t)
		f, err := c.m.OpenReadWrite("1.blob", vfs.Direct)
		require.NoError(t, err)
		for off, n := range c.told.Holes(vfs.HoleUnit, nil) {
			require.NoError(t, f.PunchHole(off, n))
		}
		require.NoError(t, f.Close())
		r := openBlob(t, c.m, "1.blob", ReaderOptions{FileNum: 1})
		defer r.Close()
		live := []int{}
		for i, dead := range c.dead {
			if !dead {
				live = append(live, i)
				_, err := r.Get(c.records[i].key, c.xs[i])
				require.NoError(t, err)
			}
		}
		for _, d := range []*Dead{c.told, c.found} {
			st, err := r.Verify(context.Background(), d)
			require.NoError(t, err)
			require.EqualValues(t, len(live), st.Records)
		}
		if len(live) == 0 {
			return
		}
		at := c.xs[rapid.SampledFrom(live).Draw(t, "damaged")].Offset - 1
		b := fileBytes(t, c.m, "1.blob")
		b[at] ^= 1
		putFile(t, c.m, "2.blob", b)
		bad := openBlob(t, c.m, "2.blob", ReaderOptions{FileNum: 1})
		defer bad.Close()
		_, err = bad.Verify(context.Background(), c.found)
		requireBadBytes(t, err, "2.blob")
	})
}

func TestDeadEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawDead(t)
		b := append(c.told.Encode([]byte{7}), "rest"...)
		d, rest, err := DecodeDead(b[1:])
		require.NoError(t, err)
		require.Equal(t, "rest", string(rest))
		require.Equal(t, maps.Collect(c.told.runs()), maps.Collect(d.runs()))
		require.Equal(t, maps.Collect(c.found.runs()), maps.Collect(d.runs()))
		for n := 1; n < len(b)-4; n++ {
			_, _, err := DecodeDead(b[1:n])
			require.Error(t, err)
		}
	})
	for _, bad := range []string{"\x01\x00\x00", "\x01\xff\xff\xff\xff\x0f\x02", "\x01\x02\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "\x02\x00\x01\x00"} {
		_, _, err := DecodeDead([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
	require.True(t, (*Dead)(nil).Empty())
}

// TestDeadOfBadIndexes: an index that points outside every file kills nothing.
func TestDeadOfBadIndexes(t *testing.T) {
	var d Dead
	var l Live
	for _, x := range []Index{{}, {Offset: 40, Size: 10}, {Offset: 1 << 20, Size: ^uint64(0)}, {Offset: 1 << 60, Size: 1 << 20}} {
		d.Add(20, x)
		l.Add(20, x)
	}
	require.True(t, d.Empty())
	require.EqualValues(t, 4096-32, l.Rest(4096).units.GetCardinality()*unitBytes)
	require.True(t, l.Rest(10).Empty())
}
