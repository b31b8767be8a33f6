package compaction

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// Run carries out plan and returns the edit that puts its outputs in the place of its inputs.
// The outputs and their names are durable when it returns; nothing else has changed. It stops
// early when ctx ends. Any read error, and any difference between the entries that the inputs
// claim, those that were read, and those that were written or dropped, is an error.
func Run(ctx context.Context, env *Env, plan *Plan) (*Result, error) {
	if plan.TrivialMove {
		return move(plan), nil
	}
	in := &inputs{env: env, plan: plan}
	defer in.close() // a second time where all went well
	result, err := run(ctx, env, plan, in)
	if err != nil {
		return nil, fmt.Errorf("compaction %s (%s): %w", plan, plan.Reason, err)
	}
	return result, nil
}

func run(ctx context.Context, env *Env, plan *Plan, in *inputs) (*Result, error) {
	older := newBeneath(env.Version, plan)
	it, tombstones, err := in.open(older)
	if err != nil {
		return nil, err
	}
	spans := survivingSpans(tombstones, env.Snapshots, func(start, end []byte) bool { return !older.holdsRange(start, end) })
	targetBytes := env.TargetFileBytes
	if targetBytes <= 0 {
		targetBytes = Options{}.withDefaults().TargetFileBytes
	}
	m := &merge{
		env: env,
		survivors: survivors{
			snapshots: env.Snapshots, nowMillis: env.NowMillis, tombstones: tombstones,
			bottommost: func(user []byte) bool { return !older.holdsKey(user) },
			filter:     env.Filter, level: plan.Output, loadBlob: env.loadBlob,
		},
		spans:   spans,
		cutter:  newCutter(plan, targetBytes),
		outputs: outputs{env: env, level: plan.Output, reason: plan.Reason, ancestorTime: plan.ancestorTime()},
		values:  values{env: env, reason: plan.Reason, moves: plan.MoveValues},
	}
	m.read, m.survivors.dropped = in.unread.dropped.Total(), in.unread.dropped
	result, err := m.all(ctx, it, func(read uint64) error {
		if err := in.verify(read); err != nil {
			return err
		}
		return in.close()
	})
	if err != nil {
		return nil, err
	}
	result.BytesRead = plan.Bytes() - in.unread.bytes
	for _, input := range plan.Inputs {
		for _, t := range input.Tables {
			result.Edit.Deleted = append(result.Edit.Deleted, manifest.DeletedTable{Level: input.Level, Num: t.Num})
		}
	}
	return result, nil
}

// Flush writes one table of L0 from it, a memtable or a merge of several, and from their range
// tombstones rd, and beside it blob files for the values from Env.ValueThreshold on. What no reader can see any more is left out. The result is nil when nothing is
// left. As for Run, the table is durable when it returns. It does not close it.
func Flush(ctx context.Context, env *Env, it iterator.Iterator, rd rangedel.List) (*Result, error) {
	m := &merge{
		env: env,
		survivors: survivors{
			snapshots: env.Snapshots, nowMillis: env.NowMillis, tombstones: rd,
			bottommost: func([]byte) bool { return false },
		},
		spans:   survivingSpans(rd, env.Snapshots, func(_, _ []byte) bool { return false }),
		outputs: outputs{env: env, reason: ReasonFlush, ancestorTime: env.NowMillis / 1000},
		values:  values{env: env, reason: ReasonFlush},
	}
	result, err := m.all(ctx, it, func(uint64) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("flush: %w", err)
	}
	if len(result.Tables) == 0 {
		return nil, nil
	}
	return result, nil
}

// move is a compaction that only edits the manifest.
func move(plan *Plan) *Result {
	edit := &manifest.Edit{}
	for _, in := range plan.Inputs {
		for _, t := range in.Tables {
			edit.Deleted = append(edit.Deleted, manifest.DeletedTable{Level: in.Level, Num: t.Num})
			edit.Added = append(edit.Added, manifest.AddedTable{Level: plan.Output, Table: t})
		}
	}
	return &Result{Edit: edit}
}

// ancestorTime is the oldest of the inputs' known times, in Unix seconds; 0 = unknown.
func (p *Plan) ancestorTime() uint64 {
	var oldest uint64
	for _, in := range p.Inputs {
		for _, t := range in.Tables {
			if at := t.OldestAncestorTime; at != 0 && (oldest == 0 || at < oldest) {
				oldest = at
			}
		}
	}
	return oldest
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

// merge is the loop that Run and Flush share.
type merge struct {
	env       *Env
	survivors survivors
	spans     rangedel.List // tombstones to write
	cutter    *cutter       // nil: one output
	outputs   outputs
	values    values

	read    uint64 // point entries
	lower   []byte // where the key range of the current output begins; nil at first
	last    []byte // the user key before, in memory that is used again
	started bool   // last is set
	unpaced int    // bytes and entries since the last pace
	moved   int64  // bytes of values that went from one blob file to another
	garbage map[uint64]*manifest.BlobGarbage
}

// paceBytes is how much a run reads between two looks at its context and its limiter; an entry
// counts entryCost besides its bytes, so that many small ones do not put it off.
const (
	paceBytes = 64 << 10
	entryCost = 32
)

// all merges everything. verify is told the number of entries read before the outputs count as
// good. After an error there are no outputs.
func (m *merge) all(ctx context.Context, it iterator.Iterator, verify func(read uint64) error) (_ *Result, err error) {
	defer func() {
		if err != nil {
			m.outputs.discard()
			m.values.discard(m.outputs.complain)
		}
	}()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if err := m.entry(ctx, it.Key(), it.Value()); err != nil {
			return nil, err
		}
	}
	if err := it.Err(); err != nil {
		return nil, err
	}
	if err := m.cutBefore(ctx, nil, true); err != nil {
		return nil, err
	}
	if err := m.outputs.finish(ctx, m.spans.Truncate(m.lower, nil)); err != nil {
		return nil, err
	}
	if err := m.values.finish(); err != nil {
		return nil, err
	}
	if err := m.pace(ctx); err != nil {
		return nil, err
	}
	if err := verify(m.read); err != nil {
		return nil, err
	}
	dropped := m.survivors.dropped
	if m.read != m.outputs.entries+dropped.Total() {
		return nil, fmt.Errorf("%d entries read, but %d written and %d dropped (%+v)", m.read, m.outputs.entries, dropped.Total(), dropped)
	}
	if len(m.outputs.tables) > 0 {
		if err := m.env.FS.SyncDir(m.env.Dir); err != nil {
			return nil, err
		}
	}
	return m.result(), nil
}

// entry takes one entry of the merge to its end: dropped or written.
func (m *merge) entry(ctx context.Context, key ikey.Key, value []byte) error {
	m.read++
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
	if m.garbage == nil {
		m.garbage = make(map[uint64]*manifest.BlobGarbage)
	}
	g := m.garbage[idx.File]
	if g == nil {
		g = &manifest.BlobGarbage{Num: idx.File}
		m.garbage[idx.File] = g
	}
	g.Count++
	g.Bytes += recordBytes(key, idx)
	return nil
}

func (m *merge) result() *Result {
	r := &Result{Edit: &manifest.Edit{}, In: m.read, Out: m.outputs.entries, Dropped: m.survivors.dropped, Tables: m.outputs.tables, ValuesMoved: m.moved}
	r.Edit.BlobsAdded = m.values.files
	for _, b := range m.values.files {
		r.ValuesWritten += int64(b.Bytes)
	}
	for _, t := range m.outputs.tables {
		r.Edit.Added = append(r.Edit.Added, manifest.AddedTable{Level: m.outputs.level, Table: t})
		r.BytesWritten += int64(t.Size)
	}
	for _, num := range slices.Sorted(maps.Keys(m.garbage)) {
		if m.env.Version != nil && m.env.Version.Blobs[num] != nil {
			r.Edit.BlobGarbage = append(r.Edit.BlobGarbage, *m.garbage[num])
		}
	}
	return r
}
