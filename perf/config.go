package perf

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Config is what one measurement runs with. It is part of every report, so that a figure can be
// measured again.
type Config struct {
	Engine       string  `json:"engine"`
	Keys         int64   `json:"keys"`
	KeySize      int     `json:"key_size"`
	ValueSize    Size    `json:"value_size"`
	Compressible float64 `json:"compressible"` // 2.0: a good compressor halves the values
	Sync         string  `json:"sync"`         // "per-write", "per-second", "none"
	Compaction   string  `json:"compaction"`   // "leveled", "tiered", "lazy"
	Compression  string  `json:"compression"`  // "default", "none", "snappy", "zstd"
	Memory       Size    `json:"memory"`       // of the process; 0 leaves the engine's default
	Memtable     Size    `json:"memtable"`     // 0 leaves the engine's default
	// ValueThreshold is the length from which cambium keeps values apart, in blob files; 0 leaves
	// the engine's default.
	ValueThreshold Size `json:"value_threshold,omitempty"`
	// CompactionRate bounds what cambium's compactions write a second; 0 follows the load.
	CompactionRate Size `json:"compaction_rate,omitempty"`
	// MaxStall is how long a write of cambium waits for background work before it fails; 0 leaves the
	// engine's default.
	MaxStall time.Duration `json:"max_stall_ns,omitempty"`
	Threads  int           `json:"threads"`
	Rate     Rate          `json:"rate"`        // operations per second; 0 is max: closed loop; -1 is auto
	Duration time.Duration `json:"duration_ns"` // 0: by number of operations
	Ops      int64         `json:"ops"`         // of workloads other than fills; 0: as many as keys
	Seed     uint64        `json:"seed"`
}

// DefaultConfig is what kvbench runs without flags: a million keys of 16 bytes with values of
// 1000 bytes that compress to half, and no write waiting for the device.
func DefaultConfig() Config {
	return Config{
		Engine:       ownEngine,
		Keys:         1_000_000,
		KeySize:      16,
		ValueSize:    1000,
		Compressible: 2,
		Sync:         "none",
		Compaction:   "leveled",
		Compression:  "default",
		Threads:      1,
		Seed:         1,
	}
}

// maxKeys keeps all sums of bytes far within an int64.
const maxKeys = 1 << 36

// The values that the flags of the same name take.
var (
	syncNames        = []string{"per-write", "per-second", "none"}
	compactionNames  = []string{"leveled", "tiered", "lazy"}
	compressionNames = []string{"default", "none", "snappy", "zstd"}
)

// Validate returns a UsageError that names the first field out of its bounds.
func (c Config) Validate() error {
	switch {
	case c.Keys < 1 || c.Keys > maxKeys:
		return Usagef("--keys %d: want 1 to %d", c.Keys, int64(maxKeys))
	case c.KeySize < minKeySize(c.Keys) || c.KeySize > 1024:
		return Usagef("--key-size %d: %d distinct keys need %d to 1024 bytes", c.KeySize, c.Keys, minKeySize(c.Keys))
	case c.ValueSize < 0 || c.ValueSize > 10<<20:
		return Usagef("--value-size %s: want 0 to 10MiB", c.ValueSize)
	case !(c.Compressible >= 1 && c.Compressible <= 100):
		return Usagef("--compressible %g: want 1 (not at all) to 100", c.Compressible)
	case c.Threads < 1 || c.Threads > 4096:
		return Usagef("--threads %d: want 1 to 4096", c.Threads)
	case c.Rate < 0 && c.Rate != AutoRate:
		return Usagef("--rate %s: want operations per second, auto or max", c.Rate)
	case c.Duration < 0:
		return Usagef("--duration %s: want a positive time such as 30s", c.Duration)
	case c.Ops < 0:
		return Usagef("--ops %d: want a positive number", c.Ops)
	case c.Memtable < 0 || c.Memtable > 0 && c.Memtable < 64<<10:
		return Usagef("--memtable %s: want at least 64KiB", c.Memtable)
	case c.ValueThreshold < 0:
		return Usagef("--value-threshold %s: want at least 1", c.ValueThreshold)
	case c.CompactionRate < 0:
		return Usagef("--compaction-rate %s: want bytes a second such as 64MiB", c.CompactionRate)
	case c.MaxStall < 0:
		return Usagef("--max-stall %s: want a positive time such as 10s", c.MaxStall)
	case c.Memory != 0 && c.Memory < MinMemory:
		return Usagef("--memory %s: want at least %s", c.Memory, Size(MinMemory))
	}
	if err := oneOf("--sync", c.Sync, syncNames); err != nil {
		return err
	}
	if err := oneOf("--compaction", c.Compaction, compactionNames); err != nil {
		return err
	}
	return oneOf("--compression", c.Compression, compressionNames)
}

func oneOf(flag, got string, want []string) error {
	for _, w := range want {
		if got == w {
			return nil
		}
	}
	return Usagef("%s %q is not available: it takes %s", flag, got, strings.Join(want, ", "))
}

// MinMemory is the least that --memory takes.
const MinMemory = 96 << 20

// EngineBudget is what an engine may use of a process that is limited to memory bytes: an
// eighth of it, and at least 64 MiB, is left to the program's text and stacks, the benchmark's
// own histograms and values, and the garbage collector's headroom. 0 stays 0: the engine's own
// default.
func EngineBudget(memory Size) int64 {
	if memory == 0 {
		return 0
	}
	return int64(memory - max(64<<20, memory/8))
}

// LiveBytes is the size of all keys and values once every key is present.
func (c Config) LiveBytes() int64 {
	return c.Keys * (int64(c.KeySize) + int64(c.ValueSize))
}

// name is how reports call the engine and what it makes of the policy.
func (c Config) name() string {
	if model := modelOf(c.Engine, c.Compaction); model != "" {
		return c.Engine + "/" + model
	}
	return c.Engine + "/" + c.Compaction
}

// Lines describes the configuration for people.
func (c Config) Lines() []string {
	rate := "as fast as it goes (closed loop)"
	switch {
	case c.Rate == AutoRate:
		rate = "as fast as it goes (closed loop), then at 70 % of that (open loop)"
	case c.Rate > 0:
		rate = c.Rate.String() + " operations/s (open loop)"
	}
	memory := "engine's default"
	if c.Memory > 0 {
		memory = fmt.Sprintf("%s, of which the engine %s", c.Memory, Bytes(EngineBudget(c.Memory)))
	}
	memtable := "engine's default"
	if c.Memtable > 0 {
		memtable = c.Memtable.String()
	}
	if c.ValueThreshold > 0 {
		memtable += ", values apart from " + c.ValueThreshold.String()
	}
	if c.CompactionRate > 0 {
		memtable += ", compaction at most " + c.CompactionRate.String() + "/s"
	}
	if c.MaxStall > 0 {
		memtable += ", writes wait at most " + c.MaxStall.String()
	}
	return []string{
		fmt.Sprintf("%s: %s keys of %d B, values of %s, compressible %.1f:1 (%s in all)",
			c.Engine, Count(c.Keys), c.KeySize, Bytes(int64(c.ValueSize)), c.Compressible, Bytes(c.LiveBytes())),
		fmt.Sprintf("sync %s, compaction %s, compression %s, memory %s, memtable %s",
			c.Sync, c.Compaction, c.Compression, memory, memtable),
		fmt.Sprintf("%d thread(s) on %d CPUs, %s, seed %d", c.Threads, runtime.GOMAXPROCS(0), rate, c.Seed),
	}
}

// Rate is a number of operations per second; 0 means as fast as possible. It is a flag value.
type Rate float64

// AutoRate runs each workload that is not a fill twice: as fast as possible, which is its
// throughput, and then a third as many operations at 70 % of that rate, begun on time whatever
// the engine does, which is its latency.
const AutoRate Rate = -1

// openShare is how much of its own throughput an engine is offered.
const openShare = 0.7

// Set reads a positive number, "auto" or "max".
func (r *Rate) Set(text string) error {
	switch text {
	case "max":
		*r = 0
		return nil
	case "auto":
		*r = AutoRate
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > 0) || math.IsInf(f, 0) {
		return Usagef("rate %q: want operations per second, auto or max", text)
	}
	*r = Rate(f)
	return nil
}

// Type names the kind of value in help texts.
func (r *Rate) Type() string { return "rate" }

// String prints the rate so that Set reads it back.
func (r Rate) String() string {
	switch r {
	case 0:
		return "max"
	case AutoRate:
		return "auto"
	}
	return strconv.FormatFloat(float64(r), 'f', -1, 64)
}
