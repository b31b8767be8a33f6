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

// TestScripts plays writes and exchanges among replicas n1, n2, .. and clients; testdata/siblings is the
// explanation of the package.
func TestScripts(t *testing.T) {
	datadriven.RunTest(t, "testdata/siblings", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		sets, read := map[string]Set[string]{}, map[string]Clock{}
		births := map[string]uint64{}
		show := func(who string) {
			fmt.Fprintf(&out, "%s:", who)
			for _, v := range sets[who] {
				fmt.Fprintf(&out, " %s@%s past %s", v.Value, v.Dot, v.Past)
			}
			out.WriteByte('\n')
		}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			switch f[0] {
			case "get": // get CLIENT NODE
				read[f[1]] = Context(sets[f[2]])
				fmt.Fprintf(&out, "%s has seen %s\n", f[1], read[f[1]])
			case "put": // put NODE VALUE [CLIENT]
				var context Clock
				if len(f) > 3 {
					context = read[f[3]]
				}
				var err error
				sets[f[1]], _, err = Put(sets[f[1]], Actor{uint64(f[1][1] - '0'), births[f[1]]}, context, f[2])
				require.NoError(t, err)
				show(f[1])
			case "send": // send FROM TO
				sets[f[2]] = Merge(sets[f[2]], sets[f[1]])
				show(f[2])
			case "deliver": // deliver FROM TO VALUE: that version alone
				for i, v := range sets[f[1]] {
					if v.Value == f[3] {
						sets[f[2]] = Merge(sets[f[2]], sets[f[1]][i:i+1])
					}
				}
				show(f[2])
			case "lose": // lose NODE, which begins anew
				delete(sets, f[1])
				births[f[1]]++
			case "forget": // forget NODE, which goes on as if nothing had happened
				delete(sets, f[1])
			case "compare": // compare NODE NODE
				fmt.Fprintln(&out, Context(sets[f[1]]).Compare(Context(sets[f[2]])))
			default:
				d.Fatalf(t, "unknown command %q", f[0])
			}
		}
		return out.String()
	})
}

// write is what the model knows of a version: which writes its writer had seen, by their numbers.
type write struct {
	dot  Dot
	seen map[int]bool
}

// world is replicas that get writes of one key and exchange what they hold, wholly or version by version.
type world struct {
	writes []write
	sets   []Set[int] // of numbers of writes
	births []uint64
	// oldBirths is the bug: a node that lost its copy goes on in its old birth.
	oldBirths bool
}

func (w *world) step(t *rapid.T) {
	at := rapid.IntRange(0, len(w.sets)-1).Draw(t, "at")
	switch rapid.IntRange(0, 9).Draw(t, "what") {
	case 0, 1, 2: // a client reads anywhere and writes here
		from := rapid.IntRange(0, len(w.sets)-1).Draw(t, "from")
		w.put(at, w.sets[from])
	case 3, 4: // a client that has read nothing writes here
		w.put(at, nil)
	case 5, 6: // all that another one has arrives
		w.sets[at] = Merge(w.sets[at], w.sets[rapid.IntRange(0, len(w.sets)-1).Draw(t, "from")])
	case 7, 8: // one version arrives, perhaps late
		if from := w.sets[rapid.IntRange(0, len(w.sets)-1).Draw(t, "from")]; len(from) > 0 {
			i := rapid.IntRange(0, len(from)-1).Draw(t, "version")
			w.sets[at] = Merge(w.sets[at], from[i:i+1])
		}
	case 9: // a copy is lost after it had been handed to the next
		next := (at + 1) % len(w.sets)
		w.sets[next] = Merge(w.sets[next], w.sets[at])
		w.sets[at] = nil
		if !w.oldBirths {
			w.births[at]++
		}
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
	set, dot, err := Put(w.sets[at], Actor{uint64(at), w.births[at]}, Context(read), n)
	if err != nil {
		panic(err)
	}
	w.sets[at], w.writes = set, append(w.writes, write{dot, seen})
}

// check lets all replicas exchange everything and compares with what the histories say: there is exactly
// what no write has seen.
func (w *world) check() error {
	for range 2 {
		for i := range w.sets {
			for j := range w.sets {
				w.sets[i] = Merge(w.sets[i], w.sets[j])
			}
		}
	}
	overwritten := map[int]bool{}
	for _, wr := range w.writes {
		for m := range wr.seen {
			overwritten[m] = true
		}
	}
	for i, set := range w.sets {
		held := map[int]bool{}
		for _, v := range set {
			held[v.Value] = true
		}
		for n, wr := range w.writes {
			if held[n] == overwritten[n] {
				return fmt.Errorf("replica %d: write %d (%s) held: %v, overwritten: %v", i, n, wr.dot, held[n], overwritten[n])
			}
		}
	}
	return nil
}

func newWorld(oldBirths bool) *world {
	const replicas = 3
	return &world{sets: make([]Set[int], replicas), births: make([]uint64, replicas), oldBirths: oldBirths}
}

// TestReplicasConverge: after any writes, exchanges and losses, replicas that exchange everything hold
// exactly the writes that no other write has seen.
func TestReplicasConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(false)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step(t)
		}
		require.NoError(t, w.check())
	})
}

// TestOldBirthLosesWrites: the smallest case in which a node that counts on after it lost its copy makes a
// write disappear; with a new birth both writes stand.
func TestOldBirthLosesWrites(t *testing.T) {
	for _, oldBirths := range []bool{true, false} {
		w := newWorld(oldBirths)
		w.put(0, nil)
		w.sets[1] = Merge(w.sets[1], w.sets[0]) // node 1 has write 0
		w.sets[0] = nil
		if !oldBirths {
			w.births[0]++
		}
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
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			w.step(t)
		}
		a, b, c := w.sets[0], w.sets[1], w.sets[2]
		require.Equal(t, fmt.Sprint(Merge(a, b)), fmt.Sprint(Merge(b, a)))
		require.Equal(t, fmt.Sprint(Merge(Merge(a, b), c)), fmt.Sprint(Merge(a, Merge(b, c))))
		require.Equal(t, fmt.Sprint(Merge(a, a)), fmt.Sprint(a))
		require.Equal(t, len(a), Covered(a, Context(a)))
		for i, v := range a {
			require.False(t, v.Past.Contains(v.Dot))
			for _, u := range a[i+1:] {
				require.Equal(t, Concurrent, v.Compare(u))
			}
		}
	})
}

func TestPutRefusesForgedContext(t *testing.T) {
	a := Actor{Node: 1}
	set := Set[string]{{Dot: Dot{a, 1}, Value: "x"}}
	same, _, err := Put(set, a, Clock{}.With(Dot{a, math.MaxUint64}), "y")
	require.ErrorContains(t, err, "no more can follow")
	require.Equal(t, set, same)
}
