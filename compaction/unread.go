package compaction

import (
	"bytes"
	"slices"

	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
)

// unread are the input tables of which nothing survives, as tombstones and statistics alone
// prove. Their entries count as read and dropped.
type unread struct {
	tables  map[uint64]bool
	bytes   int64
	dropped Dropped
}

// findUnread looks at the inputs from the oldest on, since a table that is dropped holds nothing
// back above it.
func findUnread(env *Env, plan *Plan, older *beneath, tombstones rangedel.List) unread {
	u := unread{tables: make(map[uint64]bool)}
	var read []keyRange
	for _, input := range slices.Backward(plan.Inputs) {
		for _, t := range slices.Backward(input.Tables) {
			keys := rangeOf(t)
			switch {
			case buried(t, tombstones, env.Snapshots):
				u.dropped.RangeDeleted += t.Stats.Entries
			case dead(t, env.NowMillis) && !older.overlaps(keys) && !slices.ContainsFunc(read, keys.overlaps):
				u.dropped.Expired += t.Stats.Expiring
				u.dropped.Tombstone += t.Stats.Deletes
			default:
				read = append(read, keys)
				continue
			}
			u.tables[t.Num] = true
			u.bytes += int64(t.Size)
		}
	}
	return u
}

// buried reports whether every entry of t is deleted by range tombstones in the eyes of every
// reader that sees the entry: over all of t's keys, without a gap, lies a tombstone that is newer
// than t with no snapshot between it and t's oldest entry. A table with tombstones of its own,
// or with values in blob files whose garbage must be counted, has to be read.
func buried(t *manifest.Table, tombstones rangedel.List, snapshots []uint64) bool {
	if !t.Stats.Known || t.Stats.RangeDeletes > 0 || t.OldestBlob != 0 {
		return false
	}
	at := t.Smallest.User
	for i := tombstones.Find(at); i < len(tombstones); i++ {
		span := tombstones[i]
		if bytes.Compare(span.Start, at) > 0 {
			return false
		}
		stripe := stripeOf(snapshots, t.SmallestSeq)
		if !slices.ContainsFunc(span.Seqs, func(seq uint64) bool { return seq > t.LargestSeq && stripeOf(snapshots, seq) == stripe }) {
			return false
		}
		if at = span.End; bytes.Compare(at, t.Largest.User) > 0 {
			return true
		}
	}
	return false
}

// dead reports whether no reader finds anything in t: all its entries are deletions or have
// expired. So where nothing older lies beneath, t makes no difference to anybody, whatever the
// snapshots are: a snapshot does not extend a time to live.
func dead(t *manifest.Table, nowMillis uint64) bool {
	s := t.Stats
	return s.Known && s.RangeDeletes == 0 && t.OldestBlob == 0 &&
		s.Entries > 0 && s.Expiring+s.Deletes == s.Entries && s.MaxExpiry <= nowMillis
}
