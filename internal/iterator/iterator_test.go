package iterator

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// drawKey draws from a small universe, so that seeks hit, miss and tie.
func drawKey(t *rapid.T) ikey.Key {
	user := rapid.SliceOfN(rapid.SampledFrom([]byte("\x00ab\xff")), 0, 10).Draw(t, "user")
	if rapid.Bool().Draw(t, "long") {
		user = append([]byte("abababab"), user...)
	}
	return ikey.Key{User: user, Trailer: ikey.Trailer(rapid.Uint64Range(0, 5).Draw(t, "trailer"))}
}

// drawEntries draws sorted entries of distinct keys whose values name them and their origin.
func drawEntries(t *rapid.T, origin int) []Entry {
	keys := rapid.SliceOfN(rapid.Custom(drawKey), 0, 12).Draw(t, "keys")
	slices.SortFunc(keys, ikey.Compare)
	keys = slices.CompactFunc(keys, func(a, b ikey.Key) bool { return ikey.Compare(a, b) == 0 })
	entries := make([]Entry, len(keys))
	for i, k := range keys {
		entries[i] = Entry{Key: k, Value: fmt.Appendf(nil, "%d:%s", origin, k)}
	}
	return entries
}

// op is one call on an Iterator.
type op struct {
	name string
	key  ikey.Key
}

func (o op) do(it Iterator) bool {
	switch o.name {
	case "First":
		return it.First()
	case "Last":
		return it.Last()
	case "SeekGE":
		return it.SeekGE(o.key)
	case "SeekLT":
		return it.SeekLT(o.key)
	case "Next":
		return it.Next()
	}
	return it.Prev()
}

func drawOp(t *rapid.T) op {
	return op{
		name: rapid.SampledFrom([]string{"First", "Last", "SeekGE", "SeekLT", "Next", "Next", "Next", "Prev", "Prev", "Prev"}).Draw(t, "op"),
		key:  drawKey(t),
	}
}

// requireSame drives it and a Slice over want with the same calls.
func requireSame(t *rapid.T, it Iterator, want []Entry) {
	model := NewSlice(want)
	n := rapid.IntRange(1, 60).Draw(t, "steps")
	for range n {
		o := drawOp(t)
		expect := o.do(model)
		require.Equal(t, expect, o.do(it), "%v", o)
		require.Equal(t, expect, it.Valid())
		require.NoError(t, it.Err())
		if expect {
			require.Equal(t, model.Key().String(), it.Key().String(), "%v", o)
			require.Equal(t, string(model.Value()), string(it.Value()), "%v", o)
		}
	}
}

func TestMergingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var inputs []Iterator
		var all []Entry
		for i := range rapid.IntRange(0, 6).Draw(t, "inputs") {
			entries := drawEntries(t, i)
			inputs = append(inputs, NewSlice(entries))
			all = append(all, entries...)
		}
		slices.SortStableFunc(all, func(a, b Entry) int { return ikey.Compare(a.Key, b.Key) })
		it := NewMerging(inputs...)
		requireSame(t, it, all)
		require.NoError(t, it.Close())
	})
}

// part builds the parts of a concatenation from a sorted list, some of them empty and with
// bounds wider than their entries.
func drawParts(t *rapid.T) (entries []Entry, parts [][]Entry, smallest, largest []ikey.Key) {
	entries = drawEntries(t, 0)
	rest := entries
	for len(rest) > 0 {
		n := rapid.IntRange(1, len(rest)).Draw(t, "part")
		part := rest[:n]
		rest = rest[n:]
		lo, hi := part[0].Key, part[n-1].Key
		if rapid.Bool().Draw(t, "dropEnds") {
			drop := map[string]bool{lo.String(): true, hi.String(): true}
			part = slices.DeleteFunc(slices.Clone(part), func(e Entry) bool { return drop[e.Key.String()] })
			entries = slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return drop[e.Key.String()] })
		}
		parts = append(parts, part)
		smallest, largest = append(smallest, lo), append(largest, hi)
	}
	return entries, parts, smallest, largest
}

// counted notes that it is open.
type counted struct {
	Iterator
	open *int
}

func (c counted) Close() error {
	*c.open--
	return c.Iterator.Close()
}

func TestConcatModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, parts, smallest, largest := drawParts(t)
		open := 0
		it := NewConcat(len(parts),
			func(i int) (ikey.Key, ikey.Key) { return smallest[i], largest[i] },
			func(i int) (Iterator, error) {
				open++
				require.Equal(t, 1, open, "one part open at a time")
				return counted{NewSlice(parts[i]), &open}, nil
			})
		requireSame(t, it, entries)
		require.NoError(t, it.Close())
		require.Zero(t, open)
	})
}

// growing is a sorted list that gains entries while it is walked, as a memtable does. Its Key
// is good until the next step only.
type growing struct {
	index   int
	entries []Entry
	at      ikey.Key
	state   direction // forward or backward: exhausted that way
	valid   bool
}

func (g *growing) land(i int, dir direction) bool {
	g.state, g.valid = dir, i >= 0 && i < len(g.entries)
	if g.valid {
		k := g.entries[i].Key
		g.at = ikey.Key{User: append(g.at.User[:0], k.User...), Trailer: k.Trailer}
	}
	return g.valid
}

func (g *growing) search(k ikey.Key) int {
	return sort.Search(len(g.entries), func(i int) bool { return ikey.Compare(g.entries[i].Key, k) >= 0 })
}

func (g *growing) First() bool            { return g.land(0, forward) }
func (g *growing) Last() bool             { return g.land(len(g.entries)-1, backward) }
func (g *growing) SeekGE(k ikey.Key) bool { return g.land(g.search(k), forward) }
func (g *growing) SeekLT(k ikey.Key) bool { return g.land(g.search(k)-1, backward) }
func (g *growing) Valid() bool            { return g.valid }
func (g *growing) Key() ikey.Key          { return g.at }
func (g *growing) Value() []byte          { return []byte{byte(g.index)} }
func (g *growing) Err() error             { return nil }
func (g *growing) Close() error           { return nil }

func (g *growing) insert(k ikey.Key) {
	i := g.search(k)
	if i < len(g.entries) && ikey.Compare(g.entries[i].Key, k) == 0 {
		return
	}
	g.entries = slices.Insert(g.entries, i, Entry{Key: k})
}

func (g *growing) Next() bool {
	if !g.valid {
		return g.state == backward && g.First()
	}
	return g.land(g.search(successor(g.at)), forward)
}

func (g *growing) Prev() bool {
	if !g.valid {
		return g.state == forward && g.Last()
	}
	return g.land(g.search(g.at)-1, backward)
}

// TestMergingGrowingInputs walks inputs that grow between the steps: a step always goes the way
// it says, in the order of key and input, and never over an entry that was there from the start.
func TestMergingGrowingInputs(t *testing.T) {
	type place struct {
		key   ikey.Key
		index int
	}
	compare := func(a, b place) int {
		if c := ikey.Compare(a.key, b.key); c != 0 {
			return c
		}
		return a.index - b.index
	}
	rapid.Check(t, func(t *rapid.T) {
		var inputs []Iterator
		var lists []*growing
		var old []place
		for i := range rapid.IntRange(2, 4).Draw(t, "inputs") {
			g := &growing{index: i, entries: drawEntries(t, i)}
			for _, e := range g.entries {
				old = append(old, place{e.Key, i})
			}
			lists, inputs = append(lists, g), append(inputs, g)
		}
		slices.SortFunc(old, compare)
		it := NewMerging(inputs...)
		here := func() place { return place{it.Key().Clone(), int(it.Value()[0])} }
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			o := drawOp(t)
			if !it.Valid() {
				o.do(it)
				continue
			}
			had := here()
			ok := o.do(it)
			i, found := slices.BinarySearchFunc(old, had, compare)
			switch o.name {
			case "Next":
				if found {
					i++
				}
				if i < len(old) {
					require.True(t, ok)
					require.LessOrEqual(t, compare(here(), old[i]), 0)
				}
				if ok {
					require.Positive(t, compare(here(), had))
				}
			case "Prev":
				if i > 0 {
					require.True(t, ok)
					require.GreaterOrEqual(t, compare(here(), old[i-1]), 0)
				}
				if ok {
					require.Negative(t, compare(here(), had))
				}
			}
			for range rapid.IntRange(0, 3).Draw(t, "new") {
				k := drawKey(t)
				if it.Valid() && rapid.Bool().Draw(t, "near") {
					k = it.Key().Clone()
					k.Trailer += ikey.Trailer(rapid.IntRange(-1, 1).Draw(t, "by"))
				}
				lists[rapid.IntRange(0, len(lists)-1).Draw(t, "list")].insert(k)
			}
		}
	})
}

var errInjected = errors.New("injected")

// fuse fails the call that uses it up.
type fuse struct{ left int }

func (f *fuse) burn() bool {
	f.left--
	return f.left == 0
}

// faulty fails a positioning call when its fuse burns out, and is then stuck like any iterator
// with an error.
type faulty struct {
	*Slice
	fuse *fuse
	err  error
	open *int
}

func (f *faulty) call(absolute bool, move func() bool) bool {
	if absolute {
		f.err = nil
	}
	if f.err != nil {
		return false
	}
	if f.fuse.burn() {
		f.err = errInjected
		return false
	}
	return move()
}

func (f *faulty) First() bool { return f.call(true, f.Slice.First) }
func (f *faulty) Last() bool  { return f.call(true, f.Slice.Last) }
func (f *faulty) Next() bool  { return f.call(false, f.Slice.Next) }
func (f *faulty) Prev() bool  { return f.call(false, f.Slice.Prev) }
func (f *faulty) SeekGE(k ikey.Key) bool {
	return f.call(true, func() bool { return f.Slice.SeekGE(k) })
}
func (f *faulty) SeekLT(k ikey.Key) bool {
	return f.call(true, func() bool { return f.Slice.SeekLT(k) })
}
func (f *faulty) Err() error { return f.err }
func (f *faulty) Close() error {
	*f.open--
	if f.fuse.burn() {
		return errInjected
	}
	return nil
}

// script turns round, runs off both ends and seeks over every boundary of three parts.
var script = []op{
	{name: "First"}, {name: "Next"}, {name: "Next"}, {name: "Prev"}, {name: "Next"}, {name: "Next"}, {name: "Next"}, {name: "Next"}, {name: "Next"},
	{name: "Next"}, {name: "Prev"}, {name: "Prev"}, {name: "Next"}, {name: "SeekGE", key: ikey.Seek([]byte("c"), 9)}, {name: "Next"}, {name: "Next"},
	{name: "SeekLT", key: ikey.Seek([]byte("e"), 9)}, {name: "Prev"}, {name: "Prev"}, {name: "Next"}, {name: "Last"}, {name: "Prev"}, {name: "Prev"},
	{name: "Prev"}, {name: "Prev"}, {name: "Prev"}, {name: "Prev"}, {name: "Next"}, {name: "SeekGE", key: ikey.Seek([]byte("z"), 9)}, {name: "Prev"},
	{name: "SeekLT", key: ikey.Seek([]byte("a"), 9)}, {name: "Next"}, {name: "First"}, {name: "Last"},
}

// TestErrorAtEveryCall fails each call that a script makes on the inputs, in turn, and checks
// that the error comes out, sticks until the next absolute positioning, and is then forgotten.
func TestErrorAtEveryCall(t *testing.T) {
	entries := make([]Entry, 6)
	for i := range entries {
		entries[i] = Entry{Key: ikey.Make([]byte{'a' + byte(i)}, 5, ikey.KindSet)}
	}
	merging := func(f *fuse, open *int) (Iterator, error) {
		var its []Iterator
		for i := range 3 {
			*open++
			its = append(its, &faulty{Slice: NewSlice([]Entry{entries[i], entries[i+3]}), fuse: f, open: open})
		}
		return NewMerging(its...), nil
	}
	concat := func(f *fuse, open *int) (Iterator, error) {
		return NewConcat(3,
			func(i int) (ikey.Key, ikey.Key) { return entries[2*i].Key, entries[2*i+1].Key },
			func(i int) (Iterator, error) {
				if f.burn() {
					return nil, errInjected
				}
				*open++
				return &faulty{Slice: NewSlice(entries[2*i : 2*i+2]), fuse: f, open: open}, nil
			}), nil
	}
	for name, build := range map[string]func(*fuse, *int) (Iterator, error){"merging": merging, "concat": concat} {
		t.Run(name, func(t *testing.T) {
			failures := 0
			for nth := 1; ; nth++ {
				f, open := &fuse{left: nth}, 0
				it, err := build(f, &open)
				require.NoError(t, err)
				model, lost, reported := NewSlice(entries), false, false
				for _, o := range script {
					absolute := o.name != "Next" && o.name != "Prev"
					want := o.do(model)
					burning := f.left > 0
					got := o.do(it)
					if absolute {
						lost = false
					}
					if burning && f.left <= 0 && it.Err() != nil {
						lost, reported = true, true
					}
					if lost {
						require.False(t, got)
						require.False(t, it.Valid())
						require.ErrorIs(t, it.Err(), errInjected)
						continue
					}
					require.NoError(t, it.Err())
					require.Equal(t, want, got, "call %d: %v", nth, o)
					if want {
						require.Equal(t, model.Key(), it.Key())
					}
				}
				burning := f.left > 0
				if err := it.Close(); err != nil {
					require.ErrorIs(t, err, errInjected)
					reported = true
				}
				require.Zero(t, open, "every input is closed once")
				if burning && f.left > 0 {
					break // the whole script ran without reaching the fuse
				}
				require.True(t, reported, "call %d: the error was swallowed", nth)
				failures++
			}
			require.Greater(t, failures, 50)
		})
	}
}

func BenchmarkMergingNext(b *testing.B) {
	for _, n := range []int{2, 5, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var its []Iterator
			for i := range n {
				var entries []Entry
				for j := range 10000 {
					entries = append(entries, Entry{Key: ikey.Make(fmt.Appendf(nil, "user%012d", (j*7919+i*104729)%1000003), uint64(j), ikey.KindSet)})
				}
				slices.SortFunc(entries, func(a, b Entry) int { return ikey.Compare(a.Key, b.Key) })
				its = append(its, NewSlice(entries))
			}
			it := NewMerging(its...)
			it.First()
			for b.Loop() {
				if !it.Next() {
					it.First()
				}
			}
		})
	}
}
