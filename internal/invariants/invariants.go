// Package invariants switches the expensive self-checks on: recomputing derived state,
// poisoning freed buffers, checking order on every step.
//
//	if invariants.Enabled { invariants.Check(a < b, "order: %d >= %d", a, b) }
package invariants

import "fmt"

// Check panics with the formatted values when ok is false. A broken invariant is our bug.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
