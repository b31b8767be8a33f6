package replica

import (
	"bytes"
	"container/list"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
)

// knownBytes is about what a replica keeps in memory of the registers that were used last, in shelves of equal size.
const (
	knownBytes = 32 << 20
	shelves    = 64
)

// known are registers with the heads of their records, as the store has them: those of some keys that were used last. Who asks or
// tells of a key holds its lock, so that what is known of it is what the store has. The zero value is ready for use.
type known struct {
	mu    sync.Mutex // guards what follows
	keys  map[string]*list.Element
	order list.List // of *knowing, the last used in front
	bytes int
}

// knowing is what is known of a key. Nothing in it is changed in place.
type knowing struct {
	key   string
	state register.State
	head  distrib.Head
	bytes int
}

// get returns what is known of a key; nil: nothing.
func (k *known) get(key []byte) *knowing {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.keys[string(key)]
	if e == nil {
		return nil
	}
	k.order.MoveToFront(e)
	return e.Value.(*knowing)
}

// put notes what the store has of a key now. Large records are left out.
func (k *known) put(key []byte, state register.State, head distrib.Head) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remove(key)
	n := &knowing{string(key), state, head, len(key) + state.Value.Size()}
	for i := range head.Record {
		s := &head.Record[i]
		if len(s.Value.Data) > distrib.InlineBytes { // its head says that it stands apart
			return
		}
		if !slices.ContainsFunc(state.Value.Record, func(o distrib.Sibling) bool { return o.Dot == s.Dot }) {
			n.bytes += register.VersionBytes + len(s.Value.Data)
		}
	}
	const most = knownBytes / shelves
	if len(head.Missing) > 0 || n.bytes > most/4 {
		return
	}
	if k.keys == nil {
		k.keys = map[string]*list.Element{}
	}
	k.keys[n.key] = k.order.PushFront(n)
	for k.bytes += n.bytes; k.bytes > most; {
		k.drop(k.order.Back())
	}
}

// forget is for a key that is about to change.
func (k *known) forget(key []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remove(key)
}

// forgetAll is forget for the keys of f.
func (k *known) forgetAll(f *forgotten) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, e := range k.keys {
		if f.has([]byte(key)) {
			k.drop(e)
		}
	}
}

// remove is forget with k.mu held, as drop.
func (k *known) remove(key []byte) {
	if e := k.keys[string(key)]; e != nil {
		k.drop(e)
	}
}

func (k *known) drop(e *list.Element) {
	n := k.order.Remove(e).(*knowing)
	delete(k.keys, n.key)
	k.bytes -= n.bytes
}

// owned is r with bytes of its own: those of a request are lent.
func owned(r distrib.Record) distrib.Record {
	r = slices.Clone(r)
	for i := range r {
		r[i].Value.Data = bytes.Clone(r[i].Value.Data)
	}
	return r
}
