// Package sim runs a cluster of the store's own parts on one goroutine, in virtual time, by one seed: the same seed
// does the same twice.
//
//	r := sim.Run(sim.Options{Seed: 4711})
//	r.Violations // none
//	r.Trace      // a hash of all that happened
//
//	go test ./distrib/sim -run Seed -seed 4711 -v     # one seed, with what happened
//	make sim SEEDS=100000                             # many
//
// # What runs
//
// Real: the coordinator with its reads, writes, hedges and repairs, replicas, hints, dirty slots and their comparison,
// clocks, the ring, and how a node judges the store that it finds (distrib/recovery).
//
// For linearizable operations the coordinator's proposers, replica.Step and recovery.Registers. A third of the seeds have none; else keys
// are for them, for them and eventual ones beside, or are counters.
//
// Modelled: the network, where requests and answers are late, lost, carried out twice (but operations handed on) and cut in single directions;
// disks, which lose what was not synced when a node crashes; pauses, after which a node handles all that waited;
// clocks that are up to 20 s ahead or behind, drift and jump; directories that are gone or come back as they were before the last start; each node's opinion of the others, which lags
// behind and may be wrong; the metadata, which is up. Two things of distrib/node are done here as they are there: when hints are
// handed over, and when what may differ is compared (background.go). A comparison reads all nodes at one moment; what
// it gives them is on its way like any request.
//
// # What is checked
//
// The history of the clients by check.Eventual: no acknowledged write is lost, none that was overwritten comes back.
// Besides: a read of owners sees what enough owners had acknowledged before it began; no dot names two writes; in the end all
// nodes of a key hold the same, and nobody owes anybody anything.
//
// Linearizable keys are judged by check.Linearizable, together with the eventual writes beside: one that was acknowledged must
// have come to light before a last read. A few histories with many such writes take longer than is waited for: Stats.Undecided.
package sim
