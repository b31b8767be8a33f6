package perf

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// WriteBenchstat writes a line for each workload of each run in the format of Go's benchmarks
// (golang.org/design/14313-benchmark-format), for tools such as benchstat. Figures that were not
// measured are left out.
func (r *Report) WriteBenchstat(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "goos: %s\ngoarch: %s\npkg: kvbench/%s\n", r.Machine.OS, r.Machine.Arch, r.Kind)
	for _, run := range r.Runs {
		seen := map[string]int{}
		for _, p := range run.Phases {
			if p.Ops == 0 {
				continue
			}
			name := benchmarkName(p.Workload)
			if seen[name]++; seen[name] > 1 {
				name += fmt.Sprintf("/again=%d", seen[name]-1)
			}
			fmt.Fprintf(&b, "Benchmark%s/engine=%s/compaction=%s-%d %d %.1f ns/op %.1f ops/s",
				name, run.Config.Engine, run.Config.Compaction, r.Machine.CPUs, p.Ops, float64(p.Elapsed)/float64(p.Ops), p.Throughput)
			for _, l := range p.Latency {
				fmt.Fprintf(&b, " %d %s-p50-ns %d %s-p99-ns %d %s-p99.9-ns %d %s-max-ns",
					l.P50, l.Op, l.P99, l.Op, l.P999, l.Op, l.Max, l.Op)
			}
			for _, name := range []string{"wa", "space", "rss"} {
				if v, ok := metricNamed(name).value(p); ok {
					fmt.Fprintf(&b, " %s %s", strconv.FormatFloat(v, 'f', -1, 64), map[string]string{"wa": "write-amp", "space": "space-amp", "rss": "rss-bytes"}[name])
				}
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// benchmarkName makes a benchmark's name: "ycsb-a" becomes "YcsbA".
func benchmarkName(workload string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(workload, func(r rune) bool { return r == '-' || r == ' ' || r == '/' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
