package perf

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// exampleRun is a run with every part filled in.
func exampleRun() Run {
	h := NewHistogram()
	for i := range 1000 {
		h.Record(time.Duration(i+1) * 10 * time.Microsecond)
	}
	put, get := h.Summary("put"), h.Summary("get")
	put.Curve, get.Curve = put.Curve[:3], nil
	from, to := processMark{counts: true}, processMark{counts: true}
	to.io.write = 2_530 << 20
	to.io.cancelled = 4096
	rows := []WriteRow{
		{"wal", -1, "", 1_001 << 20},
		{"flush", 0, "flush", 520 << 20},
		{"compaction", 5, "l0files", 610 << 20},
		{"compaction", 6, "size", 400 << 20},
		{"manifest", -1, "", 12 << 10},
	}
	settled := amplification(1_000<<20, rows, from, to, "ext4")
	to.io.write = 1_100 << 20
	end := amplification(1_000<<20, rows[:1], from, to, "ext4")
	writes := Phase{
		Workload: "fillrandom", Loop: "closed", Threads: 2, Ops: 1000, Elapsed: 12 * time.Second, Throughput: 83.3,
		Latency: []Latency{put},
		Settle:  3100 * time.Millisecond, AtEnd: &end, Settled: &settled,
		Stalls: StallStats{
			Count: 30, Total: 1200 * time.Millisecond, Longest: 80 * time.Millisecond, Worst: "debt",
			ByCause: map[string]time.Duration{"memtables": 800 * time.Millisecond, "debt": 400 * time.Millisecond},
		},
		Levels:  []LevelStats{{0, 2, 30 << 20, 2}, {1, 0, 0, 0}, {5, 4, 61 << 20, 1}, {6, 31, 480 << 20, 1}},
		Space:   Space{Peak: 900 << 20, Average: 500 << 20, End: 571 << 20, Tables: 541 << 20, Live: 1_000 << 20},
		Runs:    RunCount{Peak: 9, Average: 5.25, End: 4},
		Process: Process{PeakRSS: 310 << 20, CPU: 15 * time.Second, GCFraction: 0.012},
	}
	reads := Phase{
		Workload: "readmissing", Loop: "open", Threads: 2, Ops: 1000, Elapsed: time.Second, Throughput: 1000,
		Latency: []Latency{get},
		Reads: ReadStats{
			Gets: 1000, TablesProbed: 3800, FilterChecks: 3800, FilterNegatives: 3790, FilterFalsePositives: 10,
			BlockReads: 10, CacheHits: 90, CacheMisses: 10,
		},
		Space:    writes.Space,
		Runs:     writes.Runs,
		Problems: []string{"get \"1\": found, but it was never written"},
	}
	return Run{
		Name: "cambium/leveled", Config: DefaultConfig(), Phases: []Phase{writes, reads},
		Whole: Whole{Writes: settled, PeakRSS: 310 << 20},
	}
}

// point is a run of writeamp with one step.
func point(name string, settled, peak, factor float64) Run {
	engine, _, _ := strings.Cut(name, "/")
	space := Space{Live: 1000, End: int64(1000 * settled), Peak: int64(1000 * peak)}
	return Run{
		Name: name, Config: Config{Engine: engine},
		Phases: []Phase{{Workload: "overwrite", Space: space, Settled: &Amplification{Factor: factor}}},
	}
}

// TestText shows what people read. NO_COLOR does not matter: a buffer is no terminal.
func TestText(t *testing.T) {
	datadriven.RunTest(t, "testdata/text", func(t *testing.T, d *datadriven.TestData) string {
		var b bytes.Buffer
		text := NewText(&b)
		run := exampleRun()
		two := &Report{Runs: []Run{run, exampleRun(), exampleRun()}}
		two.Runs[1].Phases[0].Throughput = 90
		two.Runs[2].Phases[0].Throughput = 70
		other := exampleRun()
		other.Name = "cambium/tiered"
		other.Phases[0].Settled = &Amplification{}
		*other.Phases[0].Settled = amplification(1_000<<20, run.Phases[0].Settled.Rows[:2], processMark{}, processMark{}, "tmpfs")
		other.Whole.Writes = *other.Phases[0].Settled
		switch d.Cmd {
		case "run":
			text.Run(run)
		case "config":
			c := DefaultConfig()
			c.Rate, c.Memory, c.Memtable = 5000, 1<<30, 4<<20
			text.Header(DefaultConfig().Lines()[:2]...)
			text.Header(c.Lines()[:2]...)
		case "disagree":
			run.Whole.Writes.Total /= 2
			run.Whole.Writes.Kernel.Percent = 99.8
			run.Problems = append(run.Problems, run.Whole.Writes.Problem())
			text.Whole(run)
		case "not-counted":
			text.Whole(other)
		case "summary":
			text.Summary(&Report{Runs: two.Runs[:1]})
			text.Summary(two)
		case "writeamp":
			text.WriteAmp([]Run{run, other})
		case "verdicts":
			text.Verdicts(Verdicts([]Run{
				point("cambium/leveled", 1.05, 1.5, 5), point("cambium/tiered", 1.7, 1.9, 3.2), point("cambium/lazy", 1.1, 1.4, 3.6),
				point("pebble/leveled", 1.14, 1.45, 4.001), point("rocksdb/universal", 2, 3, 3.4), point("rocksdb/leveled", 1.04, 1.04, 9),
			}))
		case "dataset":
			text.DataSet(DataSet{Name: "x.jsonl", Pairs: 12000, Keys: 11000, Bytes: 5 << 20, Verified: true})
		case "doctor":
			text.Doctor(Diagnosis{Checks: []Check{
				{Name: "processors", Status: "ok", Value: "2 usable of 2"},
				{Name: "file system", Status: "warn", Value: "tmpfs", Advice: "choose a disk"},
				{Name: "writable", Status: "fail", Value: "permission denied"},
			}})
		default:
			t.Fatalf("unknown command %s", d.Cmd)
		}
		return b.String()
	})
}

func TestColourOnlyWhereWanted(t *testing.T) {
	text := &Text{w: &bytes.Buffer{}, color: true}
	require.Equal(t, "\x1b[31mx\x1b[0m", text.paint(red, "x"))
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.False(t, NewText(f).color, "a file is no terminal")
	require.Nil(t, NewProgress(f, "x", "y", 1))
	var none *Progress
	none.Add(1)
	none.At(1, 2)
	none.Finish()
}

// TestReportJSON pins the schema: a change of this file means a new schema number, unless it
// only adds fields.
func TestReportJSON(t *testing.T) {
	r := &Report{Schema: Schema, Kind: "run", Time: time.Unix(0, 0).UTC(), Config: DefaultConfig(), Runs: []Run{exampleRun()}}
	r.Runs[0].Phases[0].Series = []Point{{At: time.Second, Ops: 5}}
	r.Runs[0].DataSet = &DataSet{Name: "x"}
	var b bytes.Buffer
	require.NoError(t, r.WriteJSON(&b))
	datadriven.RunTest(t, "testdata/schema", func(*testing.T, *datadriven.TestData) string { return b.String() })

	var back Report
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&back))
	require.Equal(t, r, &back)

	err := r.Err()
	var check *CheckError
	require.ErrorAs(t, err, &check)
	require.Equal(t, []string{`readmissing: get "1": found, but it was never written`}, check.Problems)
}

func TestKernelCheck(t *testing.T) {
	at := func(ledger, kernel int64, fs string) Amplification {
		to := processMark{counts: true}
		to.io.write = kernel
		return amplification(100<<20, []WriteRow{{"wal", -1, "", ledger}}, processMark{counts: true}, to, fs)
	}
	for _, c := range []struct {
		ledger, kernel int64
		fs, want       string
	}{
		{100 << 20, 100 << 20, "ext4", ""},
		{100 << 20, 103 << 20, "ext4", ""},
		{100 << 20, 97 << 20, "ext4", ""},
		{100 << 20, 104 << 20, "ext4", "+4.0 %"},
		{100 << 20, 96 << 20, "ext4", "-4.0 %"},
		{1 << 20, 2 << 20, "ext4", ""},
		{100 << 20, 0, "tmpfs", ""},
		{100 << 20, 0, "oddfs", ""},
	} {
		got := at(c.ledger, c.kernel, c.fs).Problem()
		if c.want == "" {
			require.Empty(t, got)
		} else {
			require.Contains(t, got, c.want)
		}
	}
	require.Equal(t, "oddfs does not count writes", at(100<<20, 0, "oddfs").Kernel.Note)
	require.Contains(t, amplification(1, nil, processMark{}, processMark{}, "ext4").Kernel.Note, "does not show")
}

func TestProgressLine(t *testing.T) {
	now := time.Unix(100, 0)
	p := newProgress(&bytes.Buffer{}, "load", "pairs", 1000, func() time.Time { return now })
	require.Equal(t, "load  [----------------------------]   0 %  0 pairs", p.line())
	now = now.Add(2 * time.Second)
	p.Add(250)
	require.Equal(t, "load  [#######---------------------]  25 %  250 pairs  125/s  ETA 6s", p.line())
	p.At(50, 100)
	require.Equal(t, "load  [##############--------------]  50 %  250 pairs  125/s  ETA 2s", p.line())
	q := newProgress(&bytes.Buffer{}, "settling", "", 0, func() time.Time { return now })
	now = now.Add(3 * time.Second)
	require.Equal(t, "settling  3s", q.line())
	p.Finish()
	p.Finish()
	require.True(t, strings.HasPrefix(p.w.(*bytes.Buffer).String(), "\r\x1b[K"))
}

func TestQuantiles(t *testing.T) {
	h := NewHistogram()
	for i := 1; i <= 10000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	h.Record(2 * time.Hour)
	h.Record(-5)
	l := h.Summary("get")
	require.EqualValues(t, 10002, l.Count)
	for _, q := range []struct {
		got  time.Duration
		want float64
	}{{l.P50, 5e6}, {l.P90, 9e6}, {l.P99, 9.9e6}, {l.P999, 9.99e6}, {l.Max, 3.6e12}} {
		require.InEpsilon(t, q.want, float64(q.got), 0.002)
	}
}

func TestDoctorLooksAtThisMachine(t *testing.T) {
	dir := t.TempDir()
	d := Doctor(filepath.Join(dir, "not", "there"))
	require.NoError(t, d.Err())
	names := map[string]Check{}
	for _, c := range d.Checks {
		require.Contains(t, []string{"ok", "info", "warn", "fail"}, c.Status)
		require.NotEmpty(t, c.Value, c.Name)
		names[c.Name] = c
	}
	for _, want := range []string{"processors", "memory", "memory cgroup", "kernel", "program", "clock source", "file system", "RocksDB's tools"} {
		require.Contains(t, names, want)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays behind")
	require.ErrorContains(t, Diagnosis{Checks: []Check{{Name: "x", Status: "fail", Value: "y"}}}.Err(), "x: y")
}

func TestWorkDir(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir, done, err := WorkDir("")
	require.NoError(t, err)
	require.DirExists(t, dir)
	require.NoError(t, done())
	require.NoDirExists(t, dir)
	given := filepath.Join(t.TempDir(), "a", "b")
	dir, done, err = WorkDir(given)
	require.NoError(t, err)
	require.Equal(t, given, dir)
	require.NoError(t, done())
	require.DirExists(t, given)
	require.NoError(t, CheckSpace(given, 1))
	require.ErrorContains(t, CheckSpace(given, 1<<60), "use fewer --keys")
}

func TestOnlyOwnDirectoriesAreUsed(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // empty, and its own again
		_, done, err := WorkDir(dir)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "table"), nil, 0o666))
		require.NoError(t, done())
	}
	require.Zero(t, diskUsage(dir), "the mark takes no space that would be measured")
	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "notes"), nil, 0o666))
	_, _, err := WorkDir(foreign)
	var usage *UsageError
	require.ErrorAs(t, err, &usage)
	require.ErrorContains(t, err, "holds notes and was not made by kvbench")
	left, err := os.ReadDir(foreign)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing was written")
}
