package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// parseTable reads "12:a#9..c#7", the notation of the scripts: number, bounds, sequence
// numbers. A "!" behind the second bound makes it exclusive, and " size=", " seq=lo-hi",
// " blob=", " epoch=" may follow. Without seq= the bounds' numbers are taken.
func parseTable(s string) (*Table, error) {
	words := strings.Fields(s)
	t := &Table{Size: 100}
	num, bounds, ok := strings.Cut(words[0], ":")
	if !ok {
		return nil, fmt.Errorf("want NUM:key#seq..key#seq, got %q", s)
	}
	if _, err := fmt.Sscan(num, &t.Num); err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	lo, hi, ok := strings.Cut(bounds, "..")
	if !ok {
		return nil, fmt.Errorf("no .. in %q", s)
	}
	var err error
	if t.Smallest, err = parseKey(lo); err != nil {
		return nil, err
	}
	hi, exclusive := strings.CutSuffix(hi, "!")
	if t.Largest, err = parseKey(hi); err != nil {
		return nil, err
	}
	t.SmallestSeq = min(t.Smallest.Seq(), t.Largest.Seq())
	t.LargestSeq = max(t.Smallest.Seq(), t.Largest.Seq())
	if exclusive {
		t.Largest.Trailer = ikey.RangeDelSentinel
	}
	for _, w := range words[1:] {
		var epoch byte
		switch {
		case scan(w, "seq=%d-%d", &t.SmallestSeq, &t.LargestSeq), scan(w, "size=%d", &t.Size), scan(w, "blob=%d", &t.OldestBlob):
		case scan(w, "epoch=%d", &epoch):
			t.Extra = []Field{{Tag: fieldEpoch, Value: []byte{epoch}}}
		default:
			return nil, fmt.Errorf("what is %q in %q?", w, s)
		}
	}
	return t, nil
}

func scan(s, format string, to ...any) bool {
	n, err := fmt.Sscanf(s, format, to...)
	return err == nil && n == len(to)
}

func parseKey(s string) (ikey.Key, error) {
	user, num, ok := strings.Cut(s, "#")
	var seq uint64
	if _, err := fmt.Sscan(num, &seq); !ok || err != nil {
		return ikey.Key{}, fmt.Errorf("want key#seq, got %q", s)
	}
	return ikey.Make([]byte(user), seq, ikey.KindSet), nil
}

// drawTable is the inverse of parseTable, without what is 100 bytes anyway.
func drawTable(t *Table) string {
	end := fmt.Sprintf("%s#%d", t.Largest.User, t.Largest.Seq())
	if t.Largest.IsExclusiveBound() {
		end = fmt.Sprintf("%s!", t.Largest.User)
	}
	return fmt.Sprintf("%d:%s#%d..%s", t.Num, t.Smallest.User, t.Smallest.Seq(), end)
}

func drawTables(tables []*Table) string {
	var words []string
	for _, t := range tables {
		words = append(words, drawTable(t))
	}
	return strings.Join(words, "  ")
}

// draw shows a version as the scripts do: a line for each level that is not empty.
func draw(v *Version) string {
	var b strings.Builder
	for level, tables := range v.Levels {
		if len(tables) > 0 {
			fmt.Fprintf(&b, "L%d  %s\n", level, drawTables(tables))
		}
	}
	for _, num := range v.blobNums() {
		blob := v.Blobs[num]
		fmt.Fprintf(&b, "blob %d  live %d of %d\n", num, blob.Count-blob.GarbageCount, blob.Count)
	}
	if b.Len() == 0 {
		return "empty\n"
	}
	return b.String()
}

// parseEdit reads one change a line: "add L1 TABLE", "del L1 NUM", "blob NUM count=N",
// "garbage NUM count=N", "log NUM", "seq N". Each blob is 10 bytes.
func parseEdit(input string) (*Edit, error) {
	e := &Edit{}
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		var level int
		var num, count uint64
		switch {
		case scan(line, "del L%d %d", &level, &num):
			e.Deleted = append(e.Deleted, DeletedTable{level, num})
		case scan(line, "blob %d count=%d", &num, &count):
			e.BlobsAdded = append(e.BlobsAdded, Blob{Num: num, Count: count, Bytes: 10 * count})
		case scan(line, "garbage %d count=%d", &num, &count):
			e.BlobGarbage = append(e.BlobGarbage, BlobGarbage{num, count, 10 * count})
		case scan(line, "log %d", &num):
			e.LogNum = ptr(num)
		case scan(line, "seq %d", &num):
			e.LastSeq = ptr(num)
		case scan(line, "add L%d", &level):
			t, err := parseTable(strings.SplitN(line, " ", 3)[2])
			if err != nil {
				return nil, err
			}
			e.Added = append(e.Added, AddedTable{level, t})
		default:
			return nil, fmt.Errorf("what is %q?", line)
		}
	}
	return e, nil
}

// edit is parseEdit for changes that a test gives, one an argument.
func edit(t *testing.T, changes ...string) *Edit {
	t.Helper()
	e, err := parseEdit(strings.Join(changes, "\n"))
	require.NoError(t, err)
	return e
}
