package vclock

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// copyOf is a node's copy of a key.
type copyOf[T any] struct {
	set    Set[T]
	actor  Actor
	minted uint64
}

func (c *copyOf[T]) put(past Seen, op Op, retried bool, value T) error {
	dot, err := Next(c.set, c.actor, c.minted, past)
	if err == nil {
		c.minted = dot.Counter
		c.set = Merge(c.set, Set[T]{{Dot: dot, Op: op, Past: past, Retried: retried, Value: value}})
	}
	return err
}

// lose forgets everything and begins a new birth.
func (c *copyOf[T]) lose() { *c = copyOf[T]{actor: Actor{c.actor.Node, c.actor.Birth + 1}} }

// TestScripts plays writes and exchanges among replicas n1, n2, .. and clients; testdata/siblings is the
// explanation of the package.
func TestScripts(t *testing.T) {
	datadriven.RunTest(t, "testdata/siblings", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		copies, read := map[string]*copyOf[string]{}, map[string]Seen{}
		for n := range uint64(4) {
			copies[fmt.Sprintf("n%d", n)] = &copyOf[string]{actor: Actor{Node: n}}
		}
		show := func(who string) {
			fmt.Fprintf(&out, "%s:", who)
			for _, v := range copies[who].set {
				fmt.Fprintf(&out, " %s@%s past %s", v.Value, v.Dot, v.Past.Clock)
			}
			out.WriteByte('\n')
		}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			switch f[0] {
			case "get": // get CLIENT NODE
				read[f[1]] = Context(copies[f[2]].set)
				fmt.Fprintf(&out, "%s has seen %s\n", f[1], read[f[1]].Clock)
			case "put", "try": // put NODE VALUE [CLIENT]; try has the value name the operation
				var op Op
				if f[0] == "try" {
					copy(op[:], f[2])
				}
				var context Seen
				if len(f) > 3 {
					context = read[f[3]]
				}
				require.NoError(t, copies[f[1]].put(context, op, false, f[2]))
				show(f[1])
			case "send": // send FROM TO
				copies[f[2]].set = Merge(copies[f[2]].set, copies[f[1]].set)
				show(f[2])
			case "deliver": // deliver FROM TO VALUE: that version alone
				for i, v := range copies[f[1]].set {
					if v.Value == f[3] {
						copies[f[2]].set = Merge(copies[f[2]].set, copies[f[1]].set[i:i+1])
					}
				}
				show(f[2])
			case "lose": // lose NODE, which begins anew
				copies[f[1]].lose()
			case "forget": // forget NODE, which goes on as if nothing had happened
				*copies[f[1]] = copyOf[string]{actor: copies[f[1]].actor}
			case "compare": // compare NODE NODE
				fmt.Fprintln(&out, Context(copies[f[1]].set).Compare(Context(copies[f[2]].set).Clock))
			default:
				d.Fatalf(t, "unknown command %q", f[0])
			}
		}
		return out.String()
	})
}

// write is what the model knows of a version: which writes its writer had seen, by their numbers.
type write struct {
	n       int
	past    Seen
	seen    map[int]bool
	retried bool // it may be tried more than once, and its tries say so
}

func (w write) op() Op { return Op{0: 1, 14: byte(w.n >> 8), 15: byte(w.n)} }

// world is replicas that get writes of one key and exchange what they hold, wholly or version by version.
type world struct {
	writes []write
	copies []copyOf[int] // of numbers of writes
	again  bool          // writes are tried more than once
	marked int           // how many writes say that they may be
	// oldBirths is the bug: a node that lost its copy goes on in its old birth.
	oldBirths bool
}

func (w *world) step(t *rapid.T) {
	at := rapid.IntRange(0, len(w.copies)-1).Draw(t, "at")
	last := 9
	if w.again {
		last = 12
	}
	switch rapid.IntRange(0, last).Draw(t, "what") {
	case 10, 11, 12: // a write is tried again here
		if n := len(w.writes); n > 0 {
			if n = rapid.IntRange(0, n-1).Draw(t, "write"); w.writes[n].retried || w.marked == 0 {
				w.tryAgain(at, n)
			}
		}
	case 0, 1, 2: // a client reads anywhere and writes here
		from := rapid.IntRange(0, len(w.copies)-1).Draw(t, "from")
		w.put(at, w.copies[from].set, w.mark(t))
	case 3, 4: // a client that has read nothing writes here
		w.put(at, nil, w.mark(t))
	case 5, 6: // all that another one has arrives
		w.merge(at, w.copies[rapid.IntRange(0, len(w.copies)-1).Draw(t, "from")].set)
	case 7, 8: // one version arrives, perhaps late
		if from := w.copies[rapid.IntRange(0, len(w.copies)-1).Draw(t, "from")].set; len(from) > 0 {
			i := rapid.IntRange(0, len(from)-1).Draw(t, "version")
			w.merge(at, from[i:i+1])
		}
	case 9: // a copy is lost after it had been handed to the next
		next := (at + 1) % len(w.copies)
		w.merge(next, w.copies[at].set)
		w.lose(at)
	}
}

// mark draws whether a write says that it may be tried again.
func (w *world) mark(t *rapid.T) bool {
	if w.marked == 0 || w.marked > KeptRetried || !rapid.Bool().Draw(t, "mark") {
		return false
	}
	w.marked++
	return true
}

func (w *world) merge(at int, set Set[int]) { w.copies[at].set = Merge(w.copies[at].set, set) }

func (w *world) lose(at int) {
	if w.oldBirths {
		w.copies[at] = copyOf[int]{actor: w.copies[at].actor}
	} else {
		w.copies[at].lose()
	}
}

// tryAgain tries write n at another replica, with what its writer had seen the first time.
func (w *world) tryAgain(at, n int) {
	if wr := w.writes[n]; Tried(w.copies[at].set, wr.op()) < 0 {
		w.store(at, wr)
	}
}

func (w *world) store(at int, wr write) {
	if err := w.copies[at].put(wr.past, wr.op(), wr.retried, wr.n); err != nil {
		panic(err)
	}
}

func (w *world) put(at int, read Set[int], retried bool) {
	n := len(w.writes)
	seen := map[int]bool{}
	for _, v := range read {
		seen[v.Value] = true
		for m := range w.writes[v.Value].seen {
			seen[m] = true
		}
	}
	wr := write{n, Context(read), seen, retried}
	w.store(at, wr)
	w.writes = append(w.writes, wr)
}

// check lets all replicas exchange everything and compares with what the histories say: there is exactly
// what no write has seen.
func (w *world) check() error {
	for range 2 {
		for i := range w.copies {
			for j := range w.copies {
				w.merge(i, w.copies[j].set)
			}
		}
	}
	overwritten := map[int]bool{}
	for _, wr := range w.writes {
		for m := range wr.seen {
			overwritten[m] = true
		}
	}
	for i := range w.copies {
		held := map[int]bool{}
		for _, v := range w.copies[i].set {
			held[v.Value] = true
		}
		for n := range w.writes {
			if held[n] == overwritten[n] {
				return fmt.Errorf("replica %d: write %d held: %v, overwritten: %v", i, n, held[n], overwritten[n])
			}
		}
	}
	return nil
}

func newWorld(oldBirths bool) *world {
	w := &world{copies: make([]copyOf[int], 3), oldBirths: oldBirths}
	for i := range w.copies {
		w.copies[i].actor.Node = uint64(i)
	}
	return w
}

// TestReplicasConverge: after any writes, exchanges and losses, replicas that exchange everything hold
// exactly the writes that no other write has seen.
func TestReplicasConverge(t *testing.T) {
	for _, again := range []bool{false, true} {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(false)
			w.again = again
			// As many writes as their operations are remembered for.
			for steps := rapid.IntRange(1, 40).Draw(t, "steps"); steps > 0 && (!again || len(w.writes) < KeptOps); steps-- {
				w.step(t)
			}
			require.NoError(t, w.check())
		})
	}
}

// TestReplicasConvergeAfterRetries: so do they where writes that say so are tried again, however many others there are
// in between.
func TestReplicasConvergeAfterRetries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(false)
		w.again, w.marked = true, 1
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			w.step(t)
		}
		require.NoError(t, w.check())
	})
}

// TestLateCopy: a write has two dots, at nodes 0 and 1. One of them is overwritten 20 times before the other comes, be it
// to be merged or to be stored. Somebody knew in time that there may be two.
func TestLateCopy(t *testing.T) {
	for name, know := range map[string]func(w *world, late Set[int]){
		"the write says so":                func(w *world, _ Set[int]) { w.copies[0].set[0].Retried = true },
		"both dots are merged":             func(w *world, late Set[int]) { w.merge(0, late) },
		"who says so comes when it is old": func(w *world, late Set[int]) { w.puts(KeptOps - 1); w.merge(0, late) },
		"one that has seen it says so": func(w *world, late Set[int]) {
			w.puts(1)
			told := Set[int]{w.copies[0].set[0].Retry(late[0].Op)}
			require.False(t, Same(told, w.copies[0].set))
			require.Equal(t, Dots(told), Dots(w.copies[0].set))
			w.merge(0, told)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(false)
			w.put(0, nil, false)
			w.tryAgain(1, 0)
			late := w.copies[1].set
			know(w, late)
			w.puts(20)
			require.False(t, Context(w.copies[0].set).Contains(late[0].Dot), "the operation is known, not the dot")
			w.copies[2].set = w.copies[0].set
			w.merge(0, late)
			require.NoError(t, w.check())
			require.Len(t, w.copies[2].set, 1)
			w.tryAgain(2, 0)
			require.NoError(t, w.check())
		})
	}
}

// puts overwrites so many times what node 0 has.
func (w *world) puts(n int) {
	for range n {
		w.put(0, w.copies[0].set, false)
	}
}

// TestKeptOps: of what was overwritten the last operations are remembered, and beside them the last that were retried;
// siblings share the room.
func TestKeptOps(t *testing.T) {
	w := newWorld(false)
	for n := range 3 * (KeptRetried + 5) {
		w.put(0, w.copies[0].set, n%3 == 0)
	}
	past := w.copies[0].set[0].Past
	require.True(t, past.MayForget())
	has := func(n int) bool { return past.HasOp(w.writes[n].op()) }
	var usual, retried []int
	for n := range w.writes {
		switch {
		case has(n) && n%3 == 0:
			retried = append(retried, n)
		case has(n):
			usual = append(usual, n)
		}
	}
	last := len(w.writes) - 1 // the version itself
	require.Equal(t, []int{last - 12, last - 10, last - 9, last - 7, last - 6, last - 4, last - 3, last - 1}, usual)
	require.Len(t, retried, KeptRetried)
	require.Equal(t, last-2, retried[KeptRetried-1])
	require.Equal(t, last-2-3*(KeptRetried-1), retried[0])

	w = newWorld(false)
	w.puts(KeptOps)
	w.copies[1].set = nil
	w.put(1, nil, false)
	for range KeptOps {
		w.put(1, w.copies[1].set, false)
	}
	both := Context(Merge(w.copies[0].set, w.copies[1].set))
	require.True(t, both.HasOp(w.writes[KeptOps-2].op()), "the one before the first sibling")
	require.True(t, both.HasOp(w.writes[len(w.writes)-2].op()), "the one before the other")
}

func TestSeenEncoding(t *testing.T) {
	clock := Clock{}.With(Dot{Actor{1, 0}, 1})
	usual := Seen{clock, []knownOp{{Op: Op{1}}, {Op: Op{2}}}}
	plain := usual.Append(nil)
	require.EqualValues(t, 2, plain[5], "as it was before operations were retried")
	require.Len(t, plain, 5+1+2*16)
	retried := usual.retry(Op{2}).Append(nil)
	require.Len(t, retried, 5+2+2*16+1)
	require.EqualValues(t, 2, retried[len(retried)-1])
	for _, s := range []Seen{usual, usual.retry(Op{2})} {
		got, rest, err := DecodeSeen(append(s.Append(nil), 7))
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.Equal(t, []byte{7}, rest)
	}
	change := func(b []byte, at int, to byte) []byte {
		b = append([]byte(nil), b...)
		b[at] = to
		return b
	}
	most := Seen{Clock: clock}
	for i := range MaxOps + 1 {
		most.ops = append(most.ops, knownOp{Op: Op{1, byte(i)}, retried: i == 0})
	}
	_, _, err := DecodeSeen(Seen{clock, most.ops[:MaxOps]}.Append(nil))
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"an operation twice":          change(plain, 6+16, 1),
		"no operation":                change(plain, 6, 0),
		"cut":                         plain[:len(plain)-1],
		"bits that are cut":           retried[:len(retried)-1],
		"none is retried":             change(retried, len(retried)-1, 0),
		"a bit too many":              change(retried, len(retried)-1, 6),
		"too many":                    most.Append(nil),
		"more than there can be room": binary.AppendUvarint(clock.Append(nil), math.MaxUint64),
	} {
		_, _, err := DecodeSeen(b)
		require.Error(t, err, name)
	}
}

func FuzzDecodeSeen(f *testing.F) {
	s := Seen{Clock{}.With(Dot{Actor{1, 0}, 1}), []knownOp{{Op: Op{1}}, {Op: Op{2}}}}
	f.Add(s.Append(nil))
	f.Add(s.retry(Op{1}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, rest, err := DecodeSeen(b); err == nil {
			require.Equal(t, b[:len(b)-len(rest)], s.Append([]byte{}), "one Seen has one encoding")
		}
	})
}

// TestForgottenOps: a write that is tried again after it was overwritten many times comes back as a sibling. It
// is not lost, and nothing else is.
func TestForgottenOps(t *testing.T) {
	w := newWorld(false)
	w.put(0, nil, false)
	for range KeptOps {
		w.put(0, w.copies[0].set, false)
	}
	w.tryAgain(0, 0)
	require.Len(t, w.copies[0].set, 1, "it is remembered")
	w.put(0, w.copies[0].set, false)
	w.tryAgain(0, 0)
	require.Len(t, w.copies[0].set, 2)
}

// TestOldBirthLosesWrites: the smallest case in which a node that counts on after it lost its copy makes a
// write disappear; with a new birth both writes stand.
func TestOldBirthLosesWrites(t *testing.T) {
	for _, oldBirths := range []bool{true, false} {
		w := newWorld(oldBirths)
		w.put(0, nil, false)
		w.merge(1, w.copies[0].set) // node 1 has write 0
		w.lose(0)
		w.put(0, nil, false) // write 1, from a client that has read nothing
		err := w.check()
		if oldBirths {
			require.ErrorContains(t, err, "held: false, overwritten: false")
		} else {
			require.NoError(t, err)
		}
	}
}

func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(false)
		w.again = true
		for range rapid.IntRange(1, 7).Draw(t, "steps") {
			w.step(t)
		}
		a, b, c := w.copies[0].set, w.copies[1].set, w.copies[2].set
		require.Equal(t, fmt.Sprint(Merge(a, b)), fmt.Sprint(Merge(b, a)))
		require.Equal(t, fmt.Sprint(Merge(Merge(a, b), c)), fmt.Sprint(Merge(a, Merge(b, c))))
		require.Equal(t, fmt.Sprint(Merge(a, a)), fmt.Sprint(a))
		for _, v := range append(append(slices.Clone(a), b...), c...) {
			require.Equal(t, Context(a).Contains(v.Dot), Sees(a, v.Dot))
		}
		for i, v := range a {
			require.False(t, v.Past.Contains(v.Dot) || v.Past.HasOp(v.Op))
			for _, u := range a[i+1:] {
				require.Equal(t, Concurrent, v.Compare(u))
			}
		}
	})
}

func TestNextRefusesForgedContext(t *testing.T) {
	a := Actor{Node: 1}
	_, err := Next(Set[string]{{Dot: Dot{a, 1}}}, a, 1, SeenOf(Clock{}.With(Dot{a, math.MaxUint64})))
	require.ErrorContains(t, err, "no more can follow")
}
