package compaction

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// Run carries out plan and returns the edit that puts its outputs in the place of its inputs.
// The outputs and their names are durable when it returns; nothing else has changed. A large plan
// is divided into up to env.Parts ranges of user keys that are merged at the same time. It stops
// early when ctx ends. Any read error, and any difference between the entries that the inputs
// claim, those that were read, and those that were written or dropped, is an error.
func Run(ctx context.Context, env *Env, plan *Plan) (*Result, error) {
	if plan.TrivialMove {
		return move(plan), nil
	}
	result, err := run(ctx, env, plan)
	if err != nil {
		return nil, fmt.Errorf("compaction %s (%s): %w", plan, plan.Reason, err)
	}
	return result, nil
}

func run(ctx context.Context, env *Env, plan *Plan) (_ *Result, err error) {
	older := newBeneath(env.Version, plan)
	in, err := newInputs(env, plan, older)
	if err != nil {
		return nil, err
	}
	spans := survivingSpans(in.tombstones, env.Snapshots, func(start, end []byte) bool { return !older.holdsRange(start, end) })
	ranges, err := divide(in)
	if err != nil {
		return nil, err
	}
	merges := make([]*merge, len(ranges))
	defer func() {
		if err != nil {
			for _, m := range merges {
				m.discard()
			}
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	for i, keys := range ranges {
		m := newMerge(in, spans, keys)
		merges[i] = m
		g.Go(func() error { return m.read(ctx, in, keys) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	result, err := conclude(env, merges, in.unread.dropped, in.verify)
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

// newMerge returns the merge of one range of in's keys. spans are the tombstones that survive.
func newMerge(in *inputs, spans rangedel.List, keys keyRange) *merge {
	env, plan := in.env, in.plan
	older := newBeneath(env.Version, plan) // its own: it walks along
	return &merge{
		env: env,
		survivors: survivors{
			snapshots: env.Snapshots, nowMillis: env.NowMillis, tombstones: in.tombstones,
			bottommost: func(user []byte) bool { return !older.holdsKey(user) },
			filter:     env.Filter, level: plan.Output, loadBlob: env.loadBlob,
		},
		spans:   spans,
		lower:   keys.lo,
		upper:   keys.hi,
		cutter:  newCutter(plan, env.targetFileBytes()).within(keys),
		outputs: outputs{env: env, level: plan.Output, reason: plan.Reason, ancestorTime: plan.ancestorTime(), reuse: newReuse(env.WriterOptions(plan.Output).Compression)},
		values:  values{env: env, reason: plan.Reason, moves: plan.MoveValues},
	}
}

// read merges the entries of in in keys.
func (m *merge) read(ctx context.Context, in *inputs, keys keyRange) error {
	r := &reading{in: in, keys: keys, reuse: m.outputs.reuse}
	defer r.close() // a second time where all went well
	it, err := r.open()
	if err != nil {
		return err
	}
	if err := m.run(ctx, it); err != nil {
		return err
	}
	return r.close()
}

// conclude makes one result of merges of ranges that follow one another, and of what was dropped
// unread, with the proof that nothing is missing. verify is told the number of entries that were
// read, before the outputs count as good.
func conclude(env *Env, merges []*merge, unread Dropped, verify func(read uint64) error) (*Result, error) {
	r := &Result{Edit: &manifest.Edit{}, In: unread.Total(), Dropped: unread}
	all := make(map[uint64]*lost)
	for _, m := range merges {
		r.In += m.entries
		r.Out += m.outputs.entries
		r.Dropped = r.Dropped.plus(m.survivors.dropped)
		r.Tables = append(r.Tables, m.outputs.tables...)
		r.ValuesMoved += m.moved
		r.BlocksReused += m.outputs.reuse.used()
		r.Edit.BlobsAdded = append(r.Edit.BlobsAdded, m.values.files...)
		for num, g := range m.lost {
			was := all[num]
			if was == nil {
				all[num] = g
				continue
			}
			was.Count += g.Count
			was.Bytes += g.Bytes
			if was.dead != nil {
				was.dead.Union(g.dead)
			}
		}
	}
	if err := verify(r.In - unread.Total()); err != nil {
		return nil, err
	}
	if r.In != r.Out+r.Dropped.Total() {
		return nil, fmt.Errorf("%d entries read, but %d written and %d dropped (%+v)", r.In, r.Out, r.Dropped.Total(), r.Dropped)
	}
	if len(r.Tables) > 0 {
		if err := env.FS.SyncDir(env.Dir); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(r.Edit.BlobsAdded, func(a, b manifest.Blob) int { return cmp.Compare(a.Num, b.Num) })
	for _, b := range r.Edit.BlobsAdded {
		r.ValuesWritten += int64(b.Bytes)
	}
	for _, m := range merges {
		for _, t := range m.outputs.tables {
			r.Edit.Added = append(r.Edit.Added, manifest.AddedTable{Level: m.outputs.level, Table: t})
			r.BytesWritten += int64(t.Size)
		}
	}
	for _, num := range slices.Sorted(maps.Keys(all)) {
		if env.blobFile(num) == nil {
			continue
		}
		r.Edit.BlobGarbage = append(r.Edit.BlobGarbage, all[num].BlobGarbage)
		if dead := all[num].dead; dead != nil {
			if r.Dead == nil {
				r.Dead = make(map[uint64]*blob.Dead)
			}
			r.Dead[num] = dead
		}
	}
	return r, nil
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
	err := m.run(ctx, it)
	var result *Result
	if err == nil {
		result, err = conclude(env, []*merge{m}, Dropped{}, func(uint64) error { return nil })
	}
	if err != nil {
		m.discard()
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
