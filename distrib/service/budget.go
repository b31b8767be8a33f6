package service

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// errStopping is what a closed budget says.
var errStopping = errors.New("is stopping")

// budget bounds the operations under way and the bytes that they hold.
type budget struct {
	of                 string // for messages
	operationsMax, max int

	mu         sync.Mutex // guards what follows
	operations int
	bytes      int
	closed     bool
	empty      chan struct{} // closed when there are no operations after a close
}

func newBudget(of string, operations, bytes int) *budget {
	return &budget{of: of, operationsMax: operations, max: bytes, empty: make(chan struct{})}
}

// take begins an operation that holds so many bytes. An error is errStopping or a distrib.Overloaded.
func (b *budget) take(bytes int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	what := ""
	switch {
	case b.closed:
		return errStopping
	case b.operations >= b.operationsMax:
		what = fmt.Sprintf("%s has %d operations under way, the limit", b.of, b.operations)
	case b.operations > 0 && b.bytes+bytes > b.max:
		what = fmt.Sprintf("%s has operations of %d bytes under way, with this one %d, the limit is %d", b.of, b.bytes, b.bytes+bytes, b.max)
	default:
		b.operations++
		b.bytes += bytes
		return nil
	}
	return &distrib.Overloaded{What: what, RetryAfter: retryAfter}
}

// hold adds to what operations under way hold.
func (b *budget) hold(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += bytes
}

// fits reports whether operations under way may hold so many bytes more.
func (b *budget) fits(bytes int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes+bytes <= b.max
}

// give ends operations that held so many bytes together.
func (b *budget) give(operations, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.operations -= operations
	b.bytes -= bytes
	b.signal()
}

// close refuses what comes.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.signal()
}

// signal tells those that wait for the last operation. The caller holds mu.
func (b *budget) signal() {
	if !b.closed || b.operations > 0 {
		return
	}
	select {
	case <-b.empty:
	default:
		close(b.empty)
	}
}

// drained waits, after close, until no operation is under way, but no longer than patience.
func (b *budget) drained(patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-b.empty:
	case <-timer.C:
	}
}
