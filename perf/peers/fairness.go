package peers

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/perf"
)

// Setting is one condition of a measurement in an engine's own words.
type Setting struct {
	Name  string `json:"name"` // one of the rows of Fairness
	Value string `json:"value"`
}

// fairnessRows are the conditions that every engine states, in order.
var fairnessRows = []string{
	"version", "written in", "sync", "budget", "memtables", "block cache", "filters and indexes", "filter",
	"compression", "large values", "files", "log", "compaction", "first level", "table size", "background", "stops writes", "not measured",
}

// settings tells the conditions of each engine. Files of engines that need a system library add
// theirs.
var settings = map[string]func(cfg perf.Config) []Setting{
	"cambium":            cambiumSettings,
	"pebble":             pebbleVariant{}.settings,
	"pebble-filtered":    pebbleVariant{filtered: true}.settings,
	"pebble-unstopped":   pebbleVariant{unstopped: true}.settings,
	"pebble-same-memory": pebbleVariant{sameMemory: true}.settings,
	"badger":             badgerSettings,
}

// Fairness is the table of conditions under which engines, named as --engine does, are measured
// with cfg. An unknown engine has empty cells.
func Fairness(cfg perf.Config, engines []string) []perf.Condition {
	rows := make([]perf.Condition, len(fairnessRows))
	for i, name := range fairnessRows {
		rows[i] = perf.Condition{Name: name, Values: map[string]string{}}
	}
	for _, engine := range engines {
		tell, ok := settings[engine]
		if !ok {
			continue
		}
		for _, s := range tell(cfg) {
			if i := slices.Index(fairnessRows, s.Name); i >= 0 {
				rows[i].Values[engine] = s.Value
			}
		}
	}
	return rows
}

// common are the conditions that a share makes equal.
func common(s share) []Setting {
	memtables := fmt.Sprintf("%d of %s", s.memtables, perf.Bytes(s.memtable))
	if s.together > 1 {
		memtables += fmt.Sprintf(", %d of them make one table", s.together)
	}
	return []Setting{
		{"budget", perf.Bytes(s.budget)},
		{"memtables", memtables},
		{"block cache", perf.Bytes(s.cache)},
		{"first level", perf.Bytes(s.firstLevel)},
	}
}

// guarantee says what a policy promises for engines that wait the same way as cambium.
func guarantee(sync, perSecond, none string) Setting {
	switch sync {
	case "per-write":
		return Setting{"sync", "each write is on the device when it returns"}
	case "per-second":
		return Setting{"sync", perSecond}
	}
	return Setting{"sync", none}
}

func cambiumSettings(cfg perf.Config) []Setting {
	s := sameMemoryOf(cfg)
	memory := perf.Bytes(s.budget)
	if cfg.Memory == 0 {
		memory = "its default: a quarter of the memory, at most 1 GiB"
	}
	log := "direct I/O, preallocated and recycled"
	if cfg.Sync != "per-write" && (cfg.Compression == "default" || cfg.Compression == "zstd") {
		log += ", compressed with zstd"
	}
	return []Setting{
		{"version", "this one"},
		{"written in", "Go"},
		guarantee(cfg.Sync, "synced every 500 ms; a write waits while 1 s is unsynced", "the log is written at latest after 1 MiB or 1 s"),
		{"budget", memory},
		{"memtables", fmt.Sprintf("%d of %s, %d of them make one table", s.memtables, perf.Bytes(s.memtable), s.together)},
		{"block cache", "what memtables and buffers leave of the budget"},
		{"filters and indexes", "in the cache, kept"},
		{"filter", "Bloom, 10 bits a key, every level"},
		{"compression", classOf(cfg, "snappy; zstd 3 in the last two levels")},
		{"large values", "in blob files from " + perf.Bytes(cmp.Or(int64(cfg.ValueThreshold), 4<<10))},
		{"files", "direct I/O"},
		{"log", log},
		{"compaction", cfg.Compaction},
		{"first level", "5/4 of what is flushed together"},
		{"table size", "chosen by the memtable's size"},
		{"background", fmt.Sprintf("1 flush and %d compaction(s)", max(1, min(4, runtime.GOMAXPROCS(0)/2)))},
		{"stops writes", "slows by compaction debt"},
	}
}

func (v pebbleVariant) settings(cfg perf.Config) []Setting {
	s := v.share(cfg)
	stops, filter := "its default: at 12 L0 sublevels", "its Get does not use those of the last level"
	if v.unstopped {
		stops = "at 1000 L0 sublevels, as in CockroachDB"
	}
	if v.filtered {
		filter = "gets through iterators so that all are used"
	}
	return append(common(s),
		Setting{"version", moduleVersion("github.com/cockroachdb/pebble/v2")},
		Setting{"written in", "Go; memtables and cache in C memory"},
		guarantee(cfg.Sync, "synced every 500 ms from outside; a write never waits", "the log is written as soon as the writer gets to it"),
		Setting{"memtables", fmt.Sprintf("%d of %s", max(2, s.memtables/s.together), perf.Bytes(s.flushBytes()))},
		Setting{"block cache", perf.Bytes(s.cacheWithMemtables()) + ", memtables taken out of it; the C allocator takes up to two thirds more"},
		Setting{"filters and indexes", "in the cache"},
		Setting{"filter", "Bloom, 10 bits a key, every level; " + filter},
		Setting{"compression", classOf(cfg, "snappy; zstd 3 in the last two levels")},
		Setting{"large values", "in tables, its default"},
		Setting{"files", "the kernel's page cache beside its own"},
		Setting{"log", "page cache, recycled"},
		Setting{"compaction", cfg.Compaction},
		Setting{"table size", "its default: 2 MiB in L0, twice that each level below"},
		Setting{"background", fmt.Sprintf("1 flush and up to %d compactions", s.compactions)},
		Setting{"stops writes", stops},
		Setting{"not measured", "manifest and log pages written again or never (the rest of the kernel's count), filter false positives; blocks read are cache misses, those of compactions too"},
	)
}

func badgerSettings(cfg perf.Config) []Setting {
	s, heap := badgerShareOf(cfg)
	return append(common(s),
		Setting{"version", moduleVersion("github.com/dgraph-io/badger/v4")},
		Setting{"written in", "Go"},
		guarantee(cfg.Sync, "synced every 500 ms from outside; a write never waits", "the log is a mapped file: the kernel writes it"),
		Setting{"block cache", perf.Bytes(s.cache) + ", in the Go heap, which " + perf.Bytes(heap) + " limit where the process is limited"},
		Setting{"filters and indexes", "all in memory, beside the budget"},
		Setting{"filter", "Bloom, 1 % false positives, every level"},
		Setting{"compression", classOf(cfg, "zstd 3 everywhere: it has one for all levels")},
		Setting{"large values", "in value logs from " + perf.Bytes(min(1<<20, s.memtable*15/100))},
		Setting{"files", "mapped, the kernel's page cache beside its own"},
		Setting{"log", "mapped files, one a memtable"},
		Setting{"compaction", cfg.Compaction},
		Setting{"table size", "its default: 2 MiB, twice that each level below"},
		Setting{"background", fmt.Sprintf("1 flush and %d compactors", max(2, s.compactions))},
		Setting{"stops writes", "its default: at 15 L0 tables"},
		Setting{"not measured", "log and flush apart (the rest of the kernel's count), stalls, filter false positives; blocks read are cache misses"},
	)
}

// classOf names the compression, with mix for the default.
func classOf(cfg perf.Config, mix string) string {
	switch cfg.Compression {
	case "default":
		return mix
	case "zstd":
		return "zstd 3"
	}
	return cfg.Compression
}

// moduleVersion is the version of a module that was built in.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return "unknown"
}
