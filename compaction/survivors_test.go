package compaction

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/rangedel"
)

// scriptFilter drops values that begin with "drop" and replaces those that begin with "old".
type scriptFilter struct{}

func (scriptFilter) Filter(_ int, _, value []byte) (Decision, []byte) {
	switch {
	case bytes.HasPrefix(value, []byte("drop")):
		return Drop, nil
	case bytes.HasPrefix(value, []byte("old")):
		return Replace, append([]byte("new"), value[3:]...)
	}
	return Keep, nil
}

var entryForm = regexp.MustCompile(`^(\w+)#(\d+)\.(\w+)(?:=([^@]*)(?:@(\d+))?)?$`)

func drawnEntry(t *testing.T, word string) (ikey.Key, []byte) {
	t.Helper()
	m := entryForm.FindStringSubmatch(word)
	if m == nil {
		t.Fatalf("entry %q: want a#7.SET=value or a#7.ENTITY=value@expiry", word)
	}
	kinds := map[string]ikey.Kind{}
	for _, k := range []ikey.Kind{ikey.KindDelete, ikey.KindSet, ikey.KindMerge, ikey.KindSingleDelete, ikey.KindBlobIndex, ikey.KindEntity} {
		kinds[k.String()] = k
	}
	kind, ok := kinds[m[3]]
	if !ok {
		kind = ikey.Kind(0x14)
	}
	value := []byte(m[4])
	if kind == ikey.KindEntity && m[5] != "" {
		value = entity.Encode(nil, value, int64(mustUint(t, m[5])))
	}
	return ikey.Make([]byte(m[1]), mustUint(t, m[2]), kind), value
}

func drawEntry(key ikey.Key, value []byte) string {
	s := fmt.Sprintf("%s#%d.%s", key.User, key.Seq(), key.Kind())
	if key.Kind() == ikey.KindDelete {
		return s
	}
	if e, err := entity.Decode(value); key.Kind() == ikey.KindEntity && err == nil {
		return fmt.Sprintf("%s=%s@%d", s, e.Value, e.ExpiryMillis)
	}
	return s + "=" + string(value)
}

// TestSurvivorsScript runs the entries of a script, newest version first for each key, through
// the decision and shows the fate of each.
func TestSurvivorsScript(t *testing.T) {
	datadriven.RunTest(t, "testdata/survivors", func(t *testing.T, d *datadriven.TestData) string {
		s := survivors{bottommost: func([]byte) bool { return true }}
		oldest := func(_, _ []byte) bool { return true }
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "snapshots":
				for _, v := range arg.Vals {
					s.snapshots = append(s.snapshots, mustUint(t, v))
				}
			case "now":
				s.nowMillis = mustUint(t, arg.Vals[0])
			case "beneath": // keys that have something older beneath them
				beneath := strings.Join(arg.Vals, "")
				s.bottommost = func(user []byte) bool { return !strings.Contains(beneath, string(user)) }
				oldest = func(start, end []byte) bool {
					for _, c := range beneath {
						if string(c) >= string(start) && string(c) < string(end) {
							return false
						}
					}
					return true
				}
			case "level":
				s.level = int(mustUint(t, arg.Vals[0]))
			case "filter":
				s.filter = scriptFilter{}
				s.loadBlob = func(_, index []byte) ([]byte, error) { return bytes.TrimPrefix(index, []byte("->")), nil }
			default:
				d.Fatalf(t, "unknown argument %s", arg.Key)
			}
		}
		var entries []string
		var tombstones strings.Builder
		for _, line := range strings.Split(d.Input, "\n") {
			if strings.HasPrefix(line, "[") {
				tombstones.WriteString(line + " ")
			} else {
				entries = append(entries, strings.Fields(line)...)
			}
		}
		s.tombstones = drawnTombstones(t, tombstones.String())

		var out strings.Builder
		var last []byte
		in, kept := uint64(0), uint64(0)
		for _, word := range entries {
			key, value := drawnEntry(t, word)
			if in == 0 || !bytes.Equal(key.User, last) {
				s.startKey(key.User)
				last = key.User
			}
			in++
			before := s.dropped
			got, gotValue, keep, err := s.next(key, value)
			if err != nil {
				return fmt.Sprintf("%serror: %v\n", out.String(), err)
			}
			fate := "stays"
			switch {
			case keep && drawEntry(got, gotValue) != word:
				fate = "becomes " + drawEntry(got, gotValue)
			case !keep:
				fate = "goes: " + difference(before, s.dropped)
			}
			if keep {
				kept++
			}
			fmt.Fprintf(&out, "%-20s %s\n", word, fate)
		}
		require.Equal(t, in, kept+s.dropped.Total())
		if len(s.tombstones) > 0 {
			fmt.Fprintf(&out, "tombstones: %s\n", survivingSpans(s.tombstones, s.snapshots, oldest))
		}
		return out.String()
	})
}

func difference(a, b Dropped) string {
	switch {
	case b.Shadowed > a.Shadowed:
		return "shadowed"
	case b.Tombstone > a.Tombstone:
		return "tombstone"
	case b.RangeDeleted > a.RangeDeleted:
		return "range deleted"
	case b.Expired > a.Expired:
		return "expired"
	case b.Filtered > a.Filtered:
		return "filtered"
	}
	return "?"
}

// TestSurvivorsKeepEveryView merges random histories of one key and compares what a reader at
// each snapshot, and at the newest position, finds before and after; older entries beneath the
// merge included. The model reads a history by walking it.
func TestSurvivorsKeepEveryView(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const user, now = "k", 100
		type version struct {
			key   ikey.Key
			value []byte
		}
		n := rapid.IntRange(1, 8).Draw(rt, "versions")
		seq := uint64(40)
		var all []version
		var tombs []rangedel.Tombstone
		for i := 0; i < n; i++ {
			seq -= uint64(rapid.IntRange(1, 4).Draw(rt, "gap"))
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				all = append(all, version{ikey.Make([]byte(user), seq, ikey.KindDelete), nil})
			case 1:
				at := rapid.SampledFrom([]int64{50, now, 200}).Draw(rt, "expiry")
				all = append(all, version{ikey.Make([]byte(user), seq, ikey.KindEntity), entity.Encode(nil, fmt.Appendf(nil, "e%d", seq), at)})
			case 2:
				tombs = append(tombs, rangedel.Tombstone{Start: []byte("a"), End: []byte("z"), Seq: seq})
			default:
				all = append(all, version{ikey.Make([]byte(user), seq, ikey.KindSet), fmt.Appendf(nil, "v%d", seq)})
			}
		}
		var beneath []version
		if rapid.Bool().Draw(rt, "beneath") {
			beneath = append(beneath, version{ikey.Make([]byte(user), 1, ikey.KindSet), []byte("old")})
		}
		var snapshots []uint64
		for s := uint64(0); s < 42; s++ {
			if rapid.IntRange(0, 5).Draw(rt, "snapshot") == 0 {
				snapshots = append(snapshots, s)
			}
		}

		s := survivors{snapshots: snapshots, nowMillis: now, tombstones: rangedel.Fragment(tombs),
			bottommost: func([]byte) bool { return len(beneath) == 0 }, level: 6 * rapid.IntRange(0, 1).Draw(rt, "level/6")}
		s.startKey([]byte(user))
		var kept []version
		for _, v := range all {
			key, value, keep, err := s.next(v.key, v.value)
			require.NoError(rt, err)
			if keep {
				if s.level == 0 || key.Seq() != 0 {
					require.Equal(rt, v.key.Seq(), key.Seq())
				}
				kept = append(kept, version{key, bytes.Clone(value)})
			}
		}
		require.Equal(rt, len(all), len(kept)+int(s.dropped.Total()))
		spans := survivingSpans(s.tombstones, snapshots, func(_, _ []byte) bool { return len(beneath) == 0 })

		read := func(history []version, spans rangedel.List, at uint64) string {
			cover, covered := spans.Cover([]byte(user), at)
			for _, v := range append(history[:len(history):len(history)], beneath...) {
				if v.key.Seq() > at {
					continue
				}
				if covered && cover > v.key.Seq() {
					return "absent"
				}
				switch v.key.Kind() {
				case ikey.KindDelete:
					return "absent"
				case ikey.KindEntity:
					e, err := entity.Decode(v.value)
					require.NoError(rt, err)
					if e.Expired(now) {
						return "absent"
					}
					return string(e.Value)
				}
				return string(v.value)
			}
			return "absent"
		}
		for _, at := range append(snapshots, ikey.MaxSeq) {
			require.Equal(rt, read(all, s.tombstones, at), read(kept, spans, at), "at %d", at)
		}
		if len(snapshots) == 0 && len(beneath) == 0 {
			require.Empty(rt, spans)
			require.LessOrEqual(rt, len(kept), 1)
			for _, v := range kept {
				require.NotEqual(rt, ikey.KindDelete, v.key.Kind())
			}
		}
	})
}

func TestSurvivorsRefuseBadValues(t *testing.T) {
	s := survivors{bottommost: func([]byte) bool { return false }}
	s.startKey([]byte("k"))
	_, _, _, err := s.next(ikey.Make([]byte("k"), 3, ikey.KindEntity), []byte{9, 9})
	require.ErrorIs(t, err, entity.ErrMalformed)
	require.ErrorContains(t, err, `"k"`)

	broken := errors.New("broken")
	s = survivors{filter: scriptFilter{}, loadBlob: func(_, _ []byte) ([]byte, error) { return nil, broken }}
	s.startKey([]byte("k"))
	_, _, _, err = s.next(ikey.Make([]byte("k"), 3, ikey.KindBlobIndex), []byte("->x"))
	require.ErrorIs(t, err, broken)
}

func TestSurvivorsDoNotAllocate(t *testing.T) {
	s := survivors{snapshots: []uint64{5, 9}, nowMillis: 100, bottommost: func([]byte) bool { return true },
		tombstones: rangedel.Fragment([]rangedel.Tombstone{{Start: []byte("a"), End: []byte("z"), Seq: 7}})}
	user, value := []byte("k"), entity.Encode(nil, []byte("v"), 200)
	allocs := testing.AllocsPerRun(100, func() {
		s.startKey(user)
		for seq := uint64(12); seq > 0; seq-- {
			kind := ikey.KindEntity
			if seq%2 == 0 {
				kind = ikey.KindDelete
			}
			if _, _, _, err := s.next(ikey.Make(user, seq, kind), value); err != nil {
				t.Fatal(err)
			}
		}
	})
	require.Zero(t, allocs)
}
