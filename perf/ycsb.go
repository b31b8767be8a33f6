package perf

import (
	"strings"
	"sync"
	"sync/atomic"
)

// insertEvery: the workloads that insert do so once in every 20 operations, at a random place of
// the 20, so that the number of records before operation i is a function of i.
const insertEvery = 20

// maxScan is the longest scan of workload E; lengths are uniform from 1 to it.
const maxScan = 100

// ycsbLoad writes the records that the workloads of YCSB work on, in the order of their numbers,
// which is a random order of keys.
var ycsbLoad = &Workload{
	Name: "ycsb-load", Fill: true, Writes: true, Hashed: true, share: 1,
	About: "write every record once",
	at:    func(s *Stream, i int64) Action { return Action{Kind: ActionPut, Key: i % s.keys} },
}

// YCSB lists the core workloads A to F.
func YCSB() []*Workload {
	mixed := func(read, other ActionKind, reads float64) func(s *Stream, i int64) Action {
		return func(s *Stream, i int64) Action {
			x := draw(s.salt, i)
			a := Action{Kind: read, Key: s.zipfKey(x, s.keys)}
			if uniform(mix(x+golden)) >= reads {
				a.Kind, a.Version = other, mix(x)|1
			}
			return a
		}
	}
	return []*Workload{
		{
			Name: "ycsb-a", Writes: true, Hashed: true, share: 1,
			About: "half reads, half updates of whole values; zipfian",
			at:    mixed(ActionGet, ActionPut, 0.5),
		},
		{
			Name: "ycsb-b", Writes: true, Hashed: true, share: 1,
			About: "95 % reads, 5 % updates; zipfian",
			at:    mixed(ActionGet, ActionPut, 0.95),
		},
		{
			Name: "ycsb-c", Hashed: true, share: 1,
			About: "reads only; zipfian",
			at:    mixed(ActionGet, ActionGet, 1),
		},
		{
			Name: "ycsb-d", Writes: true, Hashed: true, share: 1, inserts: true,
			About: "95 % reads of the latest records, 5 % inserts",
			at: func(s *Stream, i int64) Action {
				x := draw(s.salt, i)
				n, insert := s.recordsBefore(i)
				if insert {
					return Action{Kind: ActionInsert, Key: n}
				}
				z := newZipfian(n, zetaSum(n))
				return Action{Kind: ActionGet, Key: n - 1 - z.rank(uniform(x))}
			},
		},
		{
			Name: "ycsb-e", Writes: true, Hashed: true, share: 10, inserts: true,
			About: "95 % scans of 1 to 100 records from a zipfian one, 5 % inserts",
			at: func(s *Stream, i int64) Action {
				x := draw(s.salt, i)
				n, insert := s.recordsBefore(i)
				if insert {
					return Action{Kind: ActionInsert, Key: n}
				}
				// As YCSB: drawn from all records there will be, again while it is a later one.
				key := s.zipfKey(x, s.capacity)
				for y := x; key >= n; {
					y = mix(y + golden)
					key = s.zipfKey(y, s.capacity)
				}
				return Action{Kind: ActionScan, Key: key, Limit: 1 + int(below(mix(x^golden), maxScan))}
			},
		},
		{
			Name: "ycsb-f", Writes: true, Hashed: true, share: 1,
			About: "half reads, half read-modify-writes; zipfian",
			at:    mixed(ActionGet, ActionModify, 0.5),
		},
	}
}

// FindYCSB looks up letters such as "A", "b,c"; an unknown one is a usage error.
func FindYCSB(names ...string) ([]*Workload, error) {
	var out []*Workload
	for _, name := range splitList(strings.Join(names, ",")) {
		found := false
		for _, w := range YCSB() {
			if strings.EqualFold("ycsb-"+name, w.Name) {
				out, found = append(out, w), true
			}
		}
		if !found {
			return nil, Usagef("YCSB has no workload %q: there are A, B, C, D, E, F", name)
		}
	}
	if out == nil {
		return nil, Usagef("no workload named: try A,B,C,D,E,F")
	}
	return out, nil
}

// zipfKey draws a record from the first items ones.
func (s *Stream) zipfKey(x uint64, items int64) int64 { return s.zipf.item(x, items) }

// recordsBefore is the number of records when operation i of a stream that inserts begins, had
// all operations before it been performed, and whether operation i itself is an insert.
func (s *Stream) recordsBefore(i int64) (n int64, insert bool) {
	block, place := i/insertEvery, i%insertEvery
	at := below(draw(s.salt^golden, block), insertEvery)
	n = s.keys + block
	if place > at {
		n++
	}
	return n, place == at
}

// hashedKeySize is the least size of keys of hashed streams: 16 hexadecimal digits.
const hashedKeySize = 16

// AppendHashedKey appends the key of a YCSB record: a hash of its number, so that records
// inserted one after the other lie anywhere among the others. No two records share a key. The
// key is in hexadecimal, zero-padded to size bytes.
func AppendHashedKey(dst []byte, size int, record int64) []byte {
	at := len(dst)
	for range size {
		dst = append(dst, '0')
	}
	for i, h := at+size-1, recordHash(record); i >= at && h > 0; i-- {
		dst[i] = "0123456789abcdef"[h&15]
		h >>= 4
	}
	return dst
}

// recordHash is a bijection.
func recordHash(record int64) uint64 { return mix(uint64(record)*golden + golden) }

// inserted knows which records of a stream that inserts are there: all below the frontier. An
// operation may meet a record that another thread has not finished inserting; then it may find
// it or not.
type inserted struct {
	frontier atomic.Int64
	mu       sync.Mutex // guards early
	early    map[int64]bool
}

func newInserted(records int64) *inserted {
	n := &inserted{early: map[int64]bool{}}
	n.frontier.Store(records)
	return n
}

// add notes that a record is there.
func (n *inserted) add(record int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.early[record] = true
	for at := n.frontier.Load(); n.early[at]; at++ {
		delete(n.early, at)
		n.frontier.Store(at + 1)
	}
}

// count is the number of records that are there.
func (n *inserted) count() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frontier.Load() + int64(len(n.early))
}
