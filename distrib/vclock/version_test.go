package vclock

import (
	"fmt"
	"math"
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

func (c *copyOf[T]) put(past Seen, op Op, value T) error {
	dot, err := Next(c.set, c.actor, c.minted, past)
	if err == nil {
		c.minted = dot.Counter
		c.set = Merge(c.set, Set[T]{{Dot: dot, Op: op, Past: past, Value: value}})
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
				require.NoError(t, copies[f[1]].put(context, op, f[2]))
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
	n    int
	past Seen
	seen map[int]bool
}

func (w write) op() Op { return Op{0: 1, 14: byte(w.n >> 8), 15: byte(w.n)} }

// world is replicas that get writes of one key and exchange what they hold, wholly or version by version.
type world struct {
	writes []write
	copies []copyOf[int] // of numbers of writes
	again  bool          // writes are tried more than once
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
			w.tryAgain(at, rapid.IntRange(0, n-1).Draw(t, "write"))
		}
	case 0, 1, 2: // a client reads anywhere and writes here
		from := rapid.IntRange(0, len(w.copies)-1).Draw(t, "from")
		w.put(at, w.copies[from].set)
	case 3, 4: // a client that has read nothing writes here
		w.put(at, nil)
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
	if err := w.copies[at].put(wr.past, wr.op(), wr.n); err != nil {
		panic(err)
	}
}

func (w *world) put(at int, read Set[int]) {
	n := len(w.writes)
	seen := map[int]bool{}
	for _, v := range read {
		seen[v.Value] = true
		for m := range w.writes[v.Value].seen {
			seen[m] = true
		}
	}
	wr := write{n, Context(read), seen}
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

// TestForgottenOps: a write that is tried again after it was overwritten many times comes back as a sibling. It
// is not lost, and nothing else is.
func TestForgottenOps(t *testing.T) {
	w := newWorld(false)
	w.put(0, nil)
	for range KeptOps {
		w.put(0, w.copies[0].set)
	}
	w.tryAgain(0, 0)
	require.Len(t, w.copies[0].set, 1, "it is remembered")
	w.put(0, w.copies[0].set)
	w.tryAgain(0, 0)
	require.Len(t, w.copies[0].set, 2)
}

// TestOldBirthLosesWrites: the smallest case in which a node that counts on after it lost its copy makes a
// write disappear; with a new birth both writes stand.
func TestOldBirthLosesWrites(t *testing.T) {
	for _, oldBirths := range []bool{true, false} {
		w := newWorld(oldBirths)
		w.put(0, nil)
		w.merge(1, w.copies[0].set) // node 1 has write 0
		w.lose(0)
		w.put(0, nil) // write 1, from a client that has read nothing
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
