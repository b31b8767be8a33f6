package register

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

// controls are known mistakes in what surrounds the steps, and the small world in which each shows: an exploration that misses
// one proves nothing. Those in the steps themselves are brought back in builds with the tag "bugs".
var controls = []struct {
	name string
	control
	scope
}{
	{"promises are forgotten by a crash", control{unsyncedPromises: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(put(1, "b"))), crashes: 1}},
	{"accepted values are forgotten by a crash", control{unsyncedAccepts: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), crashes: 1}},
	{"an older ballot is accepted", control{acceptOlder: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(put(1, "b")))}},
	{"a ballot is used again after a restart", control{sameRun: true},
		scope{scripts: scripts(ops(put(0, "a"), put(1, "b")), nil), starts: 1}},
	{"two nodes have one number", control{sameNode: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(put(1, "b")))}},
	{"a quorum of one end while owners change", control{oneEnd: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(get(1), get(2))), moves: true}},
	{"registers stay behind when owners change", control{noCopy: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), moves: true, dead: true}},
	{"nothing fences off the older epoch", control{noFence: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), moves: true, stays: true, late: true, second: 3}},
	{"registers are copied before the older epoch is fenced off", control{earlyCopy: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), moves: true, stays: true, late: true, second: 3}},
	{"who has lost its store answers before it has copied", control{forgetful: true},
		scope{scripts: scripts(ops(put(0, "a")), ops(get(1))), wiped: true}},
	{"eventual writes gone astray are not told", control{dropStrays: true},
		scope{scripts: scripts(ops(put(0, "a"), get(1)), nil), stray: eventual("d"), everywhere: true}},
}

func TestControls(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long under the race detector, and has one goroutine")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	for _, c := range controls {
		s := c.scope
		s.control = c.control
		requireFound(t, c.name, s)
	}
}

// requireFound wants a mistake to show in a small world.
func requireFound(t *testing.T, name string, s scope) {
	s.prompt = true
	var x *explorer
	var steps int
	if (s.moves || s.wiped) && s.second == 0 {
		x, steps = wander(&s, 400_000)
	} else {
		x = explore(&s, 50_000)
		steps = len(x.seen)
	}
	assert.NotEmpty(t, x.violation, "%s: not found in %d states", name, steps)
	t.Logf("%-52s %7d states: %s", name, steps, x.violation)
}
