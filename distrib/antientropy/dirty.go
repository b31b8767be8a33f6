package antientropy

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/cambiumdb/cambium/distrib"
)

// slotBits is how finely what may differ is known: 2^slotBits slots of tokens of equal width.
const slotBits = 16

// dirtyKey is where the slots are kept.
var dirtyKey = []byte{byte(distrib.SpaceMeta), 'd', 'i', 'r', 't', 'y'}

// Dirty is the slots of tokens in which replicas may differ, since a write did not reach all of them, a hint was
// refused, or a node came back from a crash. It is kept in a node's store. All methods may be called by many
// goroutines at once.
type Dirty struct {
	store distrib.Store

	saves sync.Mutex // held by who stores the slots; before mu

	mu      sync.Mutex // guards what follows
	slots   *roaring.Bitmap
	changes int // how often slots were changed
	saved   int // how many of the changes are stored
}

// OpenDirty reads what the store of a node says may differ.
func OpenDirty(store distrib.Store) (*Dirty, error) {
	d := &Dirty{store: store, slots: roaring.New()}
	b, err := store.Get(dirtyKey)
	if errors.Is(err, distrib.ErrNotFound) {
		return d, nil
	}
	if err == nil {
		err = d.slots.UnmarshalBinary(b)
	}
	if err == nil && !d.slots.IsEmpty() && d.slots.Maximum() >= 1<<slotBits {
		err = fmt.Errorf("slot %d, want less than %d", d.slots.Maximum(), 1<<slotBits)
	}
	if err != nil {
		return nil, fmt.Errorf("dirty slots: %w", err)
	}
	return d, nil
}

// Mark notes that the replicas of a token, its top half, may differ. It is durable within a second.
func (d *Dirty) Mark(token uint64) error {
	return d.change(func() bool { return d.slots.CheckedAdd(slotOf(token)) })
}

// MarkAll notes that anything may differ: the node came back from a crash.
func (d *Dirty) MarkAll() error { return d.MarkRange(Slots{0, 1<<64 - 1}) }

// MarkRange notes that replicas may differ anywhere in slots.
func (d *Dirty) MarkRange(list ...Slots) error {
	return d.change(func() bool {
		for _, s := range list {
			d.slots.AddRange(uint64(slotOf(s.First)), uint64(slotOf(s.Last))+1)
		}
		return true
	})
}

// Clean takes slots off, before they are compared: a mark that comes meanwhile stands. Where the comparison fails,
// they are marked again.
func (d *Dirty) Clean(s Slots) error {
	return d.change(func() bool {
		d.slots.RemoveRange(uint64(slotOf(s.First)), uint64(slotOf(s.Last))+1)
		return true
	})
}

// change makes a change of the slots, which do reports, and returns when it is stored: with all that came before it is.
func (d *Dirty) change(do func() bool) error {
	d.mu.Lock()
	if do() {
		d.changes++
	}
	mine, stored := d.changes, d.saved
	d.mu.Unlock()
	if stored >= mine {
		return nil
	}
	d.saves.Lock()
	defer d.saves.Unlock()
	return d.save(mine)
}

// save writes the slots unless the first changes of them are stored. d.saves is held.
func (d *Dirty) save(first int) error {
	d.mu.Lock()
	if d.saved >= first { // with those of another, who waited less
		d.mu.Unlock()
		return nil
	}
	all := d.changes
	d.slots.RunOptimize()
	b, err := d.slots.ToBytes()
	d.mu.Unlock()
	if err == nil {
		err = d.store.Apply([]distrib.Op{{Key: dirtyKey, Value: b}}, distrib.SyncSoon)
	}
	if err != nil {
		return fmt.Errorf("save dirty slots: %w", err)
	}
	d.mu.Lock()
	d.saved = all
	d.mu.Unlock()
	return nil
}

// Slots are the tokens, by their top halves, from First to Last, both included, of one slot or several.
type Slots struct{ First, Last uint64 }

// SlotAt is the slot that token lies in.
func SlotAt(token uint64) Slots {
	first := token &^ (1<<(64-slotBits) - 1)
	return Slots{first, first | (1<<(64-slotBits) - 1)}
}

// Next returns the first dirty slots at or behind token that lie side by side; ok is false where there are none.
func (d *Dirty) Next(token uint64) (s Slots, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	it := d.slots.Iterator()
	it.AdvanceIfNeeded(slotOf(token))
	if !it.HasNext() {
		return Slots{}, false
	}
	first := it.Next()
	before := d.slots.Rank(first)
	gap := sort.Search(1<<slotBits-int(first), func(n int) bool { // the first so far behind it that is not dirty
		return d.slots.Rank(first+uint32(n))-before < uint64(n)
	})
	last := first + uint32(gap) - 1
	return Slots{uint64(first) << (64 - slotBits), SlotAt(uint64(last) << (64 - slotBits)).Last}, true
}

// Count is how many slots are dirty, of 65,536.
func (d *Dirty) Count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int(d.slots.GetCardinality())
}

func slotOf(token uint64) uint32 { return uint32(token >> (64 - slotBits)) }
