package rangedel

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// universe is every user key the model tests ask about: each string of up to two letters.
var universe = func() (keys [][]byte) {
	letters := []byte{0, 'a', 'b', 0xff}
	keys = append(keys, []byte{})
	for _, x := range letters {
		keys = append(keys, []byte{x})
		for _, y := range letters {
			keys = append(keys, []byte{x, y})
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	return keys
}()

// flat is the model: for each key of the universe, the set of sequence numbers over it.
type flat []map[uint64]bool

func newFlat(ts []Tombstone) flat {
	f := make(flat, len(universe))
	for i, k := range universe {
		f[i] = map[uint64]bool{}
		for _, t := range ts {
			if bytes.Compare(t.Start, k) <= 0 && bytes.Compare(k, t.End) < 0 {
				f[i][t.Seq] = true
			}
		}
	}
	return f
}

// keep empties the model at the keys outside in.
func (f flat) keep(in func(key []byte) bool) flat {
	g := slices.Clone(f)
	for i, k := range universe {
		if !in(k) {
			g[i] = nil
		}
	}
	return g
}

type failer interface {
	require.TestingT
	Helper()
}

func requireCanonical(t failer, l List) {
	t.Helper()
	for i, s := range l {
		require.Negative(t, bytes.Compare(s.Start, s.End), "%v", l)
		require.NotEmpty(t, s.Seqs)
		for j := 1; j < len(s.Seqs); j++ {
			require.Greater(t, s.Seqs[j-1], s.Seqs[j], "%v", l)
		}
		if i > 0 {
			c := bytes.Compare(l[i-1].End, s.Start)
			require.LessOrEqual(t, c, 0, "%v", l)
			require.False(t, c == 0 && slices.Equal(l[i-1].Seqs, s.Seqs), "%v", l)
		}
	}
}

func requireFlat(t failer, f flat, l List) {
	t.Helper()
	requireCanonical(t, l)
	for i, k := range universe {
		for at := uint64(0); at <= 10; at++ {
			want, ok := uint64(0), false
			for s := range f[i] {
				if s <= at && (!ok || s > want) {
					want, ok = s, true
				}
			}
			got, gotOK := l.Cover(k, at)
			require.Equal(t, ok, gotOK, "%q at %d in %v", k, at, l)
			require.Equal(t, want, got, "%q at %d in %v", k, at, l)
		}
		n := l.Find(k)
		require.True(t, n == len(l) || bytes.Compare(l[n].End, k) > 0)
		require.True(t, n == 0 || bytes.Compare(l[n-1].End, k) <= 0)
	}
}

func drawTombstones(t *rapid.T) []Tombstone {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Tombstone {
		return Tombstone{
			Start: rapid.SampledFrom(universe).Draw(t, "start"),
			End:   rapid.SampledFrom(universe).Draw(t, "end"),
			Seq:   rapid.Uint64Range(0, 9).Draw(t, "seq"),
		}
	}), 0, 12).Draw(t, "tombstones")
}

func TestFragmentModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := drawTombstones(t)
		before := slices.Clone(ts)
		l := Fragment(ts)
		require.Equal(t, before, ts, "the argument is left alone")
		requireFlat(t, newFlat(ts), l)
	})
}

func TestMergeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []Tombstone
		var lists []List
		var texts []string
		for range rapid.IntRange(0, 5).Draw(t, "lists") {
			ts := drawTombstones(t)
			all = append(all, ts...)
			lists = append(lists, Fragment(ts))
			texts = append(texts, lists[len(lists)-1].String())
		}
		merged := Merge(lists...)
		requireFlat(t, newFlat(all), merged)
		require.Equal(t, Fragment(all).String(), merged.String(), "canonical: one form for one set")
		for i := range lists {
			require.Equal(t, texts[i], lists[i].String(), "the arguments are left alone")
		}
	})
}

func TestTruncateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := drawTombstones(t)
		l := Fragment(ts)
		text := l.String()
		lo, hi := rapid.SampledFrom(universe).Draw(t, "lo"), rapid.SampledFrom(universe).Draw(t, "hi")
		if rapid.Bool().Draw(t, "unboundedBelow") {
			lo = nil
		}
		if rapid.Bool().Draw(t, "unboundedAbove") {
			hi = nil
		}
		requireFlat(t, newFlat(ts).keep(func(k []byte) bool {
			return bytes.Compare(k, lo) >= 0 && (hi == nil || bytes.Compare(k, hi) < 0)
		}), l.Truncate(lo, hi))
		require.Equal(t, text, l.String(), "the list is left alone")
	})
}

func TestTruncateToBoundsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ts := drawTombstones(t)
		smallest := ikey.Make(rapid.SampledFrom(universe).Draw(t, "smallest"), 3, ikey.KindSet)
		largest := ikey.Make(rapid.SampledFrom(universe).Draw(t, "largest"), 3, ikey.KindSet)
		exclusive := rapid.Bool().Draw(t, "exclusive")
		if exclusive {
			largest.Trailer = ikey.RangeDelSentinel
		}
		requireFlat(t, newFlat(ts).keep(func(k []byte) bool {
			c := bytes.Compare(k, largest.User)
			return bytes.Compare(k, smallest.User) >= 0 && (c < 0 || c == 0 && !exclusive)
		}), Fragment(ts).TruncateToBounds(smallest, largest))
	})
}

// FuzzFragment reads tombstones and two cuts from bytes and checks all operations against the
// flat model.
func FuzzFragment(f *testing.F) {
	f.Add([]byte{0, 5, 1, 3, 9, 2, 3, 7, 2, 1, 1, 0})
	f.Add([]byte{20, 1, 1, 0, 20, 5, 4, 9, 5, 9, 14, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 96 {
			b = b[:96]
		}
		key := func(c byte) []byte { return universe[int(c)%len(universe)] }
		var ts []Tombstone
		for ; len(b) >= 5; b = b[3:] {
			ts = append(ts, Tombstone{Start: key(b[0]), End: key(b[1]), Seq: uint64(b[2] % 10)})
		}
		lo, hi := []byte(nil), []byte(nil)
		if len(b) >= 2 {
			lo, hi = key(b[0]), key(b[1])
		}
		l := Fragment(ts)
		requireFlat(t, newFlat(ts), l)
		half := len(ts) / 2
		require.Equal(t, l.String(), Merge(Fragment(ts[half:]), Fragment(ts[:half])).String())
		requireFlat(t, newFlat(ts).keep(func(k []byte) bool {
			return bytes.Compare(k, lo) >= 0 && (hi == nil || bytes.Compare(k, hi) < 0)
		}), l.Truncate(lo, hi))
	})
}

// TestSharedSequenceNumbers checks that the bulk patterns stay linear in memory: a queue
// trimmed again and again has spans with n, n-1, .. sequence numbers.
func TestSharedSequenceNumbers(t *testing.T) {
	const n = 20000
	var sameStart, sameEnd []Tombstone
	for i := range n {
		k := fmt.Appendf(nil, "q%06d", i+1)
		sameStart = append(sameStart, Tombstone{Start: []byte("q"), End: k, Seq: uint64(i)})
		sameEnd = append(sameEnd, Tombstone{Start: k, End: []byte("r"), Seq: uint64(i)})
	}
	for name, ts := range map[string][]Tombstone{"same start": sameStart, "same end": sameEnd} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l := Fragment(ts)
			runtime.ReadMemStats(&after)
			require.Len(t, l, n)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(n*1000))
		})
	}
}

// TestScript shows the operations on drawn scenes; see testdata/rangedel.
func TestScript(t *testing.T) {
	lists := map[string]List{}
	datadriven.RunTest(t, "testdata/rangedel", func(t *testing.T, d *datadriven.TestData) string {
		var name, lo, hi, largest string
		d.MaybeScanArgs(t, "name", &name)
		d.MaybeScanArgs(t, "lo", &lo)
		d.MaybeScanArgs(t, "hi", &hi)
		switch d.Cmd {
		case "fragment":
			lists[name] = Fragment(parse(t, d.Input))
			return lists[name].String() + "\n"
		case "merge":
			var in []List
			for _, n := range strings.Fields(d.Input) {
				in = append(in, lists[n])
			}
			return Merge(in...).String() + "\n"
		case "truncate":
			return lists[name].Truncate([]byte(lo), []byte(hi)).String() + "\n"
		case "bounds":
			d.ScanArgs(t, "largest", &largest)
			k := ikey.Make([]byte(largest), 1, ikey.KindSet)
			if d.HasArg("exclusive") {
				k.Trailer = ikey.RangeDelSentinel
			}
			return fmt.Sprintf("%q\n", lists[name].TruncateToBounds(ikey.Make([]byte(lo), 1, ikey.KindSet), k).String())
		case "cover":
			var b strings.Builder
			for line := range strings.Lines(d.Input) {
				user, at, _ := strings.Cut(strings.TrimSpace(line), "@")
				n, err := strconv.ParseUint(at, 10, 64)
				require.NoError(t, err)
				if seq, ok := lists[name].Cover([]byte(user), n); ok {
					fmt.Fprintf(&b, "%s@%d: #%d\n", user, n, seq)
				} else {
					fmt.Fprintf(&b, "%s@%d: not covered\n", user, n)
				}
			}
			return b.String()
		}
		return "unknown command"
	})
}

// parse reads lines such as "a-f#7".
func parse(t *testing.T, text string) (ts []Tombstone) {
	for _, f := range strings.Fields(text) {
		span, seq, _ := strings.Cut(f, "#")
		start, end, _ := strings.Cut(span, "-")
		n, err := strconv.ParseUint(seq, 10, 64)
		require.NoError(t, err)
		ts = append(ts, Tombstone{Start: []byte(start), End: []byte(end), Seq: n})
	}
	return ts
}
