package compaction

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
)

// makers are the policies by name.
var makers = map[string]func(Options) Policy{"leveled": NewLeveled, "tiered": NewTiered, "lazy": NewLazyLeveled}

// TestPickScript draws trees and shows what is compacted. The commands:
//
//	define                 the tree, and nothing held
//	pick [hold]            the policy's plan; hold reserves it
//	idle now= oldest=      PickIdle
//	dead now=              PickDead
//	manual lo= hi= level=
//	ingest                 PlaceIngested for the tables of the input
//	scores, debt, release
//
// Options in MiB: base= target=; and trigger= ratio= runs= space=, and policy=, which is leveled
// where it is not given. They stay until the next define.
func TestPickScript(t *testing.T) {
	for _, path := range []string{"testdata/pick", "testdata/stack", "testdata/ingest"} {
		t.Run(path, func(t *testing.T) { testPickScript(t, path) })
	}
}

func testPickScript(t *testing.T, path string) {
	maker := NewLeveled
	var v *manifest.Version
	var o Options
	var busy *Reservations
	var held []*Plan
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		at := Moment{OldestSnapshot: ikey.MaxSeq}
		var lo, hi []byte
		level, hold := 0, false
		if d.Cmd == "define" {
			o, maker = Options{}, NewLeveled
		}
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "base":
				o.BaseBytes = int64(mustUint(t, arg.Vals[0])) << 20
			case "target":
				o.TargetFileBytes = int64(mustUint(t, arg.Vals[0])) << 20
			case "trigger":
				o.L0Trigger = int(mustUint(t, arg.Vals[0]))
			case "ratio":
				o.Ratio = int(mustUint(t, arg.Vals[0]))
			case "runs":
				o.MaxRuns = int(mustUint(t, arg.Vals[0]))
			case "space":
				f, err := strconv.ParseFloat(arg.Vals[0], 64)
				require.NoError(t, err)
				o.MaxSpace = f
			case "policy":
				maker = makers[arg.Vals[0]]
				require.NotNil(t, maker)
			case "now":
				at.NowMillis = mustUint(t, arg.Vals[0])
			case "oldest":
				at.OldestSnapshot = mustUint(t, arg.Vals[0])
			case "lo":
				lo = []byte(arg.Vals[0])
			case "hi":
				hi = []byte(arg.Vals[0])
			case "level":
				level = int(mustUint(t, arg.Vals[0]))
			case "hold":
				hold = true
			default:
				d.Fatalf(t, "unknown argument %s", arg.Key)
			}
		}
		policy := maker(o)
		show := func(plan *Plan) string {
			if plan == nil || !hold {
				return draw(plan)
			}
			require.True(t, busy.Reserve(plan))
			require.NoError(t, busy.Verify(plan, v))
			held = append(held, plan)
			return draw(plan)
		}
		switch d.Cmd {
		case "define":
			v, busy, held = drawnVersion(t, d.Input), &Reservations{}, nil
			return ""
		case "pick":
			return show(policy.Pick(v, busy))
		case "idle":
			return show(PickIdle(v, busy, at, o))
		case "dead":
			return show(PickDead(v, busy, at.NowMillis))
		case "manual":
			return show(Manual(v, lo, hi, level))
		case "ingest":
			var tables []*manifest.Table
			for i, word := range strings.Fields(d.Input) {
				tables = append(tables, drawnTable(t, 100+uint64(i), word))
			}
			var out strings.Builder
			for _, plan := range PlaceIngested(v, busy.Clone(), tables) {
				out.WriteString(draw(plan))
			}
			return out.String()
		case "debt":
			return fmt.Sprintf("%d MiB\n", policy.Debt(v)>>20)
		case "release":
			for _, p := range held {
				busy.Release(p)
			}
			held = nil
			return ""
		case "scores":
			var out strings.Builder
			for _, s := range policy.Scores(v) {
				target := fmt.Sprintf("of %d MiB", s.Target>>20)
				if s.Target == math.MaxInt64 {
					target = "no limit"
				} else if s.Level == 0 {
					target = ""
				}
				if s.Files > 0 || s.Target > 0 {
					fmt.Fprintf(&out, "%s\n", strings.TrimSpace(fmt.Sprintf("L%d %.2f: %d files %d MiB %s", s.Level, s.Score, s.Files, s.Bytes>>20, target)))
				}
			}
			return out.String()
		}
		d.Fatalf(t, "unknown command %s", d.Cmd)
		return ""
	})
}

// TestCutterScript shows where outputs end. The input names the grandparents (over) and the keys
// of the merge; each key adds its size to the output.
func TestCutterScript(t *testing.T) {
	datadriven.RunTest(t, "testdata/cutter", func(t *testing.T, d *datadriven.TestData) string {
		var target uint64
		d.ScanArgs(t, "target", &target)
		over, keys, _ := strings.Cut(d.Input, "\n")
		var tables []*manifest.Table
		for i, word := range strings.Fields(strings.TrimPrefix(over, "over")) {
			tables = append(tables, drawnTable(t, uint64(i), word))
		}
		c := newCutter(&Plan{Grandparents: tables, Align: d.HasArg("align")}, int64(target)<<20)
		var out strings.Builder
		size := int64(0)
		cutAll := func(user string, end bool) {
			for {
				cut, ok := c.next([]byte(user), end, size)
				if !ok {
					return
				}
				if string(cut) == user && !end {
					cut = nil
				}
				fmt.Fprintf(&out, "|%s ", cut)
				size = 0
			}
		}
		for _, word := range strings.Fields(keys) {
			user, n, _ := strings.Cut(word, "=")
			cutAll(user, false)
			size += int64(mustUint(t, n)) << 20
			fmt.Fprintf(&out, "%s ", user)
		}
		cutAll("", true)
		return strings.TrimSpace(out.String()) + "\n"
	})
}

func TestReservationsVerify(t *testing.T) {
	v := drawnVersion(t, `
L0 a#20..c#19
L5 b#9..d#8 e#7..g#6
L6 a#3..z#2`)
	var busy Reservations
	plan := newPlan(v, Input{0, v.Levels[0]}, 5, ReasonL0)
	require.ErrorContains(t, busy.Verify(plan, v), "no reservation")
	require.True(t, busy.Reserve(plan))
	require.False(t, busy.Reserve(plan), "a plan conflicts with itself")
	require.NoError(t, busy.Verify(plan, v))
	require.Equal(t, 1, busy.Len())

	below := newPlan(v, Input{5, v.Levels[5][1:]}, 6, ReasonSize)
	require.True(t, busy.Reserve(below), "disjoint in L5, and the first does not touch L6")
	above := newPlan(v, Input{5, v.Levels[5][:1]}, 6, ReasonSize)
	require.False(t, busy.free(above))

	gone := drawnVersion(t, "L5 b#9..d#8\nL6 a#3..z#2")
	require.ErrorContains(t, busy.Verify(plan, gone), "no longer in L0")
	intruder := manifest.NewVersion([manifest.NumLevels][]*manifest.Table{
		0: v.Levels[0], 2: {drawnTable(t, 99, "b#15..c#14")}, 5: v.Levels[5], 6: v.Levels[6]}, nil)
	require.ErrorContains(t, busy.Verify(plan, intruder), "000099 [b..c] in L2")

	busy.Release(plan)
	busy.Release(plan)
	busy.Release(below)
	require.Zero(t, busy.Len())
	require.True(t, busy.Reserve(above))
}

func TestKeyRange(t *testing.T) {
	r := func(lo, hi string, exclusive bool) keyRange {
		return keyRange{lo: []byte(lo), hi: []byte(hi), hiExclusive: exclusive}
	}
	require.True(t, r("a", "c", false).overlaps(r("c", "d", false)))
	require.False(t, r("a", "c", true).overlaps(r("c", "d", false)))
	require.True(t, userRange(nil, nil).overlaps(r("", "", false)))
	require.False(t, userRange([]byte("d"), nil).overlaps(r("a", "c", false)))
	require.Equal(t, "[a..d)", r("b", "c", false).union(r("a", "d", true)).String())
	require.Equal(t, "[a..d]", r("a", "d", true).union(r("b", "d", false)).String())
	require.Equal(t, "[a..)", r("a", "d", true).union(userRange([]byte("b"), nil)).String())
}

// TestCleanCut draws levels in which RocksDB spread user keys over several tables.
func TestCleanCut(t *testing.T) {
	level := drawnVersion(t, "L3 a#9..c#8 c#7..e#6 e#5..f#4 f#3..h)#2 h#9..k#9").Levels[3]
	for name, want := range map[string][2]int{
		"a#1..b#1": {0, 4}, "d#1..d#1": {0, 4}, "g#1..g#1": {0, 4}, "h#1..h#1": {4, 5}, "i#1..z#1": {4, 5}, "l#1..z#1": {5, 5},
	} {
		i, j := overlapping(level, rangeOf(drawnTable(t, 99, name)))
		require.Equal(t, want, [2]int{i, j}, name)
	}
}

// TestBeneath asks what may lie beneath the inputs of a plan.
func TestBeneath(t *testing.T) {
	v := drawnVersion(t, `
L0 a#90..b#89 c#80..d#79 x#70..x#69
L1 a#60..c#59 c#58..e#57
L2 f#50..f#49 h#48..h#47 j#46..m)#45 q#44..q#43`)
	keys := func(plan *Plan) (held string) {
		b := newBeneath(v, plan)
		for c := byte('a'); c <= 'z'; c++ {
			if b.holdsKey([]byte{c}) {
				require.True(t, b.holdsRange([]byte{c}, []byte{c, 0}), "%c", c)
				held += string(c)
			} else {
				require.False(t, b.holdsRange([]byte{c}, []byte{c, 0}), "%c", c)
			}
		}
		return held
	}
	plan := func(output int, inputs ...Input) *Plan { return &Plan{Inputs: inputs, Output: output} }
	l := v.Levels
	require.Equal(t, "abcdefhjklqx", keys(plan(1, Input{0, l[0][:2]})), "an older table in L0 counts, a newer one does not")
	require.Equal(t, "abcdefhjklq", keys(plan(1, Input{0, l[0]})))
	require.Equal(t, "fhjklq", keys(plan(1, Input{0, l[0]}, Input{1, l[1]})))
	require.Equal(t, "fhjklq", keys(plan(6, Input{0, l[0]}, Input{1, l[1]})), "a level that the plan skips counts")
	require.Equal(t, "", keys(plan(2, Input{1, l[1]}, Input{2, l[2]})))
	require.Equal(t, "cdefhjklq", keys(plan(1, Input{1, l[1][:1]})), "a neighbour that shares a key counts")
	require.Equal(t, "", keys(plan(2, Input{2, l[2][1:2]})), "other neighbours do not")
}
