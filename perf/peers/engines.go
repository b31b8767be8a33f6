package peers

import (
	"maps"

	"github.com/cambiumdb/cambium/perf"
)

// all holds every engine of this package by its name in --engine. Files of engines that need a
// system library add theirs.
var all = perf.Engines{
	"pebble":             pebbleVariant{}.open,
	"pebble-filtered":    pebbleVariant{filtered: true}.open,
	"pebble-unstopped":   pebbleVariant{unstopped: true}.open,
	"pebble-same-memory": pebbleVariant{sameMemory: true}.open,
	"badger":             OpenBadger,
}

// Engines are the peers that were built in, and cambium beside them.
func Engines() perf.Engines {
	engines := maps.Clone(all)
	maps.Copy(engines, perf.BuiltIn())
	return engines
}
