package recovery

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// Registers is what a node notes of its part in the registers of keys, beside their states: see package register, "Why it is safe".
//
//	new, or without its store -> Lost: it takes no part
//	the topology was raised   -> Rejoin(epoch): it takes values, and tells of those that it took since
//	all registers were copied -> Restored: it takes part as all do
//
// All methods may be called by many goroutines at once.
type Registers struct {
	store distrib.Store
	since atomic.Uint64
	fence atomic.Uint64
	mu    sync.Mutex // guards changes
}

// lost is that the epoch since which a node takes part again is not known yet.
const lost = math.MaxUint64

// Both hold an epoch, 8 bytes big-endian.
var (
	sinceKey = metaKey("registers")
	fenceKey = metaKey("fence")
)

// OpenRegisters reads what a store has, of which MarkBegun was called.
func OpenRegisters(s distrib.Store) (*Registers, error) {
	r := &Registers{store: s}
	for key, to := range map[string]*atomic.Uint64{string(sinceKey): &r.since, string(fenceKey): &r.fence} {
		epoch, err := number(s, []byte(key))
		if err != nil {
			return nil, fmt.Errorf("the node's part in registers: %w", err)
		}
		to.Store(epoch)
	}
	return r, nil
}

// Lost reports whether the node takes no part, since the epoch in which it comes back has not begun.
func (r *Registers) Lost() bool { return r.Since() == lost }

// Since is the epoch in which the node came back, as long as it has not copied all registers; 0 else.
func (r *Registers) Since() uint64 {
	if bugs.On(bugs.LossIgnored) {
		return 0
	}
	return r.since.Load()
}

// Fence is the oldest epoch whose requests the node takes, under a view of that epoch.
func (r *Registers) Fence(view uint64) uint64 { return max(view, r.fence.Load()) }

// Rejoin notes the epoch in which the node comes back: it began after the loss.
func (r *Registers) Rejoin(epoch uint64) error { return r.note(&r.since, sinceKey, epoch) }

// Restored notes that all registers were copied. They must be durable.
func (r *Registers) Restored() error { return r.note(&r.since, sinceKey, 0) }

// Raise notes an epoch that the node is about to tell others: behind a restart, too, it takes no requests of older ones.
func (r *Registers) Raise(epoch uint64) error {
	if r.fence.Load() >= epoch {
		return nil
	}
	return r.note(&r.fence, fenceKey, epoch)
}

func (r *Registers) note(what *atomic.Uint64, key []byte, epoch uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := mark(r.store, key, epochBytes(epoch)); err != nil {
		return fmt.Errorf("note epoch %d of the node's part in registers: %w", epoch, err)
	}
	what.Store(epoch)
	return nil
}

func epochBytes(epoch uint64) []byte {
	if epoch == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, epoch)
}
