package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// The scripts in testdata/version draw trees, edits and questions about them.
func TestVersionScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/version", func(t *testing.T, path string) {
		v := &Version{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return runScript(t, d, &v)
		})
	})
}

func runScript(t *testing.T, d *datadriven.TestData, v **Version) string {
	switch d.Cmd {
	case "define": // the tables as given, in any order, checked or not
		e, err := parseLevels(d.Input)
		if err != nil {
			return err.Error() + "\n"
		}
		var levels [NumLevels][]*Table
		for _, a := range e.Added {
			levels[a.Level] = append(levels[a.Level], a.Table)
		}
		var blobs []*Blob
		for i := range e.BlobsAdded {
			blobs = append(blobs, &e.BlobsAdded[i])
		}
		*v = NewVersion(levels, blobs)
		return draw(*v)
	case "apply":
		e, err := parseEdit(d.Input)
		if err != nil {
			return err.Error() + "\n"
		}
		b := newBuilder(*v)
		if err := b.apply(e); err != nil {
			return fmt.Sprintf("refused: %v\n", err)
		}
		next, gone, err := b.build()
		if err != nil {
			return fmt.Sprintf("refused: %v\n", err)
		}
		*v = next
		out := draw(next)
		slices.SortFunc(gone, func(a, b *Blob) int { return int(a.Num) - int(b.Num) })
		for _, blob := range gone {
			out += fmt.Sprintf("blob %d left\n", blob.Num)
		}
		return out
	case "check":
		if err := (*v).Check(); err != nil {
			return err.Error() + "\n"
		}
		return "ok\n"
	case "find":
		return eachLine(d.Input, func(key string) string { return key + ": " + search(*v, []byte(key), []byte(key)) })
	case "overlaps": // "lo hi" on a line, "-" for an open end
		return eachLine(d.Input, func(line string) string {
			lo, hi, _ := strings.Cut(line, " ")
			return line + ": " + search(*v, bound(lo), bound(hi))
		})
	}
	t.Fatalf("no command %q", d.Cmd)
	return ""
}

func bound(s string) []byte {
	if s == "-" {
		return nil
	}
	return []byte(s)
}

func search(v *Version, lo, hi []byte) string {
	var out []string
	for level := range NumLevels {
		if hits := v.Overlaps(level, lo, hi); len(hits) > 0 {
			out = append(out, fmt.Sprintf("L%d %s", level, drawTables(hits)))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " | ")
}

func eachLine(input string, answer func(string) string) string {
	var b strings.Builder
	for line := range strings.Lines(input) {
		b.WriteString(strings.TrimSpace(answer(strings.TrimSpace(line))) + "\n")
	}
	return b.String()
}

// parseLevels reads "L1  TABLE   TABLE" lines, tables two spaces or more apart, and "blob" lines.
func parseLevels(input string) (*Edit, error) {
	var changes strings.Builder
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "blob") {
			changes.WriteString(line + "\n")
			continue
		}
		parts := strings.Split(line, "  ")
		for _, table := range parts[1:] {
			if table = strings.TrimSpace(table); table != "" {
				fmt.Fprintf(&changes, "add %s %s\n", parts[0], table)
			}
		}
	}
	return parseEdit(changes.String())
}

// Find and Overlaps agree with looking at every table.
func TestFindModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tables := disjointTables(t)
		v := NewVersion([NumLevels][]*Table{1: tables, 0: slices.Clone(tables)}, nil)
		lo, hi := anyUser(t), anyUser(t)
		if bytes.Compare(lo, hi) > 0 {
			lo, hi = hi, lo
		}
		for _, b := range [][2][]byte{{lo, lo}, {lo, hi}, {nil, hi}, {lo, nil}, {nil, nil}} {
			var want []*Table
			for _, table := range tables {
				// A table holds what lies between its bounds: compare as internal keys.
				last := ikey.Key{User: b[1]} // sorts behind all keys of that user key
				below := b[0] != nil && ikey.Compare(table.Largest, ikey.Seek(b[0], ikey.MaxSeq)) < 0
				if exclusive := table.Largest.IsExclusiveBound() && bytes.Equal(table.Largest.User, b[0]); exclusive {
					below = b[0] != nil
				}
				above := b[1] != nil && ikey.Compare(table.Smallest, last) > 0
				if !below && !above {
					want = append(want, table)
				}
			}
			require.Equal(t, drawTables(want), drawTables(v.Overlaps(1, b[0], b[1])))
			require.ElementsMatch(t, want, v.Overlaps(0, b[0], b[1]))
		}
		require.Equal(t, drawTables(v.Find(1, lo)), drawTables(v.Overlaps(1, lo, lo)))
		for _, table := range v.Find(1, lo) {
			require.True(t, table.Contains(lo))
		}
	})
}

func anyUser(t *rapid.T) []byte {
	return rapid.SliceOfN(rapid.ByteRange('a', 'd'), 0, 2).Draw(t, "user")
}

// disjointTables draws the tables of one level, often with a user key in two of them.
func disjointTables(t *rapid.T) (tables []*Table) {
	n := 2 * rapid.IntRange(0, 6).Draw(t, "tables")
	keys := make([]ikey.Key, n)
	for i := range keys {
		keys[i] = ikey.Make(anyUser(t), rapid.Uint64Range(1, 5).Draw(t, "seq"), ikey.KindSet)
	}
	slices.SortFunc(keys, ikey.Compare)
	keys = slices.CompactFunc(keys, func(a, b ikey.Key) bool { return ikey.Compare(a, b) == 0 })
	for i := 0; i+1 < len(keys); i += 2 {
		table := &Table{Num: uint64(i + 1), Smallest: keys[i], Largest: keys[i+1]}
		if !bytes.Equal(keys[i].User, keys[i+1].User) && (i == 0 || !bytes.Equal(keys[i-1].User, keys[i+1].User)) && rapid.Bool().Draw(t, "exclusive") {
			table.Largest.Trailer = ikey.RangeDelSentinel
		}
		tables = append(tables, table)
	}
	return tables
}

func TestFindCostsNoMemory(t *testing.T) {
	var tables []*Table
	for i := range 1000 {
		user := fmt.Appendf(nil, "%06d", i)
		tables = append(tables, &Table{Num: uint64(i), Smallest: ikey.Make(user, 9, ikey.KindSet), Largest: ikey.Make(user, 1, ikey.KindSet)})
	}
	v := NewVersion([NumLevels][]*Table{3: tables}, nil)
	user := []byte("000777")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if len(v.Find(3, user)) != 1 {
			t.Fatal("not found")
		}
	}))
}

func TestLevelBytes(t *testing.T) {
	e := edit(t, "add L0 1:a#1..b#2 size=70", "add L0 2:a#3..b#4 size=30")
	v := NewVersion([NumLevels][]*Table{0: {e.Added[0].Table, e.Added[1].Table}}, nil)
	require.EqualValues(t, 100, v.LevelBytes(0))
	require.Zero(t, v.LevelBytes(6))
	v.Ref() // a version of no Set counts nothing
	v.Unref()
	v.Unref()
}
