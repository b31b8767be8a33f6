package manifest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// history is what the crash and error tests do: create a tree, change it, recover it, change it
// again, over several manifests. after is called with the tree that each step asked for, before
// the step and once it has succeeded.
type history struct {
	fs    vfs.FS
	opts  Options
	steps int // that succeeded
	want  string
	next  string // what the step under way asks for; "" = none
}

var historyEdits = []string{
	"add L0 101:a#1..m#9", "add L0 102:c#10..z#19", "blob 103 count=5\nadd L0 104:b#20..c#29 blob=103\ngarbage 103 count=2",
	"del L0 102\nadd L1 102:c#10..z#19", "seq 50\nlog 70",
	"del L0 101\ndel L0 104\ndel L1 102\nadd L1 105:a#1..c#29\nadd L1 106:d#1..z#19\ngarbage 103 count=3",
}

// run makes the steps until one fails.
func (h *history) run(t *testing.T) (err error) {
	var s *Set
	h.next = "empty\n"
	if s, err = Create(h.fs, "db", h.opts); err != nil {
		return err
	}
	h.want, h.next = "empty\n", ""
	for i, changes := range historyEdits {
		e := edit(t, changes)
		if i == 3 { // a process ends and another begins
			if err := s.Close(); err != nil {
				return err
			}
			if s, err = Recover(h.fs, "db", h.opts); err != nil {
				return err
			}
		}
		h.next = after(t, s, e)
		if err := s.Apply(e); err != nil {
			return err
		}
		h.want, h.next = tree(s), ""
		h.steps++
	}
	return s.Close()
}

// after draws what the tree will be.
func after(t *testing.T, s *Set, e *Edit) string {
	v := s.Current()
	defer v.Unref()
	b := newBuilder(v)
	require.NoError(t, b.apply(e))
	next, _, err := b.build()
	require.NoError(t, err)
	return draw(next)
}

// Whenever the power fails, what is recovered is the tree before the edit under way or after
// it; and once Apply has returned, after it. Then the database can go on.
func TestCrashAtEverySync(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		mem := newDir(t)
		h := &history{fs: mem, opts: Options{MaxBytes: 1 + rng.Int64N(2000)}}
		points := 0
		mem.SetSyncHook(func(op, name string) {
			points++
			checkCrashed(t, mem.Crash(rng), h, fmt.Sprintf("seed %d point %d: %s %s", seed, points, op, name))
		})
		require.NoError(t, h.run(t))
		require.GreaterOrEqual(t, points, 30)
		mem.SetSyncHook(nil)
		checkCrashed(t, mem.Crash(rng), h, "at the end")
		checkCrashed(t, mem.CrashLoseUnsynced(), h, "at the end")
	}
}

func checkCrashed(t *testing.T, crashed *vfs.Mem, h *history, where string) {
	s, err := Recover(crashed, "db", Options{})
	if err != nil {
		// Before Create has returned there may be no database, and Create must work again.
		require.Empty(t, h.want, "%s: %v", where, err)
		s, err = Create(crashed, "db", Options{})
		require.NoError(t, err, where)
	}
	got := tree(s)
	if got != h.want {
		require.NotEmpty(t, h.next, "%s: got\n%s", where, got)
		require.Equal(t, h.next, got, where)
	}
	require.NoError(t, s.Apply(edit(t, "add L6 999:x#1..x#1")), where)
	want := tree(s)
	require.NoError(t, s.Close())
	require.Equal(t, want, tree(reopen(t, crashed.CrashLoseUnsynced())), where)
}

// An error at any operation is returned, the tree in memory stays, and the next Apply works: in
// a new manifest, with the files of the failed edit kept until then.
func TestErrorAtEveryOperation(t *testing.T) {
	count := vfs.NewFault(newDir(t))
	calls := count.Add(vfs.Rule{})
	require.NoError(t, (&history{fs: count}).run(t))
	require.Greater(t, calls.Calls(), 40)
	for n := range calls.Calls() {
		for _, short := range []bool{false, true} {
			mem := newDir(t)
			fault := vfs.NewFault(mem)
			fault.Add(vfs.Rule{Skip: n, Err: vfs.ErrNoSpace, Short: short})
			h := &history{fs: fault}
			err := h.run(t)
			require.Zero(t, fault.Resyncs(), "call %d", n)
			if err == nil {
				continue // closing a file that was only read
			}
			require.ErrorIs(t, err, vfs.ErrNoSpace, "call %d", n)
			checkCrashed(t, mem.CrashKeepAll(), h, fmt.Sprintf("killed after an error at call %d", n))
			checkCrashed(t, mem.CrashLoseUnsynced(), h, fmt.Sprintf("power cut after an error at call %d", n))
		}
	}
}

// After an append or a sync that failed nothing more is appended to that manifest.
func TestRollAfterFailedApply(t *testing.T) {
	for name, rule := range map[string]vfs.Rule{
		"append":            {Ops: vfs.OpWrite, Path: "MANIFEST-*", Err: vfs.ErrNoSpace},
		"half of an append": {Ops: vfs.OpWrite, Path: "MANIFEST-*", Err: vfs.ErrNoSpace, Short: true},
		"sync":              {Ops: vfs.OpSync, Path: "MANIFEST-*", Err: vfs.ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			mem := newDir(t)
			fault := vfs.NewFault(mem)
			var obsolete []uint64
			s := create(t, fault, Options{OnObsolete: func(tables, blobs []uint64) { obsolete = append(append(obsolete, tables...), blobs...) }})
			require.NoError(t, s.Apply(edit(t, "add L0 5:a#7..c#9")))
			first := s.ManifestNum()
			injected := fault.Add(rule)
			failed := edit(t, "add L0 6:a#17..c#19 blob=7", "blob 7 count=1", "add L0 8:a#27..c#29")
			require.ErrorIs(t, s.Apply(failed), vfs.ErrNoSpace)
			require.Equal(t, 1, injected.Hits())
			require.Equal(t, "L0  5:a#7..c#9\n", tree(s))

			// A crash now may bring the failed edit back, so its files must not go yet.
			tables, blobs := live(s)
			require.Equal(t, []uint64{5, 6, 8}, tables)
			require.Equal(t, []uint64{7}, blobs)
			old, err := s.ObsoleteManifests()
			require.NoError(t, err)
			require.Empty(t, old)
			require.Empty(t, obsolete)

			again := edit(t, "add L1 9:x#1..y#1")
			again.Added = append(again.Added, failed.Added[1])
			require.NoError(t, s.Apply(again))
			require.Equal(t, []uint64{6, 7}, obsolete, "8 is in the tree now")
			require.NotEqual(t, first, s.ManifestNum())
			old, err = s.ObsoleteManifests()
			require.NoError(t, err)
			require.Equal(t, []uint64{first}, old)
			tables, blobs = live(s)
			require.Equal(t, []uint64{5, 8, 9}, tables)
			require.Empty(t, blobs)
			require.Equal(t, tree(s), tree(reopen(t, mem)))
			require.Zero(t, fault.Resyncs())
		})
	}
}

func live(s *Set) (tables, blobs []uint64) {
	s.Live(func(t, b []uint64) { tables, blobs = t, b })
	return tables, blobs
}

// While a new manifest cannot be made every Apply fails, the old state stays, and no file of a
// half-made manifest is left behind.
func TestNoNewManifest(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	require.NoError(t, s.Apply(edit(t, "add L0 5:a#7..c#9")))
	require.NoError(t, s.Close())
	before := listing(t, mem)
	fault := vfs.NewFault(mem)
	s = reopen(t, fault)
	full := fault.Add(vfs.Rule{Ops: vfs.OpWrite, Forever: true, Err: vfs.ErrNoSpace})
	for range 3 {
		require.ErrorIs(t, s.Apply(edit(t, "del L0 5")), vfs.ErrNoSpace)
		require.Equal(t, before, listing(t, mem))
		require.Equal(t, "L0  5:a#7..c#9\n", tree(s))
	}
	full.Remove()
	require.NoError(t, s.Apply(edit(t, "del L0 5")))
	require.Equal(t, "empty\n", tree(reopen(t, mem)))
}

// When CURRENT may name either manifest both are kept.
func TestCurrentInDoubt(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	require.NoError(t, s.Close())
	fault := vfs.NewFault(mem)
	s = reopen(t, fault)
	fault.Add(vfs.Rule{Ops: vfs.OpSyncDir, Skip: 1, Err: vfs.ErrNoSpace}) // the one behind the rename
	require.ErrorIs(t, s.Apply(edit(t, "add L0 5:a#7..c#9")), vfs.ErrNoSpace)
	require.True(t, s.InDoubt())
	require.Equal(t, "empty\n", tree(s))
	require.Equal(t, "L0  5:a#7..c#9\n", tree(reopen(t, mem)), "the rename went through")
	require.Equal(t, "empty\n", tree(reopen(t, mem.CrashLoseUnsynced())), "and can be lost")
	old, err := s.ObsoleteManifests()
	require.NoError(t, err)
	require.Empty(t, old)

	require.NoError(t, s.Apply(&Edit{}))
	require.False(t, s.InDoubt())
	require.Equal(t, "empty\n", tree(reopen(t, mem)))
	old, err = s.ObsoleteManifests()
	require.NoError(t, err)
	require.Len(t, old, 2)
	for _, num := range old {
		require.NoError(t, mem.Remove(filename.Path("db", filename.Manifest, num)))
	}
	require.Equal(t, "empty\n", tree(reopen(t, mem)))

	// A Set that is closed says nothing: the manifests may be those of another one.
	require.NoError(t, s.Close())
	next := reopen(t, mem)
	require.NoError(t, next.Apply(&Edit{}))
	old, err = s.ObsoleteManifests()
	require.NoError(t, err)
	require.Empty(t, old)
	require.NoError(t, next.Close())
}
