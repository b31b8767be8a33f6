package replica

import (
	"fmt"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// forgotten is a range that is being removed, by the top halves of its tokens, both included.
type forgotten struct {
	first, last uint64
	done        chan struct{} // closed when it is
}

func (f *forgotten) has(key []byte) bool {
	t := ring.TokenOf(key).Hi
	return f.first <= t && t <= f.last
}

// Forget removes all records and registers whose token's top half is first to last. Changes of their keys wait for it, and
// others do not. After a crash there may be records left, whose registers are gone.
func (r *Replica) Forget(first, last uint64) error {
	r.forgets.Lock()
	defer r.forgets.Unlock()
	var bytes int64
	if err := r.Scan(first, last, func(key []byte, h distrib.Head) error {
		bytes += r.SizeOf(key, h)
		return nil
	}); err != nil {
		return fmt.Errorf("forget tokens %016x to %016x: %w", first, last, err)
	}
	f := &forgotten{first, last, make(chan struct{})}
	r.forgetting.Store(f)
	defer func() {
		r.forgetting.Store(nil)
		close(f.done)
	}()
	for i := range r.locks { // a change under way would keep a record's head and lose its values
		await(&r.locks[i])
	}
	for i := range r.known {
		r.known[i].forgetAll(f)
	}
	for _, prefix := range [][]byte{distrib.RegisterPrefix(), r.opts.Prefix} {
		lower, upper := distrib.TokenBounds(prefix, first, last)
		if err := r.opts.Store.DeleteRange(lower, upper, distrib.SyncLater); err != nil {
			return fmt.Errorf("forget tokens %016x to %016x: %w", first, last, err)
		}
	}
	r.size.Add(-bytes)
	return nil
}

// await waits for who holds mu.
func await(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}
