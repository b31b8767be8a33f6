package client

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// TestCourse runs testdata/course: a line of events, and behind each what is done next.
//
//	go candidates=N budget=N
//	EVENT..
func TestCourse(t *testing.T) {
	verdicts := map[string]verdict{"good": good, "failed": failed, "unknown": unknown, "overloaded": overloaded, "refused": refused, "settled": settled, "forgotten": forgotten}
	datadriven.RunTest(t, "testdata/course", func(t *testing.T, d *datadriven.TestData) string {
		candidates, budget := 3, 9
		d.MaybeScanArgs(t, "candidates", &candidates)
		d.MaybeScanArgs(t, "budget", &budget)
		c := course{candidates: candidates, left: maxTries, extra: func() bool { budget--; return budget >= 0 }}
		var b strings.Builder
		show := func(event string, s step) {
			what := [...]string{"wait", "send", "pause", "won", "over"}[s.do]
			switch s.do {
			case send:
				what += fmt.Sprintf(" to %d", s.to)
			case over:
				what += " " + c.outcome().String()
			}
			fmt.Fprintf(&b, "%-11s %s\n", event, what)
		}
		show("", c.start())
		for _, event := range strings.Fields(d.Input) {
			var s step
			switch event {
			case "sent":
				s = c.sent()
			case "unsent":
				s = c.unsent(false)
			case "withdrawn":
				s = c.withdrawn()
			case "lost":
				s = c.lost()
			case "impatient":
				s = c.impatient(false)
			case "silent":
				s = c.impatient(true)
			case "rested":
				s = c.rested()
			case "deadline":
				s = step{do: over}
			default:
				v, ok := verdicts[event]
				require.True(t, ok, "%s: no event %s", d.Pos, event)
				s = c.answered(v, time.Millisecond)
			}
			show(event, s)
		}
		return b.String()
	})
}
