package check

import (
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// Mixture is what the histories of keys show whose operations are linearizable, or eventual writes beside such.
type Mixture struct {
	Violations []Violation
	// Twice are keys that are right but that a write which replicas have stored as two came to light twice. docs/cluster.md says when it may.
	Twice     []string
	Undecided []string
}

// Judge is Linearizable, but for writes that replicas have stored as two, which twice names. A key is judged for so long as patience
// says, and before it is called wrong 60 times as long.
func Judge(steps []Step, twice map[distrib.OpID]bool, patience time.Duration) (m Mixture) {
	violations, undecided := linearizable(steps, patience)
	for _, key := range undecided {
		if right, _ := cameTwice(steps, key, twice, patience); right {
			m.Twice = append(m.Twice, key)
		} else {
			m.Undecided = append(m.Undecided, key)
		}
	}
	for _, v := range violations {
		switch right, decided := cameTwice(steps, v.Key, twice, 60*patience); {
		case right:
			m.Twice = append(m.Twice, v.Key)
		case !decided:
			m.Undecided = append(m.Undecided, v.Key)
		default:
			m.Violations = append(m.Violations, v)
		}
	}
	return m
}

// cameTwice reports whether all of a key's history is right but that writes came to light twice, and whether that was decided.
func cameTwice(steps []Step, key string, twice map[distrib.OpID]bool, patience time.Duration) (right, decided bool) {
	var of []Step
	again := false
	for _, s := range steps {
		if s.Key == key {
			s.Twice = s.If == Beside && twice[s.Op]
			again = again || s.Twice
			of = append(of, s)
		}
	}
	if !again {
		return false, true
	}
	violations, undecided := linearizable(of, patience)
	return len(violations)+len(undecided) == 0, len(undecided) == 0
}
