package compaction

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
)

// The scripts draw a tree as text, one level on a line:
//
//	L1  b#3..d#2   e#1..g)#1{size=20,dels=5/9,rangedels=1,hidden=2/9,expiry=10..20/3,marked,refs=7:30+8:1}
//
// is a table from b to d and one from e to, exclusively, g. Sizes are in MiB and 10 where not
// given. Tables are numbered in the order in which they are drawn.

var tableForm = regexp.MustCompile(`^(\w+)#(\d+)\.\.(\w+)(\)?)#(\d+)(?:\{(.*)\})?$`)

func drawnVersion(t *testing.T, text string) *manifest.Version {
	t.Helper()
	var levels [manifest.NumLevels][]*manifest.Table
	num := uint64(0)
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		level, err := strconv.Atoi(strings.TrimPrefix(words[0], "L"))
		if err != nil {
			t.Fatalf("level %q: %v", words[0], err)
		}
		for _, word := range words[1:] {
			num++
			levels[level] = append(levels[level], drawnTable(t, num, word))
		}
	}
	v := manifest.NewVersion(levels, nil)
	if err := v.Check(); err != nil {
		t.Fatalf("drawn tree: %v", err)
	}
	return v
}

func drawnTable(t *testing.T, num uint64, word string) *manifest.Table {
	t.Helper()
	m := tableForm.FindStringSubmatch(word)
	if m == nil {
		t.Fatalf("table %q: want a#9..c#7", word)
	}
	lo, hi := mustUint(t, m[2]), mustUint(t, m[5])
	table := &manifest.Table{
		Num: num, Size: 10 << 20,
		Smallest: ikey.Make([]byte(m[1]), lo, ikey.KindSet), Largest: ikey.Make([]byte(m[3]), hi, ikey.KindSet),
		SmallestSeq: min(lo, hi), LargestSeq: max(lo, hi),
	}
	if m[4] != "" {
		table.Largest.Trailer = ikey.RangeDelSentinel
	}
	if m[6] == "" {
		return table
	}
	for _, attr := range strings.Split(m[6], ",") {
		name, value, _ := strings.Cut(attr, "=")
		switch name {
		case "size":
			table.Size = mustUint(t, value) << 20
			continue
		case "marked":
			table.MarkedForCompaction = true
			continue
		case "dels":
			n, of, _ := strings.Cut(value, "/")
			table.Stats.Deletes, table.Stats.Entries = mustUint(t, n), mustUint(t, of)
		case "hidden":
			n, of, _ := strings.Cut(value, "/")
			table.Stats.Hidden, table.Stats.Entries = mustUint(t, n), mustUint(t, of)
		case "rangedels":
			table.Stats.RangeDeletes = mustUint(t, value)
		case "expiry":
			value, n, counted := strings.Cut(value, "/")
			if counted {
				table.Stats.Expiring = mustUint(t, n)
			}
			lo, hi, _ := strings.Cut(value, "..")
			table.Stats.MinExpiry, table.Stats.MaxExpiry = mustUint(t, lo), mustUint(t, hi)
		case "refs": // blob file:MiB+blob file:MiB, ascending
			for _, ref := range strings.Split(value, "+") {
				num, mib, _ := strings.Cut(ref, ":")
				table.Stats.BlobRefs = append(table.Stats.BlobRefs, manifest.BlobRef{Num: mustUint(t, num), Count: mustUint(t, mib), Bytes: mustUint(t, mib) << 20})
			}
			table.OldestBlob, table.Stats.BlobRefsKnown = table.Stats.BlobRefs[0].Num, true
		case "oldestblob": // and does not say what else
			table.OldestBlob = mustUint(t, value)
		default:
			t.Fatalf("table %q: unknown attribute %q", word, name)
		}
		table.Stats.Known = true
	}
	return table
}

var spanForm = regexp.MustCompile(`^\[(\w+),(\w+)\)#([\d,]+)$`)

// drawnTombstones reads [a,c)#9,7 [c,f)#9.
func drawnTombstones(t *testing.T, text string) rangedel.List {
	t.Helper()
	var ts []rangedel.Tombstone
	for _, word := range strings.Fields(text) {
		m := spanForm.FindStringSubmatch(word)
		if m == nil {
			t.Fatalf("tombstone %q: want [a,c)#9,7", word)
		}
		for _, seq := range strings.Split(m[3], ",") {
			ts = append(ts, rangedel.Tombstone{Start: []byte(m[1]), End: []byte(m[2]), Seq: mustUint(t, seq)})
		}
	}
	return rangedel.Fragment(ts)
}

func mustUint(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("number %q: %v", s, err)
	}
	return n
}

// draw is the plan with what its String leaves out.
func draw(plan *Plan) string {
	if plan == nil {
		return "nothing to do\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  (%s", plan, plan.Reason)
	if plan.TrivialMove {
		b.WriteString(", move")
	}
	if plan.Final {
		b.WriteString(", final")
	}
	b.WriteString(")\n")
	if len(plan.Grandparents) > 0 {
		if plan.Align {
			b.WriteString("cut as ")
		} else {
			fmt.Fprintf(&b, "over L%d", plan.Output+1)
		}
		for _, g := range plan.Grandparents {
			b.WriteString(rangeOf(g).String())
		}
		b.WriteString("\n")
	}
	return b.String()
}
