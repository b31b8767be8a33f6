package manifest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/invariants"
)

// A file is reported once, when the last version that names it goes.
func TestObsolete(t *testing.T) {
	var log []string
	s := create(t, newDir(t), Options{OnObsolete: func(tables, blobs []uint64) { log = append(log, fmt.Sprint(tables, blobs)) }})
	require.NoError(t, s.Apply(edit(t, "add L0 5:a#7..c#9 blob=6", "blob 6 count=2", "add L1 7:a#1..c#2")))
	held := s.Current()
	require.NoError(t, s.Apply(edit(t, "garbage 6 count=1")))
	between := s.Current()
	require.NoError(t, s.Apply(edit(t, "del L0 5", "del L1 7", "add L2 7:a#1..c#2", "garbage 6 count=1")))
	require.Empty(t, log, "two versions still hold 5 and 6")
	require.EqualValues(t, 0, held.Blobs[6].GarbageCount)
	require.EqualValues(t, 1, between.Blobs[6].GarbageCount)
	held.Unref()
	require.Empty(t, log)
	between.Ref()
	between.Unref()
	require.Empty(t, log)
	between.Unref()
	require.Equal(t, []string{"[5] [6]"}, log, "7 has moved and stays")
	require.NoError(t, s.Apply(edit(t, "del L2 7")))
	require.Equal(t, []string{"[5] [6]", "[7] []"}, log, "without a reader, within Apply")
}

// Every version has a number of its own, and OnRetire tells when the oldest has gone.
func TestGenerations(t *testing.T) {
	var s *Set
	var log []uint64
	s = create(t, newDir(t), Options{OnRetire: func() { log = append(log, s.Oldest()) }})
	held := s.Current()
	first := held.Generation()
	require.NoError(t, s.Apply(edit(t, "add L0 5:a#7..c#9")))
	between := s.Current()
	require.NoError(t, s.Apply(&Edit{}))
	require.Empty(t, log, "both are held")
	between.Unref()
	require.Equal(t, []uint64{first}, log)
	held.Unref()
	v := s.Current()
	require.Equal(t, []uint64{first, v.Generation()}, log)
	require.Greater(t, v.Generation(), between.Generation())
	v.Unref()
	require.NoError(t, s.Apply(&Edit{}))
	require.Equal(t, v.Generation()+1, log[2], "within Apply")
	require.NoError(t, s.Close())
	require.Len(t, log, 3)
	require.Zero(t, NewVersion([NumLevels][]*Table{}, nil).Generation())
}

// Closing gives nothing up: the files belong to the database.
func TestCloseKeepsFiles(t *testing.T) {
	var log []string
	s := create(t, newDir(t), Options{OnObsolete: func(tables, blobs []uint64) { log = append(log, fmt.Sprint(tables, blobs)) }})
	require.NoError(t, s.Apply(edit(t, "add L0 5:a#7..c#9")))
	held := s.Current()
	require.NoError(t, s.Apply(edit(t, "del L0 5", "add L0 6:a#7..c#9")))
	require.NoError(t, s.Close())
	held.Unref()
	v := s.Current()
	require.Equal(t, "L0  6:a#7..c#9\n", draw(v))
	v.Unref()
	require.Empty(t, log)
}

// The hook may use the Set: no lock is held while it runs.
func TestHookUsesSet(t *testing.T) {
	var s *Set
	calls := 0
	s = create(t, newDir(t), Options{OnObsolete: func(tables, _ []uint64) {
		calls++
		live(s)
		v := s.Current()
		v.Unref()
		_, err := s.ObsoleteManifests()
		require.NoError(t, err)
		require.NoError(t, s.Apply(&Edit{}))
	}})
	require.NoError(t, s.Apply(edit(t, "add L0 5:a#7..c#9")))
	require.NoError(t, s.Apply(edit(t, "del L0 5")))
	require.Equal(t, 1, calls)
}

func TestUnrefTooOftenPanics(t *testing.T) {
	if !invariants.Enabled {
		t.Log("checked in invariant builds only")
		return
	}
	s := create(t, newDir(t), Options{})
	v := s.Current()
	require.NoError(t, s.Apply(&Edit{}))
	v.Unref()
	require.Panics(t, v.Unref)
	require.Panics(t, v.Ref)
}

// A Set against a plain map: adds, moves, deletions, readers that hold old versions, reopens.
func TestSetModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mem := newDir(t)
		opts := Options{MaxBytes: rapid.Int64Range(1, 3000).Draw(rt, "max")}
		m := &model{tables: map[uint64]int{}, reported: map[uint64]bool{}}
		opts.OnObsolete = m.obsolete(rt)
		s, err := Create(mem, "db", opts)
		require.NoError(rt, err)
		rt.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) { require.NoError(t, s.Apply(m.change(t, s))) },
			"hold":  func(*rapid.T) { m.held = append(m.held, s.Current()) },
			"let go": func(t *rapid.T) {
				if len(m.held) > 0 {
					i := rapid.IntRange(0, len(m.held)-1).Draw(t, "which")
					v := m.held[i]
					m.held = slices.Delete(m.held, i, i+1)
					v.Unref()
				}
			},
			"reopen": func(t *rapid.T) {
				require.NoError(t, s.Close())
				m.held, m.reported = nil, map[uint64]bool{}
				s, err = Recover(mem, "db", opts)
				require.NoError(t, err)
			},
			"": func(t *rapid.T) { m.check(t, s) },
		})
	})
}

type model struct {
	tables   map[uint64]int // level of each
	held     []*Version
	reported map[uint64]bool
}

// change draws an edit that fits and makes it in the model.
func (m *model) change(t *rapid.T, s *Set) *Edit {
	e := &Edit{}
	v := s.Current()
	defer v.Unref()
	for level, tables := range v.Levels {
		for _, table := range tables {
			switch rapid.IntRange(0, 5).Draw(t, "fate") {
			case 0:
				e.Deleted = append(e.Deleted, DeletedTable{level, table.Num})
				delete(m.tables, table.Num)
			case 1:
				to := 1 + int(table.Num)%6 // a number's own place on each level: never an overlap
				e.Deleted = append(e.Deleted, DeletedTable{level, table.Num})
				e.Added = append(e.Added, AddedTable{to, table})
				m.tables[table.Num] = to
			}
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "new") {
		num := s.NewFileNum()
		table, err := parseTable(fmt.Sprintf("%d:k%06d#%d..k%06d#%d", num, num, 2*num+1, num, 2*num))
		require.NoError(t, err)
		e.Added = append(e.Added, AddedTable{0, table})
		m.tables[num] = 0
	}
	return e
}

func (m *model) check(t *rapid.T, s *Set) {
	v := s.Current()
	defer v.Unref()
	got := map[uint64]int{}
	for level, tables := range v.Levels {
		for _, table := range tables {
			got[table.Num] = level
		}
	}
	require.Equal(t, m.tables, got)
	want := map[uint64]bool{}
	oldest := v.Generation()
	for _, v := range append(m.held, v) {
		oldest = min(oldest, v.Generation())
		for _, tables := range v.Levels {
			for _, table := range tables {
				want[table.Num] = true
				require.False(t, m.reported[table.Num], "table %d is held", table.Num)
			}
		}
	}
	require.Equal(t, oldest, s.Oldest())
	tables, _ := live(s)
	require.Len(t, tables, len(want))
	for _, num := range tables {
		require.True(t, want[num])
	}
}

func (m *model) obsolete(t *rapid.T) func(tables, blobs []uint64) {
	return func(tables, _ []uint64) {
		for _, num := range tables {
			require.False(t, m.reported[num], "table %d twice", num)
			m.reported[num] = true
		}
	}
}
