package sim

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// history is what clients did, and what was wrong with it so far.
type history struct {
	check.History
	keys  map[string]*keyHistory
	named map[dotted]distrib.OpID
	dots  map[distrib.OpID]vclock.Dot
	// twice are writes that have got more than one dot, since they were tried at more than one node. That such a write may
	// come back is in docs/cluster.md.
	twice  map[distrib.OpID]bool
	values map[distrib.OpID]distrib.Value
	wrong  []string

	steps []check.Step      // of keys that are linearizable
	pages map[string][]byte // of keys that were not linearizable
}

// keyHistory is of one key.
type keyHistory struct {
	index map[distrib.OpID]int
	past  []bits // of each write, by index: all that its writer had seen, at once or by way of others
	acked []acked
}

// acked is a write that so many owners had acknowledged, each for itself.
type acked struct {
	op     distrib.OpID
	index  int
	at     time.Duration
	owners int
}

// bits is a set of small numbers.
type bits []uint64

func (b *bits) add(i int) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

func (b bits) has(i int) bool { return i/64 < len(b) && b[i/64]&(1<<(i%64)) != 0 }

func (b *bits) join(c bits) {
	for len(*b) < len(c) {
		*b = append(*b, 0)
	}
	for i, x := range c {
		(*b)[i] |= x
	}
}

func (h *history) of(key string) *keyHistory {
	if h.keys == nil {
		h.keys, h.named, h.dots, h.twice = map[string]*keyHistory{}, map[dotted]distrib.OpID{}, map[distrib.OpID]vclock.Dot{}, map[distrib.OpID]bool{}
		h.values = map[distrib.OpID]distrib.Value{}
	}
	k := h.keys[key]
	if k == nil {
		k = &keyHistory{index: map[distrib.OpID]int{}}
		h.keys[key] = k
	}
	return k
}

// closure is ops and all that their writers had seen.
func (k *keyHistory) closure(ops []distrib.OpID) (b bits) {
	for _, op := range ops {
		if i, ok := k.index[op]; ok { // else it is foreign, which check.Eventual says
			b.add(i)
			b.join(k.past[i])
		}
	}
	return b
}

// minted takes that a node has given a write a dot.
func (h *history) minted(r *distrib.PutRequest, reply *distrib.PutReply) {
	if reply.Sibling.Op != r.Op {
		return
	}
	h.dotted(r.Op, reply.Sibling.Dot)
}

// dotted takes that a write has got a dot.
func (h *history) dotted(op distrib.OpID, dot vclock.Dot) {
	if d, ok := h.dots[op]; ok && d != dot {
		h.twice[op] = true
	}
	h.dots[op] = dot
}

func (h *history) begin(x *writing) {
	k := h.of(x.Key)
	h.values[x.Op] = x.value
	k.index[x.Op] = len(k.past)
	k.past = append(k.past, k.closure(x.Read))
}

// owners is how many of places are a key's own.
func owners(places []coordinator.Place) (n int) {
	for _, p := range places {
		if p.For == 0 {
			n++
		}
	}
	return n
}

func (h *history) acknowledged(w *world, x *writing, r *coordinator.WriteResult) {
	if x.linear = r.Linearizable; x.linear {
		h.dotted(x.Op, r.Dot)
		return
	}
	k := h.of(x.Key)
	n := owners(r.Places)
	if w.durable(n) {
		k.acked = append(k.acked, acked{x.Op, k.index[x.Op], w.now, n})
	}
	if len(r.Places) < 2 && !w.durable(1) && x.Outcome == check.OK {
		x.Outcome = check.Unknown // one disk may lose it, as docs/cluster.md says
	}
}

// end takes what became of a write.
func (h *history) end(w *world, x *writing) {
	if w.uses[x.Key] == eventual {
		h.Writes = append(h.Writes, x.Write)
		return
	}
	s := check.Step{Key: x.Key, Client: int(x.Op[7]), Call: int64(x.began), Return: check.Late, Outcome: x.Outcome, Op: x.Op, Value: string(x.value.Data), Delete: x.value.Deleted, If: check.Beside, Read: x.Read, Blind: true}
	if x.linear { // ordered like all others
		s.Return = int64(w.now)
	}
	h.steps = append(h.steps, s)
}

// read takes what a read gave that had begun at some time: what enough owners had acknowledged by then must be shown.
func (h *history) read(w *world, key []byte, began time.Duration, r *coordinator.ReadResult, ops []distrib.OpID) {
	h.names(w, string(key), r.Record)
	if w.uses[string(key)] != eventual {
		return // it may be stale
	}
	h.Reads = append(h.Reads, check.Read{Key: string(key), Ops: ops})
	k := h.of(string(key))
	shown, enough := k.closure(ops), len(w.owners(key))-owners(r.Places)
	if len(ops) == 0 { // who stands in and knows nothing does not count
		enough = len(w.owners(key)) - len(r.Places)
	}
	for _, a := range k.acked {
		if a.at < began && a.owners > enough && !shown.has(a.index) {
			h.violation(w, "stale: a read of %s at %v gave %s, but write %s was acknowledged by %d owners before", key, r.Places, describe(r.Record), short(a.op), a.owners)
		}
	}
}

// names checks that no dot is that of two writes, and that values are what was written.
func (h *history) names(w *world, key string, r distrib.Record) {
	for _, v := range r {
		d := dotted{key, v.Dot}
		if op, ok := h.named[d]; ok && op != v.Op {
			h.violation(w, "%s: dot %s names the writes %s and %s", key, v.Dot, short(op), short(v.Op))
		}
		h.named[d] = v.Op
	}
	for _, v := range r {
		if was := h.values[v.Op]; v.Value.Deleted != was.Deleted || string(v.Value.Data) != string(was.Data) {
			h.violation(w, "%s: a value is not what was written: %s", key, describe(r))
		}
	}
}

func (h *history) violation(w *world, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	w.trace("VIOLATION", 0, 0, what)
	h.wrong = append(h.wrong, what)
}

// short names an operation: its client, and which of its writes it is.
func short(op distrib.OpID) string {
	return fmt.Sprintf("%d#%d", op[7], uint16(op[14])<<8|uint16(op[15]))
}

func shorts(ops []distrib.OpID) string {
	var list []string
	for _, op := range ops {
		list = append(list, short(op))
	}
	return "[" + strings.Join(list, " ") + "]"
}

// describe names the versions of a record.
func describe(r distrib.Record) string {
	var list []string
	for _, v := range r {
		list = append(list, short(v.Op)+"="+v.Dot.String())
	}
	return "{" + strings.Join(list, " ") + "}"
}

// value takes what a write stores.
func (h *history) value(key string, op distrib.OpID, v distrib.Value) {
	h.of(key)
	h.values[op] = v
}

// step takes what became of a linearizable operation.
func (h *history) step(s check.Step) { h.steps = append(h.steps, s) }

// last takes that the last step was the read of a key at the end: it is later than all.
func (h *history) last() {
	x := &h.steps[len(h.steps)-1]
	x.Call, x.Return = check.Late+1, check.Late+2
}

// linearizable judges the histories of keys that are for linearizable operations.
func (h *history) linearizable(w *world) {
	m := check.Judge(h.steps, h.twice, time.Second)
	w.stats.Twice += len(m.Twice)
	w.stats.Undecided += len(m.Undecided)
	for _, v := range m.Violations {
		h.violation(w, "%s", v)
		var page bytes.Buffer
		if h.pages == nil {
			h.pages = map[string][]byte{}
		}
		if err := check.Draw(&page, h.steps, v.Key); err == nil {
			h.pages[v.Key] = page.Bytes()
		}
	}
}
