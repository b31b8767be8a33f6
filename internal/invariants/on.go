//go:build invariants || race

package invariants

// Enabled is true in builds with the tag "invariants" and under the race detector.
const Enabled = true
