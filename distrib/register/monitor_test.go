package register

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/cambiumdb/cambium/distrib"
)

// monitor checks while a history goes on whether it is linearizable: it holds every pair of a value that the key may have now and of
// what each operation that is not answered yet may have done (Wing and Gong, "Testing and verifying concurrent objects", 1993, one
// event at a time). A history is not linearizable where none is left.
type monitor struct {
	ops     *[8]Operation
	configs []config // ascending
}

// config is, in its lowest byte, the values that the key holds, one bit each, and in byte i+1 where operation i stands.
type config uint64

const (
	unborn  = 0
	pending = 1    // it may take effect at any moment, or never
	over    = 0xff // answered
	took    = 2    // and above: it has taken effect, with an answer
)

// strayOp is the operation of an eventual write that nobody was told of: it may come to light at any moment.
const strayOp = 6

// dataOp is the first of two operations that are what the first two nodes held before.
const dataOp = 4

func newMonitor(s *scope) monitor {
	m := monitor{ops: &[8]Operation{}}
	for _, script := range s.scripts {
		for _, o := range script {
			m.ops[o.ID[0]] = o
		}
	}
	// What eventual writes left may come to light with any operation: at the promotion where the quorum knows of it, else as a stray.
	start := config(0)
	for i, data := range s.data[:2] {
		if len(data) > 0 {
			m.ops[dataOp+i] = Operation{Kind: Put, If: Beside, Value: data[0].Value}
			start = start.with(dataOp+i, pending)
		}
	}
	m.configs = []config{start}
	if s.stray != nil {
		m.ops[strayOp] = Operation{Kind: Put, If: Beside, Value: s.stray[0].Value}
	}
	return m
}

// mask has a bit for each value of a record: a is 1, b is 2, ..
func mask(r distrib.Record) (bits byte) {
	for _, s := range r {
		if !s.Value.Deleted {
			bits |= bit(s.Value.Data)
		}
	}
	return bits
}

func bit(value []byte) byte {
	if len(value) == 0 {
		return 0
	}
	return 1 << (value[0] - 'a')
}

func (m monitor) hash() uint64 {
	d := make([]byte, 0, 64)
	for _, c := range m.configs {
		d = binary.LittleEndian.AppendUint64(d, uint64(c))
	}
	return xxh3.Hash(d)
}

func (c config) state(op int) byte { return byte(c >> (8 * (op + 1))) }

func (c config) with(op int, state byte) config {
	shift := 8 * (op + 1)
	return c&^(0xff<<shift) | config(state)<<shift
}

// invoke takes that an operation begins.
func (m monitor) invoke(op int) monitor {
	out := make([]config, len(m.configs))
	for i, c := range m.configs {
		out[i] = c.with(op, pending)
	}
	slices.Sort(out)
	m.configs = out
	return m
}

// answer takes what an operation is answered.
func (m monitor) answer(op int, r Result) monitor {
	var out []config
	switch r.Outcome {
	case Unknown:
		return m
	case Failed:
		for _, c := range m.configs {
			if c.state(op) == pending {
				out = append(out, c.with(op, over))
			}
		}
	case OK:
		want := m.answerOf(op, r)
		for _, c := range m.closure() {
			if c.state(op) == want {
				out = append(out, c.with(op, over))
			}
		}
	}
	slices.Sort(out)
	m.configs = slices.Compact(out)
	return m
}

// answerOf is the state of an operation that has taken effect with such a result.
func (m *monitor) answerOf(op int, r Result) byte {
	o := &m.ops[op]
	switch {
	case o.Kind == Get:
		return took + mask(r.Record)
	case r.Verdict == Mismatch || r.Verdict == Siblings:
		return took + 1 + mask(r.Record)
	}
	return took
}

// effect is what an operation does to the values of a key, and the state in which it is then.
func (m *monitor) effect(op int, values byte) (next, state byte) {
	o := &m.ops[op]
	switch {
	case o.Kind == Get:
		return values, took + values
	case o.Kind != Put:
		return values, took
	case o.If == Beside:
		return values | bit(o.Value.Data), took
	case o.If == IfAbsent && values != 0, o.If == IfValue && (values != bit(o.Expect) || values == 0):
		return values, took + 1 + values
	}
	return bit(o.Value.Data), took
}

// closure is what may be when any operations that wait take effect, in any order.
func (m *monitor) closure() []config {
	all := slices.Clone(m.configs)
	seen := map[config]bool{}
	for _, c := range all {
		seen[c] = true
	}
	for i := 0; i < len(all); i++ {
		c := all[i]
		for op := range 7 {
			if c.state(op) != pending {
				continue
			}
			values, state := m.effect(op, byte(c))
			if next := (c&^0xff | config(values)).with(op, state); !seen[next] {
				seen[next] = true
				all = append(all, next)
			}
		}
	}
	return all
}
