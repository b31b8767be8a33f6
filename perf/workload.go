package perf

import (
	"encoding/binary"
	"hash/fnv"
	"strings"
)

// ActionKind is what an operation of a workload does.
type ActionKind uint8

// The kinds of operations, in the order in which reports list them.
const (
	ActionPut ActionKind = iota
	ActionGet
	ActionScan
	ActionInsert // a put of a record that was not there
	ActionModify // get, change, put
	ActionDelete
	ActionFirst // the first key there is
	actionKinds
)

// String returns the name that reports use.
func (k ActionKind) String() string {
	switch k {
	case ActionPut:
		return "put"
	case ActionGet:
		return "get"
	case ActionScan:
		return "scan"
	case ActionInsert:
		return "insert"
	case ActionModify:
		return "modify"
	case ActionDelete:
		return "delete"
	case ActionFirst:
		return "first"
	}
	return "unknown"
}

// Action is one operation of a workload.
type Action struct {
	Kind    ActionKind
	Key     int64  // index of the key
	Absent  bool   // of a get: the key behind Key that was never written
	Limit   int    // of a scan: entries to visit
	Version uint64 // of a put or modify: names the value
}

// ScanLength is how many entries a scan of seekrandom visits.
const ScanLength = 50

// Workload is a named stream of operations.
type Workload struct {
	Name  string
	About string // one line for help texts
	// Fill: writes every key once, whatever Ops and Duration say.
	Fill bool
	// Writes: the engine is settled afterwards, and both moments are reported.
	Writes bool
	// Hashed: keys are those of AppendHashedKey, not of AppendKey.
	Hashed bool
	// Beside: a second stream that one more thread performs for as long as the first one lasts.
	Beside *Workload

	share   int64 // operations by default: keys / share
	zipfian bool  // draws keys by zipfKey
	inserts bool  // adds records, once in every insertEvery operations
	fixed   int64 // if positive: that many operations, whatever Ops and Duration say
	at      func(s *Stream, i int64) Action
}

var overwrite = &Workload{
	Name: "overwrite", Writes: true, share: 1,
	About: "replace values of uniformly drawn keys (with replacement), as many as there are keys",
	at: func(s *Stream, i int64) Action {
		x := draw(s.salt, i)
		return Action{Kind: ActionPut, Key: below(x, s.keys), Version: mix(x) | 1}
	},
}

var overwriteZipfian = &Workload{
	Name: "overwrite-zipfian", Writes: true, zipfian: true, share: 1,
	About: "overwrite with keys drawn by YCSB's scrambled zipfian, 0.99",
	at: func(s *Stream, i int64) Action {
		x := draw(s.salt, i)
		return Action{Kind: ActionPut, Key: s.zipfKey(x, s.keys), Version: mix(x) | 1}
	},
}

// Workloads lists all there are, in the order in which help texts show them.
func Workloads() []*Workload {
	randomGet := func(absent bool) func(s *Stream, i int64) Action {
		return func(s *Stream, i int64) Action {
			return Action{Kind: ActionGet, Key: below(draw(s.salt, i), s.keys), Absent: absent}
		}
	}
	return []*Workload{
		{
			Name: "fillseq", Fill: true, Writes: true, share: 1,
			About: "write every key once, in order",
			at:    func(s *Stream, i int64) Action { return Action{Kind: ActionPut, Key: i % s.keys} },
		},
		{
			Name: "fillrandom", Fill: true, Writes: true, share: 1,
			About: "write every key once, in random order",
			at:    func(s *Stream, i int64) Action { return Action{Kind: ActionPut, Key: s.order.at(i)} },
		},
		overwrite,
		{
			Name: "readrandom", share: 1,
			About: "get uniformly drawn keys",
			at:    randomGet(false),
		},
		{
			Name: "readmissing", share: 1,
			About: "get absent keys that lie between the present ones",
			at:    randomGet(true),
		},
		{
			Name: "seekrandom", share: 10,
			About: "new iterator, seek to a uniformly drawn key, visit 50 entries",
			at: func(s *Stream, i int64) Action {
				return Action{Kind: ActionScan, Key: below(draw(s.salt, i), s.keys), Limit: ScanLength}
			},
		},
		{
			Name: "readwhilewriting", Writes: true, share: 1,
			About:  "readrandom while one more thread overwrites",
			at:     randomGet(false),
			Beside: overwrite,
		},
		overwriteZipfian,
	}
}

// FindWorkloads looks up names, which may be lists separated by commas; an unknown name is a
// usage error that lists the known ones.
func FindWorkloads(names ...string) ([]*Workload, error) {
	known := Workloads()
	var out []*Workload
	for _, name := range strings.Split(strings.Join(names, ","), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		found := false
		for _, w := range known {
			if w.Name == name {
				out, found = append(out, w), true
			}
		}
		if !found {
			all := make([]string, len(known))
			for i, w := range known {
				all[i] = w.Name
			}
			return nil, Usagef("no workload is called %q: there are %s", name, strings.Join(all, ", "))
		}
	}
	if len(out) == 0 {
		return nil, Usagef("no workload named: try fillrandom,readrandom")
	}
	return out, nil
}

// Ops is how many operations the workload has under c when no duration limits it.
func (w *Workload) Ops(c Config) int64 {
	if w.Fill {
		return c.Keys
	}
	if w.fixed > 0 {
		return w.fixed
	}
	if c.Ops > 0 {
		return c.Ops
	}
	return max(1, c.Keys/w.share)
}

// Stream returns the workload's operations under c. round tells apart two phases of one
// sequence that run the same workload.
func (w *Workload) Stream(c Config, round int) *Stream {
	return w.streamOver(c, round, c.Keys)
}

// streamOver is Stream where the phases before have left that many records.
func (w *Workload) streamOver(c Config, round int, records int64) *Stream {
	s := &Stream{
		salt:     saltOf(c.Seed, w.Name) + uint64(round)*golden,
		keys:     records,
		capacity: records,
		order:    newPermutation(records, saltOf(c.Seed, "order")),
		at:       w.at,
	}
	if w.Hashed || w.zipfian {
		s.zipf = newScrambled()
	}
	if w.inserts {
		s.capacity += 2 * w.Ops(c) / insertEvery
	}
	return s
}

// Stream is a sequence of operations. It has no state: At may be called for any operation, by
// any number of goroutines.
type Stream struct {
	salt     uint64
	keys     int64 // at its beginning
	capacity int64 // keys and those that inserts may add, for drawing
	order    permutation
	zipf     scrambled
	at       func(s *Stream, i int64) Action
}

// At returns operation i.
func (s *Stream) At(i int64) Action { return s.at(s, i) }

// Hash is a fingerprint of the first n operations: equal hashes, equal streams.
func (s *Stream) Hash(n int64) uint64 {
	h := fnv.New64a()
	var b [26]byte
	for i := range n {
		a := s.At(i)
		b[0] = byte(a.Kind)
		b[1] = 0
		if a.Absent {
			b[1] = 1
		}
		binary.LittleEndian.PutUint64(b[2:], uint64(a.Key))
		binary.LittleEndian.PutUint64(b[10:], uint64(a.Limit))
		binary.LittleEndian.PutUint64(b[18:], a.Version)
		h.Write(b[:])
	}
	return h.Sum64()
}
