package perf

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHTMLIsOneFileThatAsksForNothing(t *testing.T) {
	r := &Report{Schema: Schema, Kind: "run", Time: time.Unix(0, 0).UTC(), Runs: []Run{exampleRun()}}
	r.Command = []string{"kvbench", "</script><script>alert('x')", "{{.JS}}"}
	var b strings.Builder
	require.NoError(t, r.WriteHTML(&b))
	page := b.String()
	require.NotContains(t, page, "</script><script>alert")
	require.Equal(t, 2, strings.Count(page, "</script>"))
	require.NotRegexp(t, `(?i)https?://|//[a-z0-9-]+\.[a-z]{2,}/|@import|url\(`, page)
	require.Contains(t, page, "default-src 'none'")

	data := regexp.MustCompile(`(?s)<script type="application/json" id="report">(.*?)</script>`).FindStringSubmatch(page)
	var got Report
	require.NoError(t, json.Unmarshal([]byte(data[1]), &got))
	require.Equal(t, r.Command, got.Command)
	require.Equal(t, r.Runs[0].Phases[0].Settled, got.Runs[0].Phases[0].Settled)
}

// The script reads fields by the names that they have in JSON.
func TestHTMLScriptKnowsTheSchema(t *testing.T) {
	run := exampleRun()
	run.Phases[0].Series = []Point{{Levels: []int64{1}}}
	run.Phases[0].Jobs = []Job{{Reason: "size"}}
	run.Phases[0].Unsaid = 1
	data, err := json.Marshal(run)
	require.NoError(t, err)
	for _, name := range []string{
		"phases", "series", "at_ns", "ops", "stalled_ns", "longest_ns", "disk", "levels", "jobs", "jobs_left_out", "took_ns", "read", "written",
		"elapsed_ns", "settle_ns", "settled", "user_bytes", "rows", "cause", "level", "bytes", "factor", "kernel", "comparable",
		"latency", "curve", "share", "ns", "p99_9_ns", "throughput", "space", "live", "peak", "peak_rss", "round",
	} {
		require.Contains(t, string(data), `"`+name+`"`)
		require.Regexp(t, `\.`+name+`\b`, htmlScript, "the script does not draw %s", name)
	}
	data, err = json.Marshal(Verdicts([]Run{point("cambium/lazy", 1, 1, 1), point("pebble/leveled", 1, 1, 2)}))
	require.NoError(t, err)
	for _, name := range []string{"peer", "step", "moment", "space", "factor", "own", "own_space", "own_factor", "ratio", "met"} {
		require.Contains(t, string(data), `"`+name+`"`)
		require.Regexp(t, `\bv\.`+name+`\b`, htmlScript, "the script does not draw %s", name)
	}
}
