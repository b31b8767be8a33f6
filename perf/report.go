package perf

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sort"
	"time"
)

// Schema names the JSON form of Report. Fields may be added under one number; a change of
// meaning or a removal raises it.
const Schema = "cambium.kvbench/1"

// Report is the result of one kvbench command.
type Report struct {
	Schema  string    `json:"schema"`
	Kind    string    `json:"kind"` // "run", "ycsb", "load", "writeamp", "scenario"
	Time    time.Time `json:"time"`
	Command []string  `json:"command,omitempty"`
	Build   Build     `json:"build"`
	Machine Machine   `json:"machine"`
	Config  Config    `json:"config"`
	Runs    []Run     `json:"runs"`

	Fairness []Condition `json:"fairness,omitempty"` // where engines of others were measured
	Ratios   []Ratio     `json:"ratios,omitempty"`   // to the best peer of the same round
	Verdicts []Verdict   `json:"verdicts,omitempty"` // of writeamp, where engines of others were measured
}

// Build says which program measured.
type Build struct {
	Go       string `json:"go"`
	Cgo      bool   `json:"cgo"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // the work tree had changes
}

// Machine says where it was measured.
type Machine struct {
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	CPUs       int    `json:"cpus"` // that the program may use
	CPU        string `json:"cpu,omitempty"`
	FileSystem string `json:"file_system"`
}

// Run is one engine going through a sequence of phases in one directory.
type Run struct {
	Name     string   `json:"name"`  // engine/policy
	Round    int      `json:"round"` // from 0
	Config   Config   `json:"config"`
	Phases   []Phase  `json:"phases"`
	Whole    Whole    `json:"whole"`
	DataSet  *DataSet `json:"data_set,omitempty"` // of load
	Problems []string `json:"problems,omitempty"` // what makes the result wrong

	Scenario string    `json:"scenario,omitempty"`
	Findings []Finding `json:"findings,omitempty"` // of a scenario

	Isolation *Isolation `json:"isolation,omitempty"`
}

// DataSet describes what load loaded.
type DataSet struct {
	Name     string `json:"name"`
	Pairs    int64  `json:"pairs"`
	Keys     int64  `json:"keys"`     // distinct ones
	Bytes    int64  `json:"bytes"`    // of the distinct keys and their last values
	Verified bool   `json:"verified"` // every byte came back as it was loaded
}

// Whole sums a run up, from before the engine was opened to after its last phase.
type Whole struct {
	Writes  Amplification `json:"writes"`
	PeakRSS int64         `json:"peak_rss"`
}

// Phase is one workload.
type Phase struct {
	Workload   string        `json:"workload"`
	Slowest    time.Duration `json:"slowest_ns,omitempty"` // operation, from its actual start in an open loop too
	Loop       string        `json:"loop"`                 // "open": latency from the intended start; "closed"
	Rate       float64       `json:"rate,omitempty"`       // of an open loop: operations offered per second
	StreamHash string        `json:"stream_hash,omitempty"`
	Threads    int           `json:"threads"`
	Ops        int64         `json:"ops"` // of the workload itself, without those beside it
	Elapsed    time.Duration `json:"elapsed_ns"`
	Throughput float64       `json:"throughput"` // Ops per second
	Latency    []Latency     `json:"latency"`
	Settle     time.Duration `json:"settle_ns"` // after the last operation until nothing is left to do

	AtEnd   *Amplification `json:"at_end,omitempty"`  // after the last operation
	Settled *Amplification `json:"settled,omitempty"` // after settling; both count from the phase's start

	FlushBytes int64 `json:"flush_bytes,omitempty"` // memory that a flush takes together, where the engine says so

	Predicted *Prediction `json:"predicted,omitempty"` // of writeamp: what the policy's formula says about Settled

	Stalls  StallStats   `json:"stalls"`
	Reads   ReadStats    `json:"reads"`
	Levels  []LevelStats `json:"levels"` // at the end
	Space   Space        `json:"space"`
	Runs    RunCount     `json:"runs"`
	Process Process      `json:"process"`
	Series  []Point      `json:"series"`                  // about one a second, while it settles too
	Jobs    []Job        `json:"jobs,omitempty"`          // background work that ended in this phase, where the engine tells
	Unsaid  int          `json:"jobs_left_out,omitempty"` // the shortest of very many

	Problems []string `json:"problems,omitempty"`
}

// Space is what the directory took on the device, sampled five times a second.
type Space struct {
	Peak    int64 `json:"peak"`
	Average int64 `json:"average"`
	End     int64 `json:"end"`    // settled, where the phase settles
	Tables  int64 `json:"tables"` // of End: the tree; the rest are logs, some of them empty and kept
	Live    int64 `json:"live"`   // keys and values that can be read at the end
}

// RunCount is how many sorted runs the tree had, sampled five times a second.
type RunCount struct {
	Peak    int     `json:"peak"`
	Average float64 `json:"average"`
	End     int     `json:"end"`
}

// Point is one moment of a phase.
type Point struct {
	At      time.Duration `json:"at_ns"` // since the phase began
	Ops     int64         `json:"ops"`   // performed so far
	Longest time.Duration `json:"longest_ns"`
	Disk    int64         `json:"disk"`
	Runs    int           `json:"runs"`
	Debt    int64         `json:"debt"`
	Stalled time.Duration `json:"stalled_ns"`       // so far
	Levels  []int64       `json:"levels,omitempty"` // bytes of each level, from L0
}

// Job is one flush or compaction.
type Job struct {
	Kind   string        `json:"kind"` // "flush", "compaction", "move"
	Reason string        `json:"reason,omitempty"`
	From   int           `json:"from"` // level; -1 is memory
	To     int           `json:"to"`
	At     time.Duration `json:"at_ns"` // since the phase began; negative: before
	Took   time.Duration `json:"took_ns"`
	Read   int64         `json:"read"`    // bytes
	Wrote  int64         `json:"written"` // bytes
}

// NewReport starts a report about dir with everything but the runs.
func NewReport(kind string, command []string, dir string, cfg Config, now time.Time) *Report {
	r := &Report{Schema: Schema, Kind: kind, Time: now.UTC().Truncate(time.Second), Command: command, Config: cfg}
	r.Build.Go = runtime.Version()
	r.Build.Cgo = cgoEnabled
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				r.Build.Revision = s.Value
			case "vcs.modified":
				r.Build.Modified = s.Value == "true"
			}
		}
	}
	r.Machine = Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), CPU: cpuModel()}
	r.Machine.FileSystem, _, _ = fileSystem(existingParent(dir))
	return r
}

// existingParent is dir, or the nearest directory above it that exists.
func existingParent(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// WriteJSON writes the report, indented.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Err returns a CheckError with the problems of all runs and phases, or nil.
func (r *Report) Err() error {
	var all []string
	for _, run := range r.Runs {
		all = append(all, run.problems()...)
	}
	if all == nil {
		return nil
	}
	return &CheckError{Problems: all}
}

func (r Run) problems() []string {
	all := append([]string(nil), r.Problems...)
	for _, p := range r.Phases {
		for _, problem := range p.Problems {
			all = append(all, p.Workload+": "+problem)
		}
	}
	return all
}

// Median returns the phase of the given place whose throughput is the median over all runs, and
// the lowest and highest throughput.
func (r *Report) Median(place int) (median Phase, low, high float64) {
	var phases []Phase
	for _, run := range r.Runs {
		if place < len(run.Phases) {
			phases = append(phases, run.Phases[place])
		}
	}
	if len(phases) == 0 {
		return Phase{}, 0, 0
	}
	sort.SliceStable(phases, func(i, j int) bool { return phases[i].Throughput < phases[j].Throughput })
	return phases[len(phases)/2], phases[0].Throughput, phases[len(phases)-1].Throughput
}

// Only returns the report with the runs of one engine.
func (r *Report) Only(engine string) *Report {
	one := *r
	one.Runs = nil
	for _, run := range r.Runs {
		if run.Config.Engine == engine {
			one.Runs = append(one.Runs, run)
		}
	}
	return &one
}
