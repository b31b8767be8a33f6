package register

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// explorer goes through all states that can be reached.
type explorer struct {
	seen      map[uint64]struct{}
	limit     int
	path      []event
	violation string
	deepest   int
}

// explore returns how many states there are, and how one of them breaks a promise.
func explore(s *scope, limit int) *explorer {
	x := &explorer{seen: map[uint64]struct{}{}, limit: limit}
	x.visit(newWorld(s))
	return x
}

func (x *explorer) visit(w *world) bool {
	x.seen[w.sum()] = struct{}{}
	x.deepest = max(x.deepest, len(x.path))
	for _, t := range w.transitions() {
		next, violation := w.after(t)
		if violation == "" {
			if _, seen := x.seen[next.sum()]; seen {
				continue
			}
		}
		x.path = append(x.path, t.event)
		if x.violation = violation; violation != "" || len(x.seen) >= x.limit || !x.visit(next) {
			return false
		}
		x.path = x.path[:len(x.path)-1]
	}
	return true
}

// wander goes random ways through the states until one breaks a promise, and returns in how many steps. For what is rare it takes
// fewer than going through all of them.
func wander(s *scope, limit int) (x *explorer, steps int) {
	random := rand.New(rand.NewPCG(1, 2))
	for steps < limit {
		x = &explorer{}
		tries := 0
		for w := newWorld(s); x.violation == ""; steps++ {
			tries++
			list := w.transitions()
			if len(list) == 0 || tries > 200 {
				break
			}
			t := list[random.IntN(len(list))]
			next, violation := w.after(t)
			if x.violation = violation; violation == "" && next.sum() == w.sum() {
				continue // as a message that came again
			}
			w, x.path = next, append(x.path, t.event)
		}
		if x.violation != "" {
			break
		}
	}
	return x, steps
}

// trace is how the violation came about.
func (x *explorer) trace() string {
	var b strings.Builder
	for _, e := range x.path {
		fmt.Fprintln(&b, e)
	}
	return b.String() + x.violation
}
