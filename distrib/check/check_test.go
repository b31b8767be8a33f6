package check

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// TestEventual runs histories of one key, a line for each step:
//
//	NAME ok|failed|unknown [READ..]   a write, and the siblings that its writer had read
//	read [NAME..]                     what a read returned
//	end [NAME..]                      the siblings in the end
func TestEventual(t *testing.T) {
	datadriven.RunTest(t, "testdata/check", func(t *testing.T, d *datadriven.TestData) string {
		var h History
		final := Final{}
		for line := range strings.Lines(d.Input) {
			words := strings.Fields(line)
			switch words[0] {
			case "read":
				h.Reads = append(h.Reads, Read{"k", named(words[1:])})
			case "end":
				final["k"] = named(words[1:])
			default:
				outcome := map[string]Outcome{"ok": OK, "failed": Failed, "unknown": Unknown}
				require.Contains(t, outcome, words[1])
				h.Writes = append(h.Writes, Write{"k", named(words[:1])[0], named(words[2:]), outcome[words[1]]})
			}
		}
		var b strings.Builder
		for _, v := range Eventual(h, final) {
			fmt.Fprintf(&b, "%s %s\n", strings.TrimRight(string(v.Op[:]), "\x00"), v.What)
		}
		if b.Len() == 0 {
			return "right\n"
		}
		return b.String()
	})
}

func named(names []string) (ops []distrib.OpID) {
	for _, n := range names {
		var op distrib.OpID
		copy(op[:], n)
		ops = append(ops, op)
	}
	return ops
}

func TestEventualKeepsKeysApart(t *testing.T) {
	a := named([]string{"a"})
	h := History{Writes: []Write{{"k", a[0], nil, OK}}}
	require.Empty(t, Eventual(h, Final{"k": a}))
	require.Len(t, Eventual(h, Final{"j": a}), 2, "lost in k, foreign in j")
}
