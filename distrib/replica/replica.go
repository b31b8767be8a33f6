// Package replica keeps the records of one node in its Store: it stores writes, merges what other nodes have,
// and answers what it holds.
//
//	run, err := replica.NextRun(store, known)   // once, when the node starts
//	r := replica.New(replica.Options{Store: store, Prefix: distrib.DataPrefix(), Node: 1, Run: run, ...})
//	w, err := r.Put(key, replica.Put{Op: op, Past: context, Value: value}) // this node stores the write first
//	_, err = other.Merge(key, distrib.Record{w.Sibling}, sync)        // the others get it from there
//	record, err := r.Read(key)
//
// All methods may be called by many goroutines at once. Changes of one key take their turn.
//
// # Who counts
//
// The node that stores a write first gives it its dot. It counts on from the last dot that it gave the key, if
// that was in this run of the node, and begins a new birth else: the copy may have been gone, or, after a
// crash, be older than what others got from it. A birth is the run's number and a counter, so none comes twice as
// long as run numbers are never used again.
//
// So a dot may leave the node before its write is durable there, and others may merge it: a node that crashes then
// has forgotten the dot, and never gives it to another write, since it never counts on from an older run. What of the
// write is durable elsewhere comes back by repair.
package replica

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Options of a Replica. All are required.
type Options struct {
	Store  distrib.Store
	Prefix []byte  // distrib.DataPrefix or distrib.HintPrefix
	Node   uint64  // the node's number in the ring
	Births *Births // the node's, which all its replicas share
}

// Births gives out the births of one run of a node. Two replicas of a node must share it: they would give one
// birth to two copies of a key.
type Births struct {
	run   uint64 // 1 to 2^32-1
	given atomic.Uint32
}

// Run is the number of this start of the node.
func (b *Births) Run() uint64 { return b.run }

func (b *Births) next() uint64 { return b.run<<32 | uint64(b.given.Add(1)) }

// Replica is the records of a node behind one prefix of its store.
type Replica struct {
	opts Options
	size atomic.Int64

	seed  maphash.Seed
	locks [stripes]sync.Mutex // by hash of the key; held by who changes one of its keys
	known [shelves]known      // by hash of the key, too

	forgets    sync.Mutex // held by Forget
	forgetting atomic.Pointer[forgotten]
}

// stripes is how many groups keys are in, whose changes take their turn. A change takes as long as a sync, so they are many.
const stripes = 4096

// runKey is where NextRun counts.
var runKey = []byte{byte(distrib.SpaceMeta), 'r', 'u', 'n'}

// LastRun returns the number of the last start of the node that owns s as s has it, 0 where it has none.
func LastRun(s distrib.Store) (uint64, error) {
	b, err := s.Get(runKey)
	if errors.Is(err, distrib.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("number of the last run: %w", err)
	}
	run, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("number of the last run is %q, want digits", b)
	}
	return run, nil
}

// NextRun counts the starts of the node that owns s, durably, and returns the births of this one. known is the
// last run that anybody knows of: a node that comes back without its store goes on above it.
func NextRun(s distrib.Store, known uint64) (*Births, error) {
	run, err := LastRun(s)
	if err != nil {
		return nil, err
	}
	if run = max(run, known) + 1; run >= 1<<32 {
		return nil, fmt.Errorf("run %d: a node can start %d times", run, uint64(1)<<32-1)
	}
	if err := s.Apply([]distrib.Op{{Key: runKey, Value: strconv.AppendUint(nil, run, 10)}}, distrib.SyncNow); err != nil {
		return nil, fmt.Errorf("number of this run: %w", err)
	}
	return &Births{run: run}, nil
}

// New returns the replica of a node.
func New(opts Options) *Replica {
	return &Replica{opts: opts, seed: maphash.MakeSeed()}
}

// lock makes changes of key wait for each other until the function that it returns is called.
func (r *Replica) lock(key []byte) (unlock func()) {
	mu := &r.locks[r.hash(key)%stripes]
	for {
		mu.Lock()
		f := r.forgetting.Load()
		if f == nil || !f.has(key) {
			return mu.Unlock
		}
		mu.Unlock()
		<-f.done
	}
}

// lockSome is lock for the keys at places of a list, for those whose lock is free: got; and for the first, for which it waits. With
// locks in hand it waits for none: those whose change takes long would hold up all others.
func (r *Replica) lockSome(list []register.Decision, places []int) (got, rest []int, unlock func()) {
	unlocks := []func(){r.lock(list[places[0]].Key)}
	has := [stripes]bool{}
	has[r.hash(list[places[0]].Key)%stripes] = true
	got = append(got, places[0])
	for _, at := range places[1:] {
		key := list[at].Key
		stripe := r.hash(key) % stripes
		if mu := &r.locks[stripe]; !has[stripe] && mu.TryLock() {
			has[stripe] = true
			unlocks = append(unlocks, mu.Unlock)
		}
		f := r.forgetting.Load() // behind the lock, as in lock
		if has[stripe] && (f == nil || !f.has(key)) {
			got = append(got, at)
		} else {
			rest = append(rest, at)
		}
	}
	return got, rest, func() {
		for _, unlock := range unlocks {
			unlock()
		}
	}
}

func (r *Replica) hash(key []byte) uint64 { return maphash.Bytes(r.seed, key) }

func (r *Replica) knownOf(key []byte) *known { return &r.known[r.hash(key)%shelves] }

func (r *Replica) headKey(key []byte) []byte {
	return distrib.HeadKey(r.opts.Prefix, ring.TokenOf(key).Hi, key)
}

// Held is what a replica holds of a key.
type Held struct {
	Record distrib.Record // empty where it holds nothing
	// Linearizable: it knows that the key's register holds it, so Record may be stale.
	Linearizable bool
}

// Read returns the record of key; it is empty where the node holds none.
func (r *Replica) Read(key []byte) (distrib.Record, error) {
	h, err := r.Hold(key)
	return h.Record, err
}

// Hold returns what the node holds of key.
func (r *Replica) Hold(key []byte) (Held, error) {
	h, err := r.read(key)
	if errors.Is(err, distrib.ErrNotFound) {
		// A change between the reads of the head and of a value apart. With the lock there is none.
		defer r.lock(key)()
		h, err = r.read(key)
	}
	if err != nil {
		return Held{}, fmt.Errorf("read record of %q: %w", key, err)
	}
	return h, nil
}

func (r *Replica) read(key []byte) (Held, error) {
	head := r.headKey(key)
	h, err := r.readHead(head)
	if err != nil {
		return Held{}, err
	}
	err = r.fill(head, &h, h.Record)
	return Held{h.Record, h.Linearizable}, err
}

// fill reads the values that some versions of h have in entries of their own.
func (r *Replica) fill(head []byte, h *distrib.Head, some distrib.Record) (err error) {
	for _, m := range h.Missing {
		dot := h.Record[m.Sibling].Dot
		i := slices.IndexFunc(some, func(s distrib.Sibling) bool { return s.Dot == dot })
		if i < 0 {
			continue
		}
		v := &some[i].Value
		if v.Data, err = r.opts.Store.Get(distrib.ValueKey(head, dot)); err != nil {
			return fmt.Errorf("value of version %s: %w", dot, err)
		}
		if len(v.Data) != m.Bytes {
			return fmt.Errorf("value of version %s: %d bytes, its head says %d", dot, len(v.Data), m.Bytes)
		}
	}
	return nil
}

// readHead reads a record without the values that stand apart.
func (r *Replica) readHead(head []byte) (distrib.Head, error) {
	b, err := r.opts.Store.Get(head)
	if errors.Is(err, distrib.ErrNotFound) {
		return distrib.Head{}, nil
	}
	if err != nil {
		return distrib.Head{}, err
	}
	return distrib.DecodeHead(b)
}

// Put is a write.
type Put struct {
	Op    distrib.OpID
	Past  vclock.Seen // what its writer has seen of the key
	Value distrib.Value
	Sync  distrib.Sync
	// Retried: another node may have been asked to store it first.
	Retried bool
}

// Written is what became of a Put.
type Written struct {
	Sibling  distrib.Sibling // what other replicas must merge
	Siblings int             // how many there are now, this one included
	// Repeated: the operation had been done before. Sibling is what it wrote, or a version that overwrote that.
	Repeated bool
}

// Put stores a write that no replica has yet, unless the record shows that its operation was done before. One that
// would make more than distrib.SiblingsMax is refused with distrib.ErrTooManySiblings, and one of a key that is linearizable
// with distrib.ErrLinearizable.
func (r *Replica) Put(key []byte, p Put) (Written, error) {
	defer r.lock(key)()
	head := r.headKey(key)
	h, err := r.readHead(head)
	if err != nil {
		return Written{}, fmt.Errorf("put %q: %w", key, err)
	}
	if i := vclock.Tried(h.Record, p.Op); i >= 0 {
		w, err := r.again(key, head, h, i, p)
		if err != nil {
			return Written{}, fmt.Errorf("put %q again: %w", key, err)
		}
		return w, nil
	}
	if h.Linearizable {
		return Written{}, fmt.Errorf("put %q: %w", key, distrib.ErrLinearizable)
	}
	actor := r.actor(h.Minted)
	dot, err := vclock.Next(h.Record, actor, counterOf(h.Minted, actor), p.Past)
	if err != nil {
		return Written{}, fmt.Errorf("put %q: %w", key, err)
	}
	s := distrib.Sibling{Dot: dot, Op: p.Op, Past: p.Past, Value: p.Value}
	if p.Retried {
		s = s.Retry(p.Op)
	}
	record := vclock.Merge(h.Record, distrib.Record{s})
	if len(record) > distrib.SiblingsMax && len(record) > len(h.Record) {
		return Written{}, fmt.Errorf("put %q: it has %d siblings, the limit: read it, and write with the context of what was read: %w", key, len(h.Record), distrib.ErrTooManySiblings)
	}
	if err := r.store(key, head, h, distrib.Head{Minted: dot, Record: record}, p.Sync); err != nil {
		return Written{}, fmt.Errorf("put %q: %w", key, err)
	}
	// As it is there: the record may have known more of what was retried.
	i := slices.IndexFunc(record, func(s distrib.Sibling) bool { return s.Dot == dot })
	return Written{Sibling: record[i], Siblings: len(record)}, nil
}

// again answers a put whose operation was done before, as sibling i of h shows.
func (r *Replica) again(key, head []byte, h distrib.Head, i int, p Put) (w Written, err error) {
	known := h.Record
	if p.Retried {
		known = slices.Clone(known)
		known[i] = known[i].Retry(p.Op)
	}
	if vclock.Same(known, h.Record) {
		err = r.settle(p.Sync)
	} else {
		err = r.store(key, head, h, distrib.Head{Minted: h.Minted, Linearizable: h.Linearizable, Record: known}, p.Sync)
	}
	if err != nil {
		return w, err
	}
	// The bytes that were stored, whatever this try says: others have them under this dot.
	full, err := r.read(key)
	if err != nil {
		return w, err
	}
	return Written{Sibling: full.Record[i], Siblings: len(full.Record), Repeated: true}, nil
}

// actor is who counts the next write of a key for which the node gave minted last.
func (r *Replica) actor(minted vclock.Dot) vclock.Actor {
	if minted.Counter > 0 && minted.Node == r.opts.Node && minted.Birth>>32 == r.opts.Births.run {
		return minted.Actor
	}
	return vclock.Actor{Node: r.opts.Node, Birth: r.opts.Births.next()}
}

func counterOf(minted vclock.Dot, a vclock.Actor) uint64 {
	if minted.Actor == a {
		return minted.Counter
	}
	return 0
}

// Merge adds what another node holds of key. changed reports whether anything was new: a version, or that an operation
// was retried.
func (r *Replica) Merge(key []byte, other distrib.Record, sync distrib.Sync) (changed bool, err error) {
	defer r.lock(key)()
	head := r.headKey(key)
	h, err := r.readHead(head)
	if err != nil {
		return false, fmt.Errorf("merge %q: %w", key, err)
	}
	record := vclock.Merge(h.Record, other)
	if vclock.Same(h.Record, record) {
		return false, r.settle(sync)
	}
	if err := r.store(key, head, h, distrib.Head{Minted: h.Minted, Linearizable: h.Linearizable, Record: record}, sync); err != nil {
		return false, fmt.Errorf("merge %q: %w", key, err)
	}
	return true, nil
}

// Settle makes durable what was stored before it was called.
func (r *Replica) Settle() error { return r.settle(distrib.SyncNow) }

// settle makes what was applied before as durable as sync asks: what is there already may have come with less.
func (r *Replica) settle(sync distrib.Sync) error {
	if sync == distrib.SyncLater {
		return nil
	}
	if err := r.opts.Store.Apply([]distrib.Op{{Key: settleKey, Value: []byte{}}}, sync); err != nil {
		return fmt.Errorf("sync what is there already: %w", err)
	}
	return nil
}

// settleKey is written to have what was written before synced.
var settleKey = []byte{byte(distrib.SpaceMeta), 's', 'y', 'n', 'c'}

// heads are buffers for heads on their way to the store, which keeps none. keptHead is the largest that is used again.
var heads = sync.Pool{New: func() any { return new([]byte) }}

const keptHead = 8 * distrib.InlineBytes

// store replaces old by what next says, whose Missing is not looked at, and makes more changes with it, all as one. What is known
// of the key's register is forgotten.
func (r *Replica) store(key, head []byte, old, next distrib.Head, when distrib.Sync, more ...distrib.Op) error {
	c := changes{ops: more}
	r.replace(&c, key, head, old, next)
	return r.apply(&c, when)
}

// changes are made together.
type changes struct {
	ops   []distrib.Op
	grown int64
	lent  []*[]byte // to ops, of heads
}

// apply makes changes, whatever becomes of them the last use of c.
func (r *Replica) apply(c *changes, when distrib.Sync) error {
	err := r.opts.Store.Apply(c.ops, when)
	if err == nil {
		r.size.Add(c.grown)
	}
	for _, b := range c.lent {
		if cap(*b) <= keptHead {
			heads.Put(b)
		}
	}
	return err
}

// replace adds to c what store does.
func (r *Replica) replace(c *changes, key, head []byte, old, next distrib.Head) {
	r.knownOf(key).forget(key)
	record := next.Record
	apart := map[vclock.Dot]int{} // where the bytes are in the store already
	for _, m := range old.Missing {
		apart[old.Record[m.Sibling].Dot] = m.Bytes
	}
	c.grown -= old.Bytes(len(head))
	lengths := make([]int, len(record))
	for i := range record {
		s := &record[i]
		n, there := apart[s.Dot]
		if there {
			lengths[i] = n
			delete(apart, s.Dot)
			continue
		}
		if lengths[i] = len(s.Value.Data); lengths[i] > distrib.InlineBytes {
			c.ops = append(c.ops, distrib.Op{Key: distrib.ValueKey(head, s.Dot), Value: s.Value.Data})
		}
	}
	for dot := range apart {
		c.ops = append(c.ops, distrib.Op{Key: distrib.ValueKey(head, dot), Delete: true})
	}
	if len(record) > 0 {
		b := heads.Get().(*[]byte)
		*b = distrib.AppendHead((*b)[:0], &next, lengths)
		c.lent = append(c.lent, b)
		c.ops = append(c.ops, distrib.Op{Key: head, Value: *b})
	} else {
		c.ops = append(c.ops, distrib.Op{Key: head, Delete: true})
	}
	for _, n := range lengths {
		c.grown += int64(len(head) + n)
	}
}

// Grown is by how many bytes, keys and values of all versions, the replica has grown since New.
func (r *Replica) Grown() int64 { return r.size.Load() }

// Remove forgets a record if it still holds the versions of seen and no other.
func (r *Replica) Remove(key []byte, seen []vclock.Dot, sync distrib.Sync) (removed bool, err error) {
	defer r.lock(key)()
	head := r.headKey(key)
	h, err := r.readHead(head)
	if err == nil && len(h.Record) > 0 && slices.Equal(vclock.Dots(h.Record), seen) {
		removed, err = true, r.store(key, head, h, distrib.Head{}, sync)
	}
	if err != nil {
		return false, fmt.Errorf("remove %q: %w", key, err)
	}
	return removed, nil
}

// Digest returns the dots that the node holds of key, and whether it knows that the key is linearizable, without reading
// values that stand apart.
func (r *Replica) Digest(key []byte) (dots []vclock.Dot, linearizable bool, err error) {
	h, err := r.readHead(r.headKey(key))
	if err != nil {
		return nil, false, fmt.Errorf("digest of %q: %w", key, err)
	}
	return vclock.Dots(h.Record), h.Linearizable, nil
}

// SizeOf is what a record of key counts for in Grown.
func (r *Replica) SizeOf(key []byte, h distrib.Head) int64 { return h.Bytes(len(r.headKey(key))) }

// Scan calls visit with the key and the head of every record whose token's top half is first to last, by token.
// Both are valid until visit returns. It ends at the first error of visit and returns it.
func (r *Replica) Scan(first, last uint64, visit func(key []byte, h distrib.Head) error) error {
	return r.scan(first, last, func(_ uint64, key []byte, h distrib.Head) error { return visit(key, h) })
}

func (r *Replica) scan(first, last uint64, visit func(token uint64, key []byte, h distrib.Head) error) error {
	lower, upper := distrib.TokenBounds(r.opts.Prefix, first, last)
	return r.opts.Store.Scan(lower, upper, func(k, v []byte) error {
		token, key, head, err := distrib.ParseKey(r.opts.Prefix, k)
		if err != nil || !head {
			return err
		}
		h, err := distrib.DecodeHead(v)
		if err != nil {
			return fmt.Errorf("record of %q: %w", key, err)
		}
		return visit(token, key, h)
	})
}
