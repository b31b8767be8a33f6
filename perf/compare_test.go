package perf

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func writeReport(t *testing.T, r *Report) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.json")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, r.WriteJSON(f))
	require.NoError(t, f.Close())
	return path
}

func TestCompareFailsWhereALimitBreaks(t *testing.T) {
	base := &Report{Schema: Schema, Kind: "run", Runs: threeEngines()[:1]}
	now := &Report{Schema: Schema, Kind: "run", Runs: threeEngines()[:1]}
	now.Runs[0].Phases[0].Throughput = 1100
	now.Runs[0].Phases[0].Latency[0].P99 = 44 * time.Microsecond
	a, b := writeReport(t, base), writeReport(t, now)
	for limits, fails := range map[string]bool{
		"":                               false,
		"p99>+10%":                       false, // exactly 10 %
		"p99>+9.9%":                      true,
		"p99 > +50%, throughput < -5%":   true,
		"throughput<-10%":                false,
		"p99>43us":                       true,
		"p99>45us":                       false,
		"throughput<1100":                false,
		"throughput<1101":                true,
		"p99<+0%":                        false,
		"throughput>-100%,mean>+100000%": true,
	} {
		var out bytes.Buffer
		err := CompareFiles(&out, a, b, limits)
		require.Equal(t, fails, err != nil, "%s: %v", limits, err)
		require.Contains(t, out.String(), "cambium/leveled fillrandom")
		require.Contains(t, out.String(), "+10.0 %")
		if fails {
			var check *CheckError
			require.ErrorAs(t, err, &check)
			require.Contains(t, out.String(), "FAILS")
		}
	}
	for limits, why := range map[string]string{
		"p99":         "there is no < or >",
		"p98>+1%":     "there is no figure \"p98\" but throughput, mean,",
		"p99>10%":     "needs its sign",
		"p99>fast":    "neither a percentage nor",
		"p99>":        "neither",
		"p99>%":       "neither",
		"wa>+1%":      "no such figure in common",
		"p99>+1%,x>2": "there is no figure",
	} {
		var usage *UsageError
		err := CompareFiles(&bytes.Buffer{}, a, b, limits)
		require.ErrorAs(t, err, &usage, limits)
		require.ErrorContains(t, err, why)
	}
}

func TestCompareSaysWhatDiffers(t *testing.T) {
	base := &Report{Schema: Schema, Runs: threeEngines()[:2]}
	now := &Report{Schema: Schema, Runs: threeEngines()[:1], Config: Config{Keys: 5}}
	now.Runs[0].Phases[0].StreamHash = "abc"
	now.Runs[0].Phases = append(now.Runs[0].Phases, now.Runs[0].Phases[0])
	c, err := Compare(base, now, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"keys differ: 0 and 5", "the operations of fillrandom differ:  and abc"}, c.Notes)
	require.Contains(t, c.Missing, "pebble/leveled fillrandom p99: only in the base")
	require.Contains(t, c.Missing, "cambium/leveled fillrandom (2) p99: only in the new one")
}

func TestReadReportRefusesOthers(t *testing.T) {
	_, err := ReadReport(writeFile(t, "a.json", `{"schema": "cambium.kvbench/9"}`))
	require.ErrorContains(t, err, `has the schema "cambium.kvbench/9", want "cambium.kvbench/1"`)
	_, err = ReadReport(writeFile(t, "a.json", `nothing`))
	require.ErrorContains(t, err, "no report of kvbench")
	_, err = ReadReport("absent.json")
	require.Error(t, err)
}
