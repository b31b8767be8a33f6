package perf

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// ioCounts are the kernel's counts of bytes that the process caused to move to and from
// devices (proc_pid_io(5)).
type ioCounts struct{ read, write, cancelled int64 }

// Process says what a phase cost the process.
type Process struct {
	PeakRSS    int64         `json:"peak_rss"` // bytes; 0 where the system does not tell
	CPU        time.Duration `json:"cpu_ns"`
	GCFraction float64       `json:"gc_fraction"` // of the CPU time spent in Go code
	ReadBytes  int64         `json:"read_bytes"`  // from devices, by the kernel's count
}

// processMark is the state of the process's counters at one moment.
type processMark struct {
	cpu      time.Duration
	gc, busy float64 // CPU seconds
	io       ioCounts
	counts   bool
}

// markProcess reads the counters. It runs a collection, since the runtime settles its CPU
// accounts only then.
func markProcess() processMark {
	runtime.GC()
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/cpu/classes/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	v := make([]float64, len(samples))
	for i, s := range samples {
		if s.Value.Kind() == metrics.KindFloat64 {
			v[i] = s.Value.Float64()
		}
	}
	m := processMark{cpu: cpuTime(), gc: v[0] - v[1], busy: v[2] - v[3]}
	m.io, m.counts = readIO()
	return m
}

func (m processMark) since(earlier processMark) Process {
	p := Process{
		PeakRSS:   peakRSS(),
		CPU:       m.cpu - earlier.cpu,
		ReadBytes: m.io.read - earlier.io.read,
	}
	if busy := m.busy - earlier.busy; busy > 0 {
		p.GCFraction = max(0, m.gc-earlier.gc) / busy
	}
	return p
}

// clockCost is how long reading the clock takes, which every measured latency contains.
func clockCost() time.Duration {
	const n = 2000
	begun := time.Now()
	for range n {
		_ = time.Now()
	}
	return time.Since(begun) / n
}
