package compaction

import (
	"slices"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// Moment is what of the present matters to PickIdle.
type Moment struct {
	NowMillis uint64
	// OldestSnapshot is the lowest sequence number that a reader holds, ikey.MaxSeq for none.
	OldestSnapshot uint64
}

// PickIdle returns a plan that gives space back where no level is too full: it is asked when
// Pick has nothing. It looks for tables that are mostly deletions, hold range tombstones or much that
// only snapshots saw which are closed, are
// marked for compaction, or whose every expiring value has expired, and whose merge costs no more than moving them down
// would have cost anyway, or gives back half of what it reads (range tombstones at any price: what they overlap is what
// goes). Such
// a table is rewritten in place where nothing lies beneath it, and else merged into the first
// level that overlaps; so PickIdle too comes to an end. It is pure, and knows tables by their
// Stats only.
func PickIdle(v *manifest.Version, busy *Reservations, at Moment, o Options) *Plan {
	o = o.withDefaults()
	for level := range v.Levels {
		for i, t := range v.Levels[level] {
			reason := idleReason(t, at)
			if reason == "" || busy.busy(level, t) {
				continue
			}
			plan := reclaim(v, level, i, reason)
			cost := plan.Bytes() - totalBytes(plan.Inputs[0].Tables)
			if t.Stats.RangeDeletes == 0 && cost > int64(o.Ratio)*totalBytes(plan.Inputs[0].Tables) && !halfGoes(plan) {
				continue
			}
			if busy.free(plan) {
				return plan
			}
		}
	}
	return nil
}

// PickDead returns a plan that drops tables in which no reader finds anything, and beneath which
// nothing older lies: all their entries are deletions or have expired. Running it reads and writes
// no table, so it goes before everything else. It is pure, and knows tables by their Stats only.
func PickDead(v *manifest.Version, busy *Reservations, nowMillis uint64) *Plan {
	for level := bottom; level >= 0; level-- {
		tables := v.Levels[level]
		drops := func(i int) bool {
			return dead(tables[i], nowMillis) && !busy.busy(level, tables[i]) && undermost(v, level, i)
		}
		for i := len(tables) - 1; i >= 0; i-- {
			if !drops(i) {
				continue
			}
			end := i + 1
			for level > 0 && i > 0 && drops(i-1) {
				i--
			}
			plan := &Plan{Inputs: []Input{{level, tables[i:end]}}, Output: level, Reason: ReasonExpired}
			if busy.free(plan) {
				return plan
			}
		}
	}
	return nil
}

// undermost reports whether no table older than table i of level overlaps it.
func undermost(v *manifest.Version, level, i int) bool {
	tables := v.Levels[level]
	keys := rangeOf(tables[i])
	if level == 0 {
		if slices.ContainsFunc(tables[i+1:], func(t *manifest.Table) bool { return rangeOf(t).overlaps(keys) }) {
			return false
		}
	} else if first, end := cleanCut(tables, i, i+1); end-first > 1 {
		return false
	}
	for below := level + 1; below < manifest.NumLevels; below++ {
		if first, end := overlapping(v.Levels[below], keys); first < end {
			return false
		}
	}
	return true
}

// idleReason says why t is worth a rewrite, or "" when it is not.
func idleReason(t *manifest.Table, at Moment) string {
	s := t.Stats
	switch {
	case s.Known && s.MaxExpiry != 0 && s.MaxExpiry <= at.NowMillis:
		return ReasonExpired
	case t.MarkedForCompaction:
		return ReasonMarked
	case !s.Known || t.LargestSeq > at.OldestSnapshot:
		return "" // a snapshot may need the tombstones or what is hidden: rewriting would change nothing
	case s.RangeDeletes > 0, s.Deletes > 0 && s.Deletes*2 >= s.Entries:
		return ReasonTombstones
	case s.Hidden > 0 && s.Hidden*8 >= s.Entries:
		return ReasonSnapshot
	}
	return ""
}

// halfGoes reports whether a plan's upper tables delete at least half as many entries as lie in the
// tables beneath: a deletion is small, whatever the size of what it deletes.
func halfGoes(plan *Plan) bool {
	var deletes, beneath uint64
	for _, t := range plan.Inputs[0].Tables {
		deletes += uint64(t.Stats.Deletes)
	}
	for _, input := range plan.Inputs[1:] {
		for _, t := range input.Tables {
			if !t.Stats.Known {
				return false
			}
			beneath += uint64(t.Stats.Entries)
		}
	}
	return 2*deletes >= beneath
}

// reclaim plans the way down for table i of level.
func reclaim(v *manifest.Version, level, i int, reason string) *Plan {
	var tables []*manifest.Table
	output := level
	if level == 0 {
		tables = overlappingL0(v.Levels[0], rangeOf(v.Levels[0][i]))
		output = bottom
		for below := bottom; below > 0; below-- {
			if len(v.Levels[below]) > 0 {
				output = below
			}
		}
	} else {
		first, end := cleanCut(v.Levels[level], i, i+1)
		tables = v.Levels[level][first:end]
	}
	keys := rangeOfAll(tables)
	for below := level + 1; below < manifest.NumLevels; below++ {
		if first, end := overlapping(v.Levels[below], keys); first < end {
			output = below
			break
		}
	}
	return newPlan(v, Input{level, tables}, output, reason)
}
