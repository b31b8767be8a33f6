package sstable

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/block"
)

// VerifyStats is what Verify saw.
type VerifyStats struct {
	Blocks     uint64 // data blocks
	Bytes      uint64 // their bytes on disk
	Entries    uint64 // point entries and range tombstones
	Deletions  uint64 // of these, tombstones of both kinds
	RangeDels  uint64
	FilterKeys uint64 // user keys that the filter was asked about
}

// Verify reads every block of the table past the cache and checks checksums, the order of
// entries, that every block lies between its separators, the counts in the properties, and that
// the filter finds every key. It returns the first thing wrong.
func (r *Reader) Verify(ctx context.Context) (VerifyStats, error) {
	return r.VerifyEach(ctx, func(ikey.Key, []byte) error { return nil })
}

// VerifyEach does as Verify and calls each for every point entry, in order, stopping at its first
// error. Key and value are valid during the call.
func (r *Reader) VerifyEach(ctx context.Context, each func(key ikey.Key, value []byte) error) (VerifyStats, error) {
	v := verifier{r: r, each: each}
	defer v.ahead.Close()
	v.ahead.SetSize(block.CompactionReadahead)
	v.ahead.Limit = r.dataEnd
	defer v.index.reset()
	if err := v.index.init(r); err != nil {
		return v.stats, err
	}
	if err := r.verifyMeta(); err != nil {
		return v.stats, err
	}
	for ok := v.index.first(); ok; ok = v.index.next() {
		if err := ctx.Err(); err != nil {
			return v.stats, err
		}
		if err := v.block(v.index.handle()); err != nil {
			return v.stats, err
		}
	}
	if err := v.index.err(); err != nil {
		return v.stats, err
	}
	if err := v.ranges(); err != nil {
		return v.stats, err
	}
	return v.stats, v.counts()
}

// verifyMeta checks the checksum of every block that the metaindex names, and of the index.
func (r *Reader) verifyMeta() error {
	var ra block.Readahead
	var scratch []byte
	defer ra.Close()
	for _, m := range append([]MetaBlock{{"index", r.foot.index}, {"metaindex", r.foot.metaindex}}, r.meta...) {
		var err error
		if m.Name == metaProperties {
			_, err = r.propertyBlock(&ra, m.Handle)
		} else {
			_, err = r.src.ReadPrivate(m.Handle, &ra, &scratch)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

type verifier struct {
	r       *Reader
	each    func(key ikey.Key, value []byte) error
	index   indexCursor
	data    block.Iter
	ahead   block.Readahead
	scratch []byte
	last    ikey.Key // greatest entry so far, own memory
	sep     []byte   // separator of the block before
	stats   VerifyStats
	hidden  uint64 // entries behind a newer one of the same key
}

// block checks one data block against the index entry that leads to it.
func (v *verifier) block(h block.Handle) error {
	data, err := v.r.src.ReadPrivate(h, &v.ahead, &v.scratch)
	if err != nil {
		return err
	}
	if err := v.r.initData(&v.data, data, h); err != nil {
		return err
	}
	v.stats.Blocks++
	v.stats.Bytes += h.Size + block.TrailerLen
	origin := v.r.src.Origin(h)
	n := 0
	for ok := v.data.First(); ok; ok = v.data.Next() {
		k := v.data.Key()
		if n == 0 {
			if err := v.blockStart(k, origin); err != nil {
				return err
			}
		}
		if v.stats.Entries > 0 && ikey.Compare(v.last, k) >= 0 {
			return origin.Errorf("%v after %v", k, v.last)
		}
		if err := v.entry(k, origin); err != nil {
			return err
		}
		if err := v.each(k, v.data.Value()); err != nil {
			return err
		}
		n++
	}
	if err := v.data.Err(); err != nil {
		return err
	}
	if n == 0 {
		return origin.Errorf("data block without entries")
	}
	if bytes.Compare(v.last.User, v.index.user()) > 0 {
		return origin.Errorf("last key %v lies above the block's separator %q", v.last, v.index.user())
	}
	v.sep = append(v.sep[:0], v.index.user()...)
	return nil
}

// blockStart checks the first key of a block against the separator before it.
func (v *verifier) blockStart(k ikey.Key, origin block.Origin) error {
	if v.stats.Blocks == 1 {
		return nil
	}
	c := bytes.Compare(k.User, v.sep)
	if c < 0 || (c == 0 && v.r.format.UserKeys) {
		return origin.Errorf("first key %v lies below the separator %q of the block before", k, v.sep)
	}
	if fk := v.index.low().FirstKey(); fk != nil {
		if want, ok := ikey.Decode(fk); !ok || !bytes.Equal(want.User, k.User) {
			return origin.Errorf("first key %v, index says %x", k, fk)
		}
	}
	return nil
}

func (v *verifier) entry(k ikey.Key, origin block.Origin) error {
	same := v.stats.Entries > 0 && bytes.Equal(k.User, v.last.User)
	v.stats.Entries++
	if same {
		v.hidden++
	}
	switch k.Kind() {
	case ikey.KindDelete, ikey.KindSingleDelete:
		v.stats.Deletions++
	case ikey.KindSet, ikey.KindMerge, ikey.KindBlobIndex, ikey.KindEntity:
	default:
		return origin.Errorf("%v is no point entry", k)
	}
	v.last.User = append(v.last.User[:0], k.User...)
	v.last.Trailer = k.Trailer
	if same || v.r.filterBlock == nil {
		return nil
	}
	may := true
	if v.r.partFilter {
		var err error
		if may, err = v.r.partMayContain(k.User, k.Trailer); err != nil {
			return err
		}
	} else {
		may = v.r.filter.mayContain(k.User)
	}
	v.stats.FilterKeys++
	if !may {
		return corrupt.Errorf(v.r.src.Label, v.r.filterOff.Offset, "filter does not know %v", k)
	}
	return nil
}

// ranges counts the range tombstones as stored.
func (v *verifier) ranges() error {
	h, ok := v.r.findMeta(metaRangeDel)
	if !ok {
		return nil
	}
	var ra block.Readahead
	defer ra.Close()
	data, err := v.r.src.ReadPrivate(h, &ra, &v.scratch)
	if err != nil {
		return err
	}
	ts, err := v.r.decodeRangeDels(data, v.r.src.Origin(h))
	n := uint64(len(ts))
	v.stats.Entries += n
	v.stats.Deletions += n
	v.stats.RangeDels += n
	return err
}

// counts compares what was seen with what the properties state.
func (v *verifier) counts() error {
	p, s := &v.r.props, &v.stats
	for _, c := range []struct {
		name      string
		want, got uint64
	}{
		{propNumEntries, p.NumEntries, s.Entries},
		{propNumDeletions, p.NumDeletions, s.Deletions},
		{propNumRangeDels, p.NumRangeDeletions, s.RangeDels},
		{propHidden, p.Hidden, v.hidden},
		{propNumBlocks, p.NumDataBlocks, s.Blocks},
	} {
		if p.Has(c.name) && c.want != c.got {
			h, _ := v.r.findMeta(metaProperties)
			return v.r.src.Origin(h).Errorf("%s says %d, found %d", c.name, c.want, c.got)
		}
	}
	return nil
}
