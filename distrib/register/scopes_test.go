package register

import (
	"flag"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

var long = flag.Bool("long", false, "explore the scopes with answers that come late too, which takes hours and gigabytes")

func op(i int, kind Kind) Operation { return Operation{ID: opID(i), Kind: kind} }

func put(i int, value string) Operation {
	o := op(i, Put)
	o.Value = distrib.Value{Data: []byte(value)}
	return o
}

// swap puts value where the key has expect, which is nothing where it is empty.
func swap(i int, expect, value string) Operation {
	o := put(i, value)
	o.If, o.Expect = IfValue, []byte(expect)
	if expect == "" {
		o.If = IfAbsent
	}
	return o
}

func get(i int) Operation { return op(i, Get) }

func scripts(a, b []Operation) [2][]Operation { return [2][]Operation{a, b} }

func ops(o ...Operation) []Operation { return o }

// eventual is a record of values, each written by an eventual write at a node of its own.
func eventual(values string) (r distrib.Record) {
	for _, v := range values {
		r = append(r, distrib.Sibling{Dot: vclock.Dot{Actor: vclock.Actor{Node: uint64(v)}, Counter: 1}, Value: distrib.Value{Data: []byte(string(v))}})
	}
	return r
}

// scopes are explored by go test.
var scopes = []struct {
	name string
	scope
}{
	{"a put and a read", scope{scripts: scripts(ops(put(0, "a")), ops(get(1)))}},
	{"a put and a swap of it", scope{scripts: scripts(ops(put(0, "a")), ops(swap(1, "a", "b")))}},
	{"a put and a swap that fails", scope{scripts: scripts(ops(put(0, "a")), ops(swap(1, "c", "b")))}},
	{"two swaps of nothing", scope{scripts: scripts(ops(swap(0, "", "a")), ops(swap(1, "", "b")))}},
	{"a proposer starts anew", scope{scripts: scripts(ops(put(0, "a"), put(1, "b")), nil), starts: 1}},
	{"operations wait for each other", scope{scripts: scripts(ops(put(0, "a"), swap(1, "a", "b"), get(2)), nil), folded: true}},
	{"two swaps of what was replaced", scope{scripts: scripts(ops(put(0, "a"), swap(1, "b", "c"), swap(2, "b", "d"), put(3, "b")), nil), folded: true}},
	{"two swaps of what was replaced, two proposers", scope{scripts: scripts(ops(swap(0, "b", "c"), swap(1, "b", "d")), ops(put(2, "b"))), folded: true, expires: 1, prompt: true}},
	{"an eventual write goes astray, one proposer", scope{scripts: scripts(ops(put(0, "a"), get(1)), nil), stray: eventual("d")}},
	{"a put, then two reads", scope{scripts: scripts(ops(put(0, "a")), ops(get(1), get(2))), prompt: true}},
	{"a put, a swap and a read", scope{scripts: scripts(ops(put(0, "a")), ops(swap(1, "a", "b"), get(2))), prompt: true}},
	{"a put, a swap that fails and a read", scope{scripts: scripts(ops(put(0, "a")), ops(swap(1, "c", "b"), get(2))), prompt: true}},
	{"who was beaten tries again", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), retries: 1, prompt: true}},
	{"two writers, each tries twice", scope{scripts: scripts(ops(put(0, "a")), ops(put(1, "b"))), retries: 1, prompt: true}},
	{"an answer is lost", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), losses: 1, prompt: true}},
	{"no time is left", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), expires: 1, prompt: true}},
	{"an acceptor crashes", scope{scripts: scripts(ops(put(0, "a")), ops(put(1, "b"))), crashes: 1, prompt: true}},
	{"a node is replaced", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), moves: true, stays: true, late: true, second: 3, prompt: true}},
	{"a dead node is replaced", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), moves: true, dead: true, stays: true, late: true, second: 2, prompt: true}},
	{"a node loses its store", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), wiped: true, late: true, second: 2, stays: true, prompt: true}},
	{"a node loses its store, two writers", scope{scripts: scripts(ops(put(0, "a")), ops(put(1, "b"))), wiped: true, late: true, second: 2, stays: true, prompt: true}},
	{"a key is promoted by a read", scope{scripts: scripts(ops(get(0)), ops(get(1))), data: [4]distrib.Record{eventual("a"), eventual("b"), nil}, prompt: true}},
	{"a key is promoted by a write", scope{scripts: scripts(ops(put(0, "c")), ops(get(1))), data: [4]distrib.Record{eventual("a"), nil, nil}, prompt: true}},
	{"an eventual write goes astray", scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), stray: eventual("d"), prompt: true}},
}

// TestScopes goes through all states of each scope. The numbers are printed with -v.
func TestScopes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long under the race detector, and has one goroutine")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	limit, total := 2_000_000, 0
	for _, s := range scopes {
		if *long {
			limit, s.prompt = 100_000_000, false
		}
		x := explore(&s.scope, limit)
		require.Empty(t, x.violation, "%s: %s", s.name, x.trace())
		require.Less(t, len(x.seen), limit, "%s: there are more states", s.name)
		t.Logf("%-44s %8d states, %3d deep", s.name, len(x.seen), x.deepest)
		total += len(x.seen)
	}
	t.Logf("%-44s %8d states", "all", total)
}

// TestWays goes random ways through worlds that are too wide to be gone through as a whole.
func TestWays(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long under the race detector, and has one goroutine")
	}
	for _, s := range []scope{
		{scripts: scripts(ops(put(0, "a"), get(1)), ops(swap(2, "a", "b"), get(3))), moves: true, retries: 2},
		{scripts: scripts(ops(put(0, "a"), get(1)), ops(get(2), get(3))), moves: true, dead: true, retries: 2, losses: 1, crashes: 1},
		{scripts: scripts(ops(put(0, "a"), get(1)), ops(swap(2, "a", "b"), get(3))), wiped: true, retries: 2, losses: 1},
		{scripts: scripts(ops(put(0, "a"), swap(1, "a", "c"), get(2)), ops(put(3, "b"), get(4))), folded: true, retries: 2, losses: 1, expires: 1, crashes: 1, starts: 1},
	} {
		steps := 20_000
		if *long {
			steps = 100_000_000
		}
		x, _ := wander(&s, steps)
		require.Empty(t, x.violation, x.trace())
	}
}
