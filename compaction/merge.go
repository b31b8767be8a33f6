package compaction

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// merge is the loop that Run and Flush share: it writes what survives of a range of user keys.
type merge struct {
	env       *Env
	survivors survivors
	spans     rangedel.List // tombstones to write
	cutter    *cutter       // nil: one output
	outputs   outputs
	values    values

	entries uint64 // point entries read
	lower   []byte // where the key range of the current output begins; nil: open
	upper   []byte // where the range of the merge ends, exclusively; nil: open
	last    []byte // the user key before, in memory that is used again
	started bool   // last is set
	unpaced int    // bytes and entries since the last pace
	told    uint64 // of entries, those that Env.Read has heard of
	moved   int64  // bytes of values that went from one blob file to another
	lost    map[uint64]*lost
}

// lost is what a blob file has lost in a merge.
type lost struct {
	manifest.BlobGarbage
	dead *blob.Dead // nil: the file is not worth holes
}

// paceBytes is how much a run reads between two looks at its context and its limiter; an entry
// counts entryCost besides its bytes, so that many small ones do not put it off.
const (
	paceBytes = 64 << 10
	entryCost = 32
)

// run merges what it holds. The outputs are durable when it returns, but not their names. After an
// error, of this merge or of one beside it, discard is to be called.
func (m *merge) run(ctx context.Context, it iterator.Iterator) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for ok := m.begin(it); ok; ok = it.Next() {
		key := it.Key()
		if m.upper != nil && bytes.Compare(key.User, m.upper) >= 0 {
			break
		}
		if err := m.entry(ctx, key, it.Value()); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if err := m.cutBefore(ctx, nil, true); err != nil {
		return err
	}
	if err := m.outputs.finish(ctx, m.spans.Truncate(m.lower, m.upper)); err != nil {
		return err
	}
	if err := m.values.finish(); err != nil {
		return err
	}
	return m.pace(ctx)
}

// begin puts it on the first entry of the range.
func (m *merge) begin(it iterator.Iterator) bool {
	if m.lower == nil {
		return it.First()
	}
	return it.SeekGE(ikey.Seek(m.lower, ikey.MaxSeq))
}

// discard removes every file that was made.
func (m *merge) discard() {
	m.outputs.discard()
	m.values.discard(m.outputs.complain)
}

// entry takes one entry of the merge to its end: dropped or written.
func (m *merge) entry(ctx context.Context, key ikey.Key, value []byte) error {
	m.entries++
	if m.unpaced += entryCost + len(key.User) + len(value); m.unpaced >= paceBytes {
		m.unpaced = 0
		if err := m.pace(ctx); err != nil {
			return err
		}
	}
	if !m.started || !bytes.Equal(key.User, m.last) {
		m.last, m.started = append(m.last[:0], key.User...), true
		if err := m.cutBefore(ctx, key.User, false); err != nil {
			return err
		}
		m.survivors.startKey(key.User)
	}
	out, outValue, keep, err := m.survivors.next(key, value)
	if err != nil {
		return err
	}
	if key.Kind() == ikey.KindBlobIndex && (!keep || out.Kind() != ikey.KindBlobIndex) {
		if err := m.countGarbage(key, value); err != nil {
			return err
		}
	}
	if !keep {
		return nil
	}
	if out, outValue, err = m.place(ctx, out, outValue); err != nil {
		return err
	}
	if err := m.outputs.add(out, outValue); err != nil {
		return err
	}
	if m.survivors.expires {
		m.outputs.noteExpiry(m.survivors.expiry)
	}
	return nil
}

// cutBefore ends outputs as often as the cutter says so before user.
func (m *merge) cutBefore(ctx context.Context, user []byte, end bool) error {
	if m.cutter == nil {
		return nil
	}
	for {
		cut, ok := m.cutter.next(user, end, m.outputs.size())
		if !ok {
			return nil
		}
		// The cut aliases the iterator's key, and the next output needs it to its end.
		cut = bytes.Clone(cut)
		if err := m.outputs.finish(ctx, m.spans.Truncate(m.lower, cut)); err != nil {
			return err
		}
		if invariants.Enabled && len(m.outputs.tables) > 0 {
			t := m.outputs.tables[len(m.outputs.tables)-1]
			invariants.Check(rangeOf(t).endsBefore(cut), "output %s reaches past its end at %q", t, cut)
		}
		m.lower = cut
	}
}

// countGarbage notes that a blob file has lost a reference. Bytes are counted as the file's
// total is: header, key and value.
func (m *merge) countGarbage(key ikey.Key, value []byte) error {
	idx, err := blob.DecodeIndex(value)
	if err != nil {
		return fmt.Errorf("key %q at sequence %d: %w", key.User, key.Seq(), err)
	}
	g := m.lost[idx.File]
	if g == nil {
		if g = (&lost{BlobGarbage: manifest.BlobGarbage{Num: idx.File}}); WorthHoles(m.env.blobFile(idx.File)) {
			g.dead = &blob.Dead{}
		}
		if m.lost == nil {
			m.lost = make(map[uint64]*lost)
		}
		m.lost[idx.File] = g
	}
	g.Count++
	g.Bytes += recordBytes(key, idx)
	if g.dead != nil {
		g.dead.Add(len(key.User), idx)
	}
	return nil
}

// blobFile is what is known of a blob file, nil where the plan's version has none of that number.
func (env *Env) blobFile(num uint64) *manifest.Blob {
	if env.Version == nil {
		return nil
	}
	return env.Version.Blobs[num]
}

// loadBlob reads a separated value for the filter.
func (env *Env) loadBlob(user, index []byte) ([]byte, error) {
	idx, err := blob.DecodeIndex(index)
	if err != nil {
		return nil, err
	}
	r, release, err := env.OpenBlob(idx.File)
	if err != nil {
		return nil, err
	}
	defer release()
	return r.Get(user, idx)
}
