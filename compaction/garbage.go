package compaction

import (
	"cmp"
	"slices"

	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// When blob files are emptied, in parts of what all of them hold.
//
// The space is 1 / (1 - maxGarbage) of what lives. Where every value is as likely to be overwritten
// as any other, the first overwriting of everything makes emptying write 0.6 to 0.8 bytes for each
// byte put at a maxGarbage of 0.25 (0.4 at 0.30, 0.3 at 0.33), and for ever after 1.2 (0.9, 0.7). At
// 0.25 a gibibyte of values keeps within 1.5 of its size together with the logs of its memtables.
const (
	maxGarbage = 0.25
	// urgentGarbage is what goes before the work of policies.
	urgentGarbage = 0.45
	// minFresh is what must lie in values of L0 for a look at what they have overwritten.
	minFresh = 0.02
	// tableCost is how many bytes of blob files are to come back for one byte of tables that is
	// rewritten only for their sake.
	tableCost = 8
	// mostlyLive is the live part of a blob file from which it is not worth emptying, once the
	// rest is enough.
	mostlyLive = 0.9
	// maxMoveBytes bounds the values that one plan moves, unless a single table refers to more.
	maxMoveBytes = 1 << 30
	// sunken is the live part of a blob file below which it is emptied for the sake of their
	// number, once that many are such and a quarter of all: what is given back as holes leaves
	// files behind that hold little, and each of them is kept open.
	sunken    = 1.0 / 16
	minSunken = 16
)

// GivenBack says what blob files have given back of their garbage. Those that are missing have given
// nothing back.
type GivenBack map[uint64]Holes

// Holes are bytes of one blob file that take no space any more, and those that soon will not.
type Holes struct{ Given, Due uint64 }

// space returns what the file takes, and how much of that is garbage. Where more is due than a
// quarter of the file, giving back is slower than garbage comes, and the rest counts.
func (g GivenBack) space(b *manifest.Blob) (total, garbage uint64) {
	h := g[b.Num]
	back := min(h.Given+min(h.Due, b.Bytes/4), b.GarbageBytes)
	return b.Bytes - back, b.GarbageBytes - back
}

// sum returns the same of all blob files of a version.
func (g GivenBack) sum(v *manifest.Version) (total, garbage uint64) {
	for _, b := range v.Blobs {
		t, n := g.space(b)
		total += t
		garbage += n
	}
	return total, garbage
}

// WorthHoles reports whether dead values of a blob file leave whole pages to give back one by one: of
// a record of four pages, three or four come back, wherever it begins. Where records are smaller, more
// of their space would stay, and the file system would note more for less.
func WorthHoles(b *manifest.Blob) bool { return b != nil && b.Bytes >= 4*vfs.HoleUnit*b.Count }

// valueUse is what the tables of a version say about its blob files.
type valueUse struct {
	back           GivenBack
	total, garbage uint64                       // that take space
	fresh          uint64                       // referred to from L0: what they overwrote is not known yet
	inL0           map[uint64]bool              // blob files that L0 refers to
	anyFrom        uint64                       // L0 may refer to any file from this number on
	users          map[uint64][]*manifest.Table // by blob file: the tables below L0 that refer to it
	vague          []*manifest.Table            // those that do not say to which files
}

func newValueUse(v *manifest.Version, back GivenBack) *valueUse {
	u := &valueUse{back: back, inL0: make(map[uint64]bool), anyFrom: ^uint64(0), users: make(map[uint64][]*manifest.Table)}
	u.total, u.garbage = back.sum(v)
	for level, tables := range v.Levels {
		for _, t := range tables {
			switch {
			case t.OldestBlob == 0:
			case level == 0 && !t.Stats.BlobRefsKnown:
				u.anyFrom = min(u.anyFrom, t.OldestBlob)
				if b := v.Blobs[t.OldestBlob]; b != nil {
					u.fresh += b.Bytes
				}
			case level == 0:
				for _, r := range t.Stats.BlobRefs {
					u.inL0[r.Num] = true
					u.fresh += r.Bytes
				}
			case !t.Stats.BlobRefsKnown:
				u.vague = append(u.vague, t)
			default:
				for _, r := range t.Stats.BlobRefs {
					u.users[r.Num] = append(u.users[r.Num], t)
				}
			}
		}
	}
	return u
}

// of returns the tables below L0 that refer to blob file num, or may.
func (u *valueUse) of(num uint64) []*manifest.Table {
	tables := u.users[num]
	for _, t := range u.vague {
		if t.OldestBlob <= num {
			tables = append(tables[:len(tables):len(tables)], t)
		}
	}
	return tables
}

// over reports whether n bytes are too much garbage in total.
func over(n, total uint64, part float64) bool { return float64(n) > part*float64(total) }

// ValuesUrgent reports whether so much of what the blob files take is garbage that emptying them
// goes before everything else.
func ValuesUrgent(v *manifest.Version, back GivenBack) bool {
	total, garbage := back.sum(v)
	return over(garbage, total, urgentGarbage)
}

// ValueDebt estimates the bytes of values that PickValues' plans would still write.
func ValueDebt(v *manifest.Version, back GivenBack) int64 {
	total, garbage := back.sum(v)
	return int64(max(0, float64(garbage)-maxGarbage*float64(total)))
}

// PickValues returns a plan that brings the space of overwritten large values back, or nil where
// too little of what the blob files take is garbage. What is garbage is known once the entries meet in a
// merge: so where the values of L0 may have overwritten enough, and L0 is small beside them, the
// plan merges L0 down. Else it rewrites tables where they are, and moves the values out of the
// blob files with the smallest live parts, as many as leave maxGarbage behind; the last table to
// be rewritten leaves those files without a reference, and the manifest drops them. So picking
// and running again comes to an end. It is pure, and knows references by the Stats of tables.
func PickValues(v *manifest.Version, back GivenBack, busy *Reservations, o Options) *Plan {
	if len(v.Blobs) == 0 {
		return nil
	}
	o = o.withDefaults()
	u := newValueUse(v, back)
	if over(u.garbage+u.fresh, u.total, maxGarbage) && over(u.fresh, u.total, minFresh) {
		if plan := mergeFresh(v, u, false); plan != nil && busy.free(plan) {
			return plan
		}
	}
	moves, users := u.choose(v)
	if len(moves) == 0 {
		if plan := mergeFresh(v, u, true); plan != nil && over(u.garbage, u.total, maxGarbage) && busy.free(plan) {
			return plan
		}
		return nil
	}
	for level := bottom; level > 0; level-- {
		if plan := rewrite(v, busy, level, moves, users, o); plan != nil {
			return plan
		}
	}
	return nil
}

// mergeFresh merges the oldest table of L0 and what overlaps it down, where that costs little
// beside the values, or at any price.
func mergeFresh(v *manifest.Version, u *valueUse, anyPrice bool) *Plan {
	l0 := v.Levels[0]
	if u.fresh == 0 || len(l0) == 0 {
		return nil
	}
	plan := reclaim(v, 0, len(l0)-1, ReasonValues)
	if len(plan.Inputs) == 1 && len(plan.Inputs[0].Tables) == 1 && !anyPrice {
		return nil // it has overwritten nothing
	}
	if !anyPrice && uint64(plan.Bytes())*tableCost > u.fresh {
		return nil
	}
	return plan
}

// choose returns the blob files to empty, and the tables that are to be rewritten for it.
func (u *valueUse) choose(v *manifest.Version) (moves map[uint64]bool, users map[uint64]bool) {
	files := u.emptiable(v)
	moves, users = make(map[uint64]bool), make(map[uint64]bool)
	freed, cost := uint64(0), uint64(0)
	empty := func(b *manifest.Blob) {
		moves[b.Num] = true
		_, garbage := u.back.space(b)
		freed += garbage
		for _, t := range u.of(b.Num) {
			if !users[t.Num] {
				users[t.Num] = true
				cost += t.Size
			}
		}
	}
	for _, b := range tooManySunken(files, len(v.Blobs)) {
		empty(b)
	}
	if !over(u.garbage, u.total, maxGarbage) {
		return moves, users
	}
	for _, b := range files {
		left := over(u.garbage-freed, u.total-freed, maxGarbage)
		if !left && (freed >= tableCost*cost || u.live(b) > mostlyLive) {
			break
		}
		if !moves[b.Num] {
			empty(b)
		}
	}
	return moves, users
}

// emptiable returns the blob files that hold garbage and to which only tables below L0 refer,
// beginning with the one whose live part is the smallest of what it takes.
func (u *valueUse) emptiable(v *manifest.Version) (files []*manifest.Blob) {
	for num, b := range v.Blobs {
		if b.GarbageBytes > 0 && !u.inL0[num] && num < u.anyFrom && len(u.of(num)) > 0 {
			files = append(files, b)
		}
	}
	slices.SortFunc(files, func(a, b *manifest.Blob) int {
		if c := cmp.Compare(u.live(a), u.live(b)); c != 0 {
			return c
		}
		return cmp.Compare(a.Num, b.Num)
	})
	return files
}

// live is the part of what a file takes that lives.
func (u *valueUse) live(b *manifest.Blob) float64 {
	total, garbage := u.back.space(b)
	return 1 - float64(garbage)/float64(max(1, total))
}

// tooManySunken returns those of files of which almost nothing lives, if they are too many among
// all.
func tooManySunken(files []*manifest.Blob, all int) (low []*manifest.Blob) {
	for _, b := range files {
		if float64(b.Bytes-b.GarbageBytes) < sunken*float64(b.Bytes) {
			low = append(low, b)
		}
	}
	if len(low) < minSunken || 4*len(low) <= all {
		return nil
	}
	return low
}

// rewrite plans the first stretch of adjacent tables of a level that refer to what moves and are
// free.
func rewrite(v *manifest.Version, busy *Reservations, level int, moves, users map[uint64]bool, o Options) *Plan {
	tables := v.Levels[level]
	for i := 0; i < len(tables); i++ {
		if !users[tables[i].Num] || busy.busy(level, tables[i]) {
			continue
		}
		j, size, moved := i, int64(0), uint64(0)
		for j < len(tables) && users[tables[j].Num] && !busy.busy(level, tables[j]) {
			size += int64(tables[j].Size)
			for _, r := range tables[j].Stats.BlobRefs {
				if moves[r.Num] {
					moved += r.Bytes
				}
			}
			if j > i && (size > maxInputBytes*o.TargetFileBytes || moved > maxMoveBytes) {
				break
			}
			j++
		}
		first, end := cleanCut(tables, i, j)
		plan := newPlan(v, Input{level, tables[first:end]}, level, ReasonValues)
		plan.MoveValues = moves
		if busy.free(plan) {
			return plan
		}
	}
	return nil
}
