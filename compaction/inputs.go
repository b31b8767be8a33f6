package compaction

import (
	"fmt"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable"
)

// inputs reads the tables of a plan: those of L0 side by side, those of a deeper level one
// after the other. It knows how many entries they claim to hold.
type inputs struct {
	env  *Env
	plan *Plan

	merged   iterator.Iterator
	releases []func() // readers that are open until close
	claimed  uint64   // point entries, by the properties of the tables opened so far
	unknown  bool     // some table does not say
	unread   unread
}

// open returns the merge of all entries that are read and all range tombstones, each within the
// bounds of its table. On an error close is still to be called.
func (in *inputs) open(older *beneath) (iterator.Iterator, rangedel.List, error) {
	var its []iterator.Iterator
	var lists []rangedel.List
	fail := func(err error) (iterator.Iterator, rangedel.List, error) {
		for _, it := range its {
			it.Close()
		}
		return nil, nil, err
	}
	for _, input := range in.plan.Inputs {
		for _, t := range input.Tables {
			list, err := in.rangeDels(t)
			if err != nil {
				return fail(err)
			}
			lists = append(lists, list)
		}
	}
	tombstones := rangedel.Merge(lists...)
	in.unread = findUnread(in.env, in.plan, older, tombstones)
	in.claimed = in.unread.dropped.Total()
	for _, input := range in.plan.Inputs {
		tables := in.unread.without(input.Tables)
		if input.Level > 0 {
			if len(tables) > 0 {
				its = append(its, in.openLevel(tables))
			}
			continue
		}
		for _, t := range tables {
			it, release, err := in.openTable(t)
			if err != nil {
				return fail(err)
			}
			in.releases = append(in.releases, release)
			its = append(its, it)
		}
	}
	in.merged = iterator.NewMerging(its...)
	return in.merged, tombstones, nil
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

// openLevel walks the tables of a sorted level with one of them open at a time.
func (in *inputs) openLevel(tables []*manifest.Table) iterator.Iterator {
	at := len(in.releases)
	in.releases = append(in.releases, func() {})
	bounds := func(i int) (smallest, largest ikey.Key) { return tables[i].Smallest, tables[i].Largest }
	return iterator.NewConcat(len(tables), bounds, func(i int) (iterator.Iterator, error) {
		// The part before has been closed, so its reader can go.
		in.releases[at]()
		in.releases[at] = func() {}
		it, release, err := in.openTable(tables[i])
		if err == nil {
			in.releases[at] = release
		}
		return it, err
	})
}

func (in *inputs) openTable(t *manifest.Table) (iterator.Iterator, func(), error) {
	r, release, err := in.env.OpenTable(t)
	if err != nil {
		return nil, nil, err
	}
	p := r.Properties()
	if t.Stats.Known && t.Stats.RangeDeletes == 0 && len(r.RangeDels()) > 0 {
		release()
		return nil, nil, fmt.Errorf("table %06d has range tombstones that its statistics do not count", t.Num)
	}
	if p.NumEntries == 0 || p.NumRangeDeletions > p.NumEntries {
		in.unknown = true
	} else {
		in.claimed += p.NumEntries - p.NumRangeDeletions
	}
	return r.NewIterator(sstable.IterOptions{Compaction: true}), release, nil
}

// verify compares what was read with what the tables claim to hold.
func (in *inputs) verify(read uint64) error {
	if !in.unknown && read != in.claimed {
		return fmt.Errorf("%d entries read, but the input tables hold %d", read, in.claimed)
	}
	return nil
}

// close closes the iterators, then gives the readers back.
func (in *inputs) close() error {
	var err error
	if in.merged != nil {
		err = in.merged.Close()
	}
	for _, release := range in.releases {
		release()
	}
	in.merged, in.releases = nil, nil
	return err
}
