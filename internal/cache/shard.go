package cache

import "sync"

const (
	maxFreq    = 3
	smallShare = 10 // the small queue keeps 1/smallShare of the bytes of small and main
)

type queueID uint8

const (
	lowQueue queueID = iota
	smallQueue
	mainQueue
	highQueue
	queues
)

// shard is a part of the key space: a chained hash table of blocks and the four queues that
// they wait in.
type shard struct {
	mu      sync.Mutex // guards all below
	buckets []*Handle
	entries int
	files   map[uint64]*Handle // first block of each file, linked through fileNext
	queue   [queues]fifo
	ghosts  ghosts

	hits, misses, evictions uint64
	_                       [64]byte
}

func (s *shard) init() {
	s.buckets = make([]*Handle, 64)
	s.ghosts.resize(64)
	s.files = make(map[uint64]*Handle)
}

func (s *shard) bucket(hash uint64) **Handle {
	return &s.buckets[hash>>8&uint64(len(s.buckets)-1)]
}

func (s *shard) find(k Key, hash uint64) *Handle {
	for h := *s.bucket(hash); h != nil; h = h.chain {
		if h.key == k {
			return h
		}
	}
	return nil
}

// insert links h, whose key is not in the shard.
func (s *shard) insert(h *Handle, p Priority) {
	if s.entries >= len(s.buckets) {
		s.grow()
	}
	b := s.bucket(h.hash)
	h.chain, *b = *b, h
	s.entries++

	first := s.files[h.key.File]
	h.fileNext = first
	if first != nil {
		first.filePrev = h
	}
	s.files[h.key.File] = h

	h.freq = 0
	switch {
	case p == High:
		s.push(highQueue, h)
	case p == Low:
		s.push(lowQueue, h)
	case s.ghosts.has(h.hash, s.entries):
		s.push(mainQueue, h)
	default:
		s.push(smallQueue, h)
	}
}

func (s *shard) push(q queueID, h *Handle) {
	h.queue = q
	s.queue[q].push(h)
}

func (s *shard) grow() {
	old := s.buckets
	s.buckets = make([]*Handle, 2*len(old))
	s.ghosts.resize(len(s.buckets))
	for _, h := range old {
		for h != nil {
			next := h.chain
			b := s.bucket(h.hash)
			h.chain, *b = *b, h
			h = next
		}
	}
}

// remove unlinks h everywhere. It reports whether nothing pins h, so that the caller frees it.
func (s *shard) remove(h *Handle) bool {
	b := s.bucket(h.hash)
	for *b != h {
		b = &(*b).chain
	}
	*b, h.chain = h.chain, nil
	s.entries--
	s.queue[h.queue].unlink(h)

	switch {
	case h.filePrev != nil:
		h.filePrev.fileNext = h.fileNext
	case h.fileNext != nil:
		s.files[h.key.File] = h.fileNext
	default:
		delete(s.files, h.key.File)
	}
	if h.fileNext != nil {
		h.fileNext.filePrev = h.filePrev
	}
	h.fileNext, h.filePrev = nil, nil
	return h.state.Add(-cachedBit) == 0
}

// removeFile unlinks the blocks of a file and returns the unpinned ones as a chain.
func (s *shard) removeFile(file uint64) (freed *Handle) {
	for h := s.files[file]; h != nil; h = s.files[file] {
		if s.remove(h) {
			h.chain, freed = freed, h
		}
	}
	return freed
}

// removeAll is removeFile for every file.
func (s *shard) removeAll() (freed *Handle) {
	for q := range s.queue {
		for h := s.queue[q].oldest; h != nil; h = s.queue[q].oldest {
			if s.remove(h) {
				h.chain, freed = freed, h
			}
		}
	}
	return freed
}

// evict unlinks and returns the block that is worth least, nil when all are pinned. The
// blocks of high priority are considered only when high is true.
func (s *shard) evict(high bool) *Handle {
	var stuck [queues]int // pinned blocks met, by queue
	for {
		q := s.weakest(&stuck, high)
		if q == queues {
			return nil
		}
		h := s.queue[q].oldest
		switch {
		case h.pinned():
			stuck[q]++
			s.requeue(h, q)
		case h.freq == 0:
			if q == smallQueue {
				s.ghosts.add(h.hash)
			}
			s.remove(h)
			s.evictions++
			return h
		case q == lowQueue:
			h.freq = 0
			s.requeue(h, smallQueue)
		case q == smallQueue:
			h.freq = 0
			s.requeue(h, mainQueue)
		default:
			h.freq--
			s.requeue(h, q)
		}
	}
}

// weakest chooses the queue to evict from, queues for none. A queue in which only pinned
// blocks are left is passed over: after maxFreq+1 rounds every other block would have gone.
func (s *shard) weakest(stuck *[queues]int, high bool) queueID {
	open := func(q queueID) bool {
		n := s.queue[q].n
		return n > 0 && stuck[q] <= n*(maxFreq+2)
	}
	small, main := &s.queue[smallQueue], &s.queue[mainQueue]
	switch {
	case open(lowQueue):
		return lowQueue
	case open(smallQueue) && (small.bytes*smallShare > small.bytes+main.bytes || !open(mainQueue)):
		return smallQueue
	case open(mainQueue):
		return mainQueue
	case high && open(highQueue):
		return highQueue
	}
	return queues
}

func (s *shard) requeue(h *Handle, to queueID) {
	s.queue[h.queue].unlink(h)
	s.push(to, h)
}

// fifo is a queue of blocks.
type fifo struct {
	oldest, newest *Handle
	n              int
	bytes          int64
}

func (f *fifo) push(h *Handle) {
	h.newer, h.older = nil, f.newest
	if f.newest != nil {
		f.newest.newer = h
	} else {
		f.oldest = h
	}
	f.newest = h
	f.n++
	f.bytes += h.size
}

func (f *fifo) unlink(h *Handle) {
	if h.older != nil {
		h.older.newer = h.newer
	} else {
		f.oldest = h.newer
	}
	if h.newer != nil {
		h.newer.older = h.older
	} else {
		f.newest = h.older
	}
	h.newer, h.older = nil, nil
	f.n--
	f.bytes -= h.size
}

// ghosts remembers the fingerprints of blocks that left the small queue, in a table where a
// new one overwrites: {fingerprint 32 bits, number of the departure 32 bits}.
type ghosts struct {
	table []uint64
	clock uint32
}

func (g *ghosts) resize(n int) {
	old := g.table
	g.table = make([]uint64, n)
	for i, e := range old {
		if e != 0 { // the index has one bit more now; either place may be asked
			g.table[i], g.table[i+len(old)] = e, e
		}
	}
}

func (g *ghosts) slot(hash uint64) *uint64 { return &g.table[hash>>8&uint64(len(g.table)-1)] }

func (g *ghosts) add(hash uint64) {
	g.clock++
	*g.slot(hash) = hash&^0xffffffff | uint64(g.clock)
}

// has reports whether the block left within the last n departures (at least 8).
func (g *ghosts) has(hash uint64, n int) bool {
	e := *g.slot(hash)
	return e>>32 == hash>>32 && g.clock-uint32(e) <= uint32(max(n, 8)) && e != 0
}
