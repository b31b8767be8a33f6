package client

import "sync/atomic"

// budget lets tries through that add load: each operation pays in a tenth of one, up to a number of them.
type budget struct {
	millis atomic.Int64 // thousandths of a try
}

const (
	budgetShare = 100
	budgetMost  = 256 * 1000
)

// operation pays in.
func (b *budget) operation() {
	if b.millis.Load() < budgetMost {
		b.millis.Add(budgetShare)
	}
}

// take reports whether a try is left, and takes it.
func (b *budget) take() bool {
	if b.millis.Add(-1000) >= 0 {
		return true
	}
	b.millis.Add(1000)
	return false
}
