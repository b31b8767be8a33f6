package compaction

import (
	"fmt"
	"sync"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable"
)

// inputs is what a plan reads, and how many entries its tables claim to hold. Several readings
// may share it.
type inputs struct {
	env        *Env
	plan       *Plan
	tombstones rangedel.List // of all tables, each within the bounds of its table
	unread     unread

	mu      sync.Mutex        // guards the fields below
	claimed map[uint64]uint64 // by table that was opened: point entries, by its properties
	unknown bool              // some table does not say
}

func newInputs(env *Env, plan *Plan, older *beneath) (*inputs, error) {
	in := &inputs{env: env, plan: plan, claimed: make(map[uint64]uint64)}
	var lists []rangedel.List
	for _, input := range plan.Inputs {
		for _, t := range input.Tables {
			list, err := in.rangeDels(t)
			if err != nil {
				return nil, err
			}
			lists = append(lists, list)
		}
	}
	in.tombstones = rangedel.Merge(lists...)
	in.unread = findUnread(env, plan, older, in.tombstones)
	return in, nil
}

// rangeDels opens t only where it may have range tombstones.
func (in *inputs) rangeDels(t *manifest.Table) (rangedel.List, error) {
	if t.Stats.Known && t.Stats.RangeDeletes == 0 {
		return nil, nil // openTable checks it
	}
	r, release, err := in.env.OpenTable(t)
	if err != nil {
		return nil, err
	}
	defer release()
	return r.RangeDels().TruncateToBounds(t.Smallest, t.Largest), nil
}

// claim notes what an open table says that it holds.
func (in *inputs) claim(t *manifest.Table, r *sstable.Reader) error {
	p := r.Properties()
	if t.Stats.Known && t.Stats.RangeDeletes == 0 && len(r.RangeDels()) > 0 {
		return fmt.Errorf("table %06d has range tombstones that its statistics do not count", t.Num)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if p.NumEntries == 0 || p.NumRangeDeletions > p.NumEntries {
		in.unknown = true
	} else {
		in.claimed[t.Num] = p.NumEntries - p.NumRangeDeletions
	}
	return nil
}

// verify compares what was read with what the tables claim to hold.
func (in *inputs) verify(read uint64) error {
	var claimed uint64
	for _, n := range in.claimed {
		claimed += n
	}
	if !in.unknown && read != claimed {
		return fmt.Errorf("%d entries read, but the input tables hold %d", read, claimed)
	}
	return nil
}

// reading reads the inputs' entries in a range of user keys: the tables of L0 side by side, those
// of a deeper level one after the other.
type reading struct {
	in    *inputs
	keys  keyRange
	reuse *reuse // nil: none

	merged   iterator.Iterator
	releases []func() // readers that are open until close
}

// open returns the merge of all entries. It stands before the range and goes on behind it. On an
// error close is still to be called.
func (r *reading) open() (iterator.Iterator, error) {
	var its []iterator.Iterator
	for _, input := range r.in.plan.Inputs {
		tables := r.tables(input)
		if input.Level > 0 {
			if len(tables) > 0 {
				its = append(its, r.openLevel(tables, input.Level == r.in.plan.Output))
			}
			continue
		}
		for _, t := range tables {
			it, release, err := r.openTable(t, false)
			if err != nil {
				for _, it := range its {
					it.Close()
				}
				return nil, err
			}
			r.releases = append(r.releases, release)
			its = append(its, it)
		}
	}
	r.merged = iterator.NewMerging(its...)
	return r.merged, nil
}

// tables are those of an input that are read here.
func (r *reading) tables(input Input) (out []*manifest.Table) {
	for _, t := range input.Tables {
		if !r.in.unread.tables[t.Num] && rangeOf(t).overlaps(r.keys) {
			out = append(out, t)
		}
	}
	return out
}

// openLevel walks the tables of a sorted level with one of them open at a time.
func (r *reading) openLevel(tables []*manifest.Table, reusable bool) iterator.Iterator {
	at := len(r.releases)
	r.releases = append(r.releases, func() {})
	bounds := func(i int) (smallest, largest ikey.Key) { return tables[i].Smallest, tables[i].Largest }
	return iterator.NewConcat(len(tables), bounds, func(i int) (iterator.Iterator, error) {
		// The part before has been closed, so its reader can go.
		r.releases[at]()
		r.releases[at] = func() {}
		it, release, err := r.openTable(tables[i], reusable)
		if err == nil {
			r.releases[at] = release
		}
		return it, err
	})
}

// openTable opens t. Where it is of the output level, blocks of it may be used again.
func (r *reading) openTable(t *manifest.Table, reusable bool) (iterator.Iterator, func(), error) {
	table, release, err := r.in.env.OpenTable(t)
	if err != nil {
		return nil, nil, err
	}
	if err := r.in.claim(t, table); err != nil {
		release()
		return nil, nil, err
	}
	o := sstable.IterOptions{Compaction: true, Upper: r.keys.hi}
	if r.reuse != nil && reusable {
		o.OnBlock = r.reuse.note
	}
	return table.NewIterator(o), release, nil
}

// close closes the iterators, then gives the readers back.
func (r *reading) close() error {
	var err error
	if r.merged != nil {
		err = r.merged.Close()
	}
	for _, release := range r.releases {
		release()
	}
	r.merged, r.releases = nil, nil
	return err
}
