package peers

import (
	"fmt"
	"runtime"

	"github.com/cambiumdb/cambium/perf"
)

// defaultBudget is what a peer gets without --memory: what cambium takes by default on a machine
// of 4 GiB or more.
const defaultBudget = 1 << 30

// defaultMemtable is cambium's default.
const defaultMemtable = 64 << 20

// share is how the memory of a Config is divided and how large the parts of the tree are, the
// same for every peer. All sizes are bytes.
type share struct {
	budget      int64 // everything below, and what the peer needs beside
	memtable    int64 // one memtable
	memtables   int   // at most, the active one included
	together    int   // sealed memtables of which a flush makes one table
	cache       int64 // of blocks, indexes and filters
	firstLevel  int64 // target of the first level below L0
	compactions int   // at once, beside the flush
}

// shareOf gives at most half of the budget to memtables, an eighth to the buffers of background
// work, the rest to the cache. A memtable is at most a quarter of the budget, there are at most
// four, as CockroachDB has, and the first full level is four of them.
func shareOf(cfg perf.Config) share {
	s := share{budget: perf.EngineBudget(cfg.Memory), memtable: int64(cfg.Memtable), together: 1}
	if s.budget == 0 {
		s.budget = defaultBudget
	}
	if s.memtable == 0 {
		s.memtable = defaultMemtable
	}
	s.memtable = min(s.memtable, s.budget/4)
	s.memtables = int(min(4, max(2, s.budget/2/s.memtable)))
	s.compactions = min(4, runtime.GOMAXPROCS(0))
	s.rest()
	return s
}

// sameMemoryOf gives memtables what cambium gives them: more of them where they are small, and
// one table of L0 out of several, so that the first full level is larger too.
func sameMemoryOf(cfg perf.Config) share {
	s := shareOf(cfg)
	half, quarter := s.budget/2/s.memtable-1, s.budget/4/s.memtable-1
	sealed := max(1, min(8, half), min(32, quarter))
	s.memtables = int(1 + sealed)
	s.together = int(max(1, min(16, sealed/2, 128<<20/s.memtable)))
	s.rest()
	return s
}

// rest derives what follows from the memtables.
func (s *share) rest() {
	s.cache = max(1<<20, s.budget-s.memtableBytes()-s.budget/8)
	s.firstLevel = min(256<<20, max(4<<20, 4*s.flushBytes()))
}

// memtableBytes is the most that all memtables hold.
func (s share) memtableBytes() int64 { return int64(s.memtables) * s.memtable }

// flushBytes is what a flush takes from memory.
func (s share) flushBytes() int64 { return int64(s.together) * s.memtable }

// needOneOf returns an error unless got is one of the values that an engine has.
func needOneOf(engine, flag, got string, has ...string) error {
	for _, h := range has {
		if got == h {
			return nil
		}
	}
	return fmt.Errorf("%s has no %s %q: it takes %q", engine, flag, got, has)
}
