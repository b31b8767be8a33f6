package engine

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// availableMemory is the bytes that this process may use: the smallest of the machine's memory
// and the limits of its cgroups. Where nothing can be read it assumes 2 GiB.
func availableMemory() int64 {
	limit := int64(2 << 30)
	if n, ok := machineMemory(); ok {
		limit = n
	}
	for _, path := range cgroupLimitFiles() {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	return limit
}

func machineMemory() (int64, bool) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			return kb << 10, err == nil
		}
	}
	return 0, false
}

// cgroupLimitFiles lists where the limits of this process's cgroups stand, of version 1 and
// version 2: any ancestor may be the tight one.
func cgroupLimitFiles() (files []string) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(string(b), "\n") {
		root, limit := "/sys/fs/cgroup", "/memory.max"
		path, ok := strings.CutPrefix(line, "0::")
		if !ok {
			if _, path, ok = strings.Cut(line, ":memory:"); !ok {
				continue
			}
			root, limit = "/sys/fs/cgroup/memory", "/memory.limit_in_bytes"
		}
		for path = strings.TrimSuffix(path, "/"); path != ""; path = path[:strings.LastIndexByte(path, '/')] {
			files = append(files, root+path+limit)
		}
		files = append(files, root+limit)
	}
	return files
}

func defaultCompactionThreads() int { return max(1, min(4, runtime.GOMAXPROCS(0)/2)) }

// budget divides Options.MemoryBudget.
type budget struct {
	memtable  int64 // bytes at which one memtable is sealed
	maxSealed int   // sealed memtables that may wait for a flush
	// flushTogether is how many sealed memtables make one table of L0: fewer, larger runs cost
	// less merging, and the log that a crash leaves to replay grows by as much.
	flushTogether int
	writes        int64 // large values on their way into the log
	cache         int64 // block cache, with the tables' indexes and filters
}

// How many memtables there may be.
const (
	// maxReplay bounds, in bytes, the sealed memtables that wait for others.
	maxReplay = 128 << 20
	// fewSealed may take half of the budget, more of them only a quarter.
	fewSealed = 8
)

// tuning is what nobody needs to choose but tests of small databases. The zero value is right.
type tuning struct {
	// maxTogether bounds, in number, the sealed memtables that wait for others: a read looks into
	// each. 0 = 16.
	maxTogether int64
	// sweepEvery is how often an idle database looks whether values have expired. 0 = 1 s.
	sweepEvery time.Duration
	// patience is after how many keys that are not live a scan asks whether there are more of them.
	// 0 = 8.
	patience int
}

func (t tuning) withDefaults() tuning {
	if t.maxTogether == 0 {
		t.maxTogether = 16
	}
	if t.sweepEvery == 0 {
		t.sweepEvery = time.Second
	}
	if t.patience == 0 {
		t.patience = 8
	}
	return t
}

// divide gives half of the budget to memtables, or a quarter where they are many and small; an
// eighth to the buffers of background work and of the log; and the rest to the cache.
func divide(o Options) budget {
	b := budget{memtable: o.MemtableSize}
	maxTogether := o.tuning.maxTogether
	half, quarter := o.MemoryBudget/2/o.MemtableSize-1, o.MemoryBudget/4/o.MemtableSize-1
	b.maxSealed = int(max(1, min(fewSealed, half), min(2*maxTogether, quarter)))
	b.flushTogether = int(max(1, min(maxTogether, int64(b.maxSealed)/2, maxReplay/o.MemtableSize)))
	memtables := o.MemtableSize * int64(1+b.maxSealed)
	b.writes = max(16<<20, o.MemoryBudget/16)
	b.cache = max(1<<20, o.MemoryBudget-memtables-o.MemoryBudget/8)
	return b
}

// cacheBytes is what the block cache may hold beside so many memtables. It is lent what is set aside for those that do
// not exist, less two, which writes may fill before the cache has given anything back.
func (b budget) cacheBytes(memtables int) int64 {
	return b.cache + b.memtable*int64(max(0, b.maxSealed-1-memtables))
}

// lending is how many memtables the cache leaves room for: the most of the last lendSweeps sweeps, so that it does not
// give blocks back and read them again with every flush.
type lending struct {
	mu     sync.Mutex // guards what follows, and the cache's capacity
	most   int
	sweeps int // since there were so many
}

// lendSweeps is for how many sweeps room that memtables took is kept for them.
const lendSweeps = 10

// lend gives the cache what memtables do not need, and takes back what they do.
func (db *DB) lend(swept bool) {
	db.mu.Lock()
	n := 1 + len(db.sealed)
	db.mu.Unlock()
	l := &db.lending
	l.mu.Lock()
	defer l.mu.Unlock()
	if swept {
		l.sweeps++
	}
	switch {
	case n < l.most && l.sweeps < lendSweeps:
		return
	case n != l.most:
		l.most = n
		db.cache.Resize(db.budget.cacheBytes(n))
	}
	l.sweeps = 0
}

// flushBytes is what a flush takes from memory: the unit in which the tree grows.
func (b budget) flushBytes() int64 { return b.memtable * int64(b.flushTogether) }
