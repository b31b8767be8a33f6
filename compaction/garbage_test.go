package compaction

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/sstable"
)

// TestValuesScript shows when blob files are emptied. Beside the tree the scripts draw blob
// files: B7 100 40 is number 7 with 100 MiB of which 40 are garbage, and with a third number that
// much of the garbage is given back, and with a fourth that much due.
func TestValuesScript(t *testing.T) {
	var v *manifest.Version
	var back GivenBack
	busy := &Reservations{}
	datadriven.RunTest(t, "testdata/values", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "define":
			var tree []string
			blobs := map[uint64]*manifest.Blob{}
			back = GivenBack{}
			for _, line := range strings.Split(d.Input, "\n") {
				var b manifest.Blob
				var holes Holes
				if n, _ := fmt.Sscanf(line, "B%d %d %d %d %d", &b.Num, &b.Count, &b.GarbageCount, &holes.Given, &holes.Due); n >= 3 {
					b.Bytes, b.GarbageBytes = b.Count<<20, b.GarbageCount<<20
					blobs[b.Num], back[b.Num] = &b, Holes{holes.Given << 20, holes.Due << 20}
				} else {
					tree = append(tree, line)
				}
			}
			v, busy = drawnVersion(t, strings.Join(tree, "\n")), &Reservations{}
			v.Blobs = blobs
			return ""
		case "pick":
			plan := PickValues(v, back, busy, Options{})
			if plan == nil {
				return draw(plan)
			}
			out := draw(plan)
			if len(plan.MoveValues) > 0 {
				out += fmt.Sprintf("moves the values of %d\n", slices.Sorted(maps.Keys(plan.MoveValues)))
			}
			if d.HasArg("hold") {
				require.True(t, busy.Reserve(plan))
				require.NoError(t, busy.Verify(plan, v))
			}
			return out
		case "debt":
			return fmt.Sprintf("%d MiB, urgent %v\n", ValueDebt(v, back)>>20, ValuesUrgent(v, back))
		}
		d.Fatalf(t, "unknown command %s", d.Cmd)
		return ""
	})
}

// TestBlobRefsProperty: what a table says of its references is read as it was written, and bad
// bytes are nothing said.
func TestBlobRefsProperty(t *testing.T) {
	read := func(s string, oldest uint64) ([]manifest.BlobRef, bool) {
		return BlobRefs(sstable.Properties{User: map[string]string{PropertyBlobRefs: s}}, oldest)
	}
	rapid.Check(t, func(t *rapid.T) {
		var refs []manifest.BlobRef
		num := uint64(0)
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			num += rapid.Uint64Range(1, 1<<40).Draw(t, "step")
			refs = append(refs, manifest.BlobRef{Num: num, Count: rapid.Uint64().Draw(t, "count"), Bytes: rapid.Uint64().Draw(t, "bytes")})
		}
		s := encodeBlobRefs(refs)
		got, known := read(s, refs[0].Num)
		require.True(t, known)
		require.Equal(t, refs, got)
		_, known = read(s, refs[0].Num+1)
		require.False(t, known)
		cut := rapid.IntRange(0, len(s)-1).Draw(t, "cut")
		if got, known = read(s[:cut], refs[0].Num); known {
			require.Equal(t, refs[:len(got)], got) // cut between two files
		}
	})
	_, known := BlobRefs(sstable.Properties{}, 0)
	require.True(t, known, "no references")
	_, known = BlobRefs(sstable.Properties{}, 3)
	require.False(t, known)
	_, known = read("\x03\x01\x01\x00\x01\x01", 3)
	require.False(t, known, "numbers ascend")
}

// TestPickValuesEnds runs PickValues over random states of tables and blob files until it has
// nothing more, with the effect of a run on them: it must come to an end, and no more garbage than
// allowed may be left.
func TestPickValuesEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		back := GivenBack{}
		nextFile := uint64(1000)
		seq := uint64(0)
		draw := func(name string, lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, name) }
		blobs := map[uint64]*manifest.Blob{}
		for n := range draw("blobs", 1, 24) {
			blobs[uint64(n+1)] = &manifest.Blob{Num: uint64(n + 1)}
		}
		var levels [manifest.NumLevels][]*manifest.Table
		for _, level := range []int{0, 5, 6} {
			for i := range draw("tables", 0, 5) {
				seq++
				nextFile++
				lo := fmt.Appendf(nil, "%02d", 10*i)
				hi := fmt.Appendf(nil, "%02d", 10*i+9)
				table := &manifest.Table{Num: nextFile, Size: uint64(draw("size", 1, 1000)),
					Smallest: ikey.Make(lo, seq, ikey.KindSet), Largest: ikey.Make(hi, seq, ikey.KindSet), SmallestSeq: seq, LargestSeq: seq}
				table.Stats = manifest.TableStats{Known: true, BlobRefsKnown: draw("known", 0, 3) > 0}
				for num := uint64(1); num <= uint64(len(blobs)); num++ {
					if n := uint64(max(0, draw("ref", -3, 3))); n > 0 {
						table.Stats.BlobRefs = append(table.Stats.BlobRefs, manifest.BlobRef{Num: num, Count: n, Bytes: 100 * n})
						blobs[num].Count += n
					}
				}
				if refs := table.Stats.BlobRefs; len(refs) > 0 {
					table.OldestBlob = refs[0].Num
				}
				levels[level] = append(levels[level], table)
			}
		}
		hidden := map[uint64][]manifest.BlobRef{} // of tables that do not say
		for _, b := range blobs {
			b.GarbageCount = uint64(draw("garbage", 0, 30) * (1 + 10*draw("much", 0, 1)))
			b.Count += b.GarbageCount
			b.Bytes, b.GarbageBytes = 100*b.Count, 100*b.GarbageCount
			back[b.Num] = Holes{Given: uint64(draw("back", 0, int(b.GarbageBytes)+100) * draw("holes", 0, 1)), Due: uint64(draw("due", 0, 100))}
		}
		var live []*manifest.Blob
		for _, b := range blobs {
			if b.Count > b.GarbageCount {
				live = append(live, b)
			}
		}
		for level := range levels {
			for _, table := range levels[level] {
				if !table.Stats.BlobRefsKnown {
					hidden[table.Num] = table.Stats.BlobRefs
					table.Stats.BlobRefs = nil
				}
			}
		}
		v := manifest.NewVersion(levels, live)
		for steps := 0; ; steps++ {
			require.Less(t, steps, 200, "%s", v)
			plan := PickValues(v, back, nil, Options{})
			if plan == nil {
				break
			}
			v = applyValues(t, v, plan, hidden, &nextFile)
		}
		total, garbage := back.sum(v)
		require.LessOrEqual(t, float64(garbage), maxGarbage*float64(total), "%s", v)
	})
}

// applyValues returns v after plan: nothing was overwritten, and one table is the output.
func applyValues(t *rapid.T, v *manifest.Version, plan *Plan, hidden map[uint64][]manifest.BlobRef, nextFile *uint64) *manifest.Version {
	out := &manifest.Table{Stats: manifest.TableStats{Known: true, BlobRefsKnown: true}}
	*nextFile += 2
	out.Num = *nextFile
	moved := &manifest.Blob{Num: *nextFile - 1}
	blobs := map[uint64]*manifest.Blob{}
	for num, b := range v.Blobs {
		c := *b
		blobs[num] = &c
	}
	refs := map[uint64]manifest.BlobRef{}
	inputs := map[uint64]bool{}
	for _, in := range plan.Inputs {
		for _, table := range in.Tables {
			inputs[table.Num] = true
			out.Size += table.Size
			if out.Smallest.User == nil || string(table.Smallest.User) < string(out.Smallest.User) {
				out.Smallest = table.Smallest
			}
			if out.Largest.User == nil || string(table.Largest.User) > string(out.Largest.User) {
				out.Largest = table.Largest
			}
			out.SmallestSeq, out.LargestSeq = 1, max(out.LargestSeq, table.LargestSeq)
			own := table.Stats.BlobRefs
			if !table.Stats.BlobRefsKnown {
				own = hidden[table.Num]
			}
			for _, r := range own {
				if plan.MoveValues[r.Num] {
					blobs[r.Num].GarbageCount += r.Count
					blobs[r.Num].GarbageBytes += r.Bytes
					moved.Count += r.Count
					moved.Bytes += r.Bytes
					r.Num = moved.Num
				}
				was := refs[r.Num]
				refs[r.Num] = manifest.BlobRef{Num: r.Num, Count: was.Count + r.Count, Bytes: was.Bytes + r.Bytes}
			}
		}
	}
	for _, num := range slices.Sorted(maps.Keys(refs)) {
		out.Stats.BlobRefs = append(out.Stats.BlobRefs, refs[num])
	}
	if len(out.Stats.BlobRefs) > 0 {
		out.OldestBlob = out.Stats.BlobRefs[0].Num
	}
	if moved.Count > 0 {
		blobs[moved.Num] = moved
	}
	var levels [manifest.NumLevels][]*manifest.Table
	for level, tables := range v.Levels {
		for _, table := range tables {
			if !inputs[table.Num] {
				levels[level] = append(levels[level], table)
			}
		}
	}
	levels[plan.Output] = append(levels[plan.Output], out)
	var live []*manifest.Blob
	for _, b := range blobs {
		if b.GarbageCount < b.Count {
			live = append(live, b)
		}
	}
	return manifest.NewVersion(levels, live)
}
