package compaction

import (
	"fmt"
	"math"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"
)

// deepOptions are those of an engine with memtables of 4 MiB, of which it flushes so many
// together, divided by scale.
func deepOptions(scale, merged int64) Options {
	return Options{BaseBytes: 5 << 20 * merged / scale, TargetFileBytes: 2 << 20 / scale}
}

// deepShape is kvbench writeamp --keys 2000000 --value-size 500 --memtable 4MiB --compression
// none, divided by scale. A table takes the entries of merged memtables.
func deepShape(scale, merged int) shapeUnderTest {
	return shapeUnderTest{
		keys: 2_000_000 / scale, user: 516, entry: 530, memtable: 7400 * merged / scale,
		lead: 4, threads: 1, stopRuns: 16, wal: 1.05,
	}
}

// predicted is the write amplification of overwriting uniformly for ever, log and flush
// included. Since what is swept in turn is at twice its average when its turn comes:
//
//   - a stack of n runs in h levels writes each entry w times among them where C(h+w, h) covers
//     n, and each byte that reaches the last level, when it holds x times its size above it,
//     rewrites 1/x bytes there; x is twice what MaxSpace allows on average;
//   - a level T times as large as the one above it rewrites T/2 bytes for each, and 1 for
//     itself unless it is the last; and L0, which covers all keys at once, all of its base.
func predicted(p Policy, s shapeUnderTest) float64 {
	live, table := float64(s.keys)*float64(s.entry), float64(s.memtable)*float64(s.entry)
	amp := s.wal + 1
	switch p := p.(type) {
	case *stack:
		x := 2 * (p.o.MaxSpace - 1)
		const levels = 5
		run := float64(max(p.o.L0Trigger, p.o.MaxRuns-levels-1)) * table
		n := x * live / run
		w, covered := 1.0, 1.0
		for ; covered < n; w++ {
			next := covered * (levels + w) / w
			if next >= n {
				w += (n - covered) / (next - covered)
				break
			}
			covered = next
		}
		return amp + w + 1/x
	case *leveled:
		base := min(float64(p.o.BaseBytes), live)
		amp += 1 + base/(float64(p.o.L0Trigger)*table)
		steps := math.Max(1, math.Ceil(math.Log(live/base)/math.Log(float64(p.o.Ratio))-1e-9))
		return amp + (steps-1)*(1+math.Pow(live/base, 1/steps)/2) + math.Pow(live/base, 1/steps)/2
	}
	panic("unknown policy")
}

// TestShapes holds the policies to what they promise, at a tenth of the deep shape: a tree as
// deep, with smaller tables.
func TestShapes(t *testing.T) {
	for _, c := range []struct {
		name                    string
		merged                  int
		load, overwrite         float64
		spacePeak, spaceSettled float64
		runs                    float64
		runsPeak                int
	}{
		{"leveled", 4, 7.5, 7.6, 1.9, 1.25, 11, 20},
		{"leveled", 16, 5.5, 6.2, 1.8, 1.25, 6, 8},
		{"tiered", 1, 5.4, 6.6, 1.85, 1.65, 12.5, 16},
		{"tiered", 4, 4.1, 4.8, 1.85, 1.65, 12.6, 16},
		{"tiered", 16, 3.1, 3.8, 1.85, 1.65, 8.5, 16},
		{"lazy", 1, 7.0, 7.7, 2.0, 1.23, 11.5, 16},
		{"lazy", 4, 6.2, 6.75, 1.6, 1.23, 9.5, 12},
		{"lazy", 16, 4.6, 6.7, 1.8, 1.23, 6, 10},
	} {
		t.Run(fmt.Sprintf("%s/%d", c.name, c.merged), func(t *testing.T) {
			const scale = 10
			s := deepShape(scale, c.merged)
			if c.name == "leveled" {
				s.stopRuns = 36
			}
			w := newWorld(makers[c.name](deepOptions(scale, int64(c.merged))), s)
			load, overwrite := w.loadAndOverwrite(rand.New(rand.NewSource(1)))
			t.Logf("predicted %.2f\n%s\n%s", predicted(w.policy, s), load, overwrite)
			require.Less(t, load.amp, c.load)
			require.Less(t, overwrite.amp, c.overwrite)
			require.Less(t, overwrite.spacePeak, c.spacePeak)
			require.Less(t, overwrite.spaceSettled, c.spaceSettled)
			require.Less(t, load.spaceSettled, 1.06)
			require.Less(t, max(load.runs, overwrite.runs), c.runs)
			require.LessOrEqual(t, max(load.runsPeak, overwrite.runsPeak), c.runsPeak)
		})
	}
}

// TestShapesBehind writes faster than compaction gets on, as a benchmark does: what a stack merges
// once the writes are over is what space asks for, and not levels that no run needs.
func TestShapesBehind(t *testing.T) {
	for name, overwrite := range map[string]float64{"tiered": 3.9, "lazy": 4.45} {
		t.Run(name, func(t *testing.T) {
			const scale = 4
			s := deepShape(scale, 16)
			s.lead = 1.2
			w := newWorld(makers[name](deepOptions(scale, 16)), s)
			_, over := w.loadAndOverwrite(rand.New(rand.NewSource(1)))
			t.Log(over)
			require.Less(t, over.amp, overwrite)
		})
	}
}

// BenchmarkShapes is the full deep shape: go test -run - -bench Shapes -benchtime 1x -v.
func BenchmarkShapes(b *testing.B) {
	for _, name := range []string{"leveled", "tiered", "lazy"} {
		for _, merged := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%s/%d", name, merged), func(b *testing.B) {
				for range b.N {
					s := deepShape(1, merged)
					if name == "leveled" {
						s.stopRuns = 36
					}
					w := newWorld(makers[name](deepOptions(1, int64(merged))), s)
					load, overwrite := w.loadAndOverwrite(rand.New(rand.NewSource(1)))
					b.Logf("%s\n%s", load, overwrite)
					b.ReportMetric(load.amp, "load-amp")
					b.ReportMetric(overwrite.amp, "overwrite-amp")
					b.ReportMetric(predicted(w.policy, s), "predicted-amp")
					b.ReportMetric(overwrite.spacePeak, "peak-space")
					b.ReportMetric(overwrite.spaceSettled, "settled-space")
					b.ReportMetric(overwrite.runs, "runs")
				}
			})
		}
	}
}
