package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/wal"
)

// The commit queue. A write that finds nobody leading leads at once, in its own goroutine;
// others wait. The leader takes every pending write as one group, gives out sequence numbers,
// appends to the log and to the memtable, and passes leadership on. Then the group's log is
// brought to what its members asked (one sync for all that wait), and the groups become visible in
// order: so no reader sees a write whose sync can still fail.
//
// Lock order: stage -> queue; stage -> DB.mu; publish alone.

// commit is one write on its way.
type commit struct {
	rep       []byte // encoded batch
	count     uint32
	userBytes int64
	policy    wal.Policy
	since     time.Time // when it began to wait; zero: it has not
	cas       *casCheck // nil for unconditional writes

	err      error
	conflict bool // the CAS saw a newer write of its key: read again
	wake     chan bool
}

// casCheck is the condition under which a compare-and-swap may go on: nothing touched key
// after the sequence number it read at.
type casCheck struct {
	key []byte
	at  uint64
}

// group is the commits that share one append.
type group struct {
	id      uint64 // 1, 2, 3, ... in log order
	members []*commit
	policy  wal.Policy
	log     *wal.Log
	pos     wal.Position // end of its last record; the zero value when it has none
	lastSeq uint64
	err     error      // what became of its log, once it is ready
	next    *group     // published with it
	alone   [1]*commit // members, where there is one
}

// fail gives every member err.
func (g *group) fail(err error) {
	for _, m := range g.members {
		m.err = err
	}
}

// Group size is bounded so that the first member does not wait for ever more encoding.
const (
	maxGroupBytes   = 1 << 20
	maxGroupMembers = 1024
)

type commitQueue struct {
	mu      sync.Mutex // guards the next two
	leading bool
	pending []*commit

	stage     sync.Mutex // held by the leader while it stages; by rotation and by healing
	lastGroup uint64     // guarded by stage
	lastSeq   uint64     // last sequence number given out; guarded by stage

	publish   sync.Mutex        // guards the next three
	published uint64            // id of the last finished group
	ready     map[uint64]*group // by id, those that only wait for groups before them
	failed    error             // what made a group of the present log fail
	turn      *sync.Cond        // signals published; on publish
}

func (q *commitQueue) init(lastSeq uint64) {
	q.lastSeq = lastSeq
	q.ready = map[uint64]*group{}
	q.turn = sync.NewCond(&q.publish)
}

// commit brings c through the queue and returns when its policy is met and it is visible.
func (db *DB) commit(c *commit) error {
	q := &db.queue
	q.mu.Lock()
	if q.leading {
		if c.since.IsZero() {
			c.since = time.Now()
		}
		q.pending = append(q.pending, c)
		q.mu.Unlock()
		if lead := <-c.wake; !lead {
			return c.err
		}
	} else {
		q.leading = true
		q.mu.Unlock()
	}
	g := db.lead(c)
	db.finish(g)
	return c.err
}

// lead stages c and whoever waits behind it, and passes leadership on.
func (db *DB) lead(c *commit) *group {
	q := &db.queue
	q.stage.Lock()
	err := db.makeRoom(c)
	g := &group{alone: [1]*commit{c}}
	g.members = g.alone[:]
	if !errors.Is(err, ErrStalled) { // the others have not waited that long
		g.members = q.gather(g.members)
	}
	if err == nil {
		db.stageGroup(g)
	} else {
		g.fail(err)
		g.lastSeq = q.lastSeq
	}
	q.lastGroup++
	g.id = q.lastGroup
	q.stage.Unlock()

	q.mu.Lock()
	if len(q.pending) > 0 {
		next := q.pending[0]
		q.pending[0] = nil
		q.pending = q.pending[1:]
		q.mu.Unlock()
		next.wake <- true
	} else {
		q.leading = false
		q.mu.Unlock()
	}
	return g
}

// gather adds to the leader, the only one of members, the pending commits that fit in one group with it.
func (q *commitQueue) gather(members []*commit) []*commit {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, len(members[0].rep)
	for n < len(q.pending) && n < maxGroupMembers && size+len(q.pending[n].rep) <= maxGroupBytes {
		size += len(q.pending[n].rep)
		n++
	}
	members = append(members, q.pending[:n]...)
	clear(q.pending[:n])
	if q.pending = q.pending[n:]; len(q.pending) == 0 {
		q.pending = nil
	}
	return members
}

// stageGroup numbers the members, appends them to the log and applies them to the memtable.
// q.stage is held. An append that fails leaves the log failed: nothing staged after the last
// published group will be published.
func (db *DB) stageGroup(g *group) {
	q := &db.queue
	g.log = db.wal
	g.policy = wal.None
	for i, m := range g.members {
		if m.cas != nil && db.touchedSince(m.cas.key, m.cas.at) {
			m.conflict = true
			continue
		}
		batch.SetHeader(m.rep, q.lastSeq+1, m.count)
		pos, err := g.log.Append(m.rep, m.policy)
		if err != nil {
			g.fail(err)
			g.lastSeq = q.lastSeq
			return
		}
		g.pos = pos
		if i > 0 {
			db.stall.unpaid += float64(len(m.rep)) // the next leader waits for them
		}
		if m.policy < g.policy {
			g.policy = m.policy
		}
		if _, err := addBatch(db.mem, m.rep, q.lastSeq+1, &db.barren); err != nil {
			panic(fmt.Sprintf("a batch that this engine encoded does not decode: %v", err))
		}
		q.lastSeq += uint64(m.count)
		db.ledger.addUser(m.userBytes)
	}
	g.lastSeq = q.lastSeq
}

// addBatch adds the operations of rep to m, tells b of the values, and returns how many operations
// there were.
func addBatch(m *memory, rep []byte, seq uint64, b *barren) (n uint64, err error) {
	r, err := batch.NewReader(rep)
	if err != nil {
		return 0, err
	}
	for {
		op, ok, err := r.Next()
		if err != nil || !ok {
			return n, err
		}
		switch op.Kind {
		case ikey.KindLogData:
			continue
		case ikey.KindRangeDelete:
			m.AddRangeDelete(op.Key, op.Value, seq+n)
		default:
			m.Add(ikey.Make(op.Key, seq+n, op.Kind), op.Value)
			if op.Kind != ikey.KindSet {
				m.ending.Add(1)
			}
			if op.Kind != ikey.KindDelete {
				b.put(op.Key)
			}
		}
		n++
	}
}

// pinSince returns a view whose memtables hold every entry with a sequence number above inTables that
// was in a memtable at the call.
func (db *DB) pinSince() (v *view, inTables uint64, err error) {
	// The view keeps the memtables from being given back once they are flushed. What came to tables
	// before it was pinned, flushedSeq and ingestedSeq tell.
	if v, err = db.pin(); err != nil {
		return nil, 0, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	return v, max(db.flushedSeq, db.ingestedSeq), nil
}

// touchedSince reports whether key was or may have been written after sequence number at.
// q.stage is held, so every staged write is in a memtable, was flushed or was ingested.
func (db *DB) touchedSince(key []byte, at uint64) bool {
	v, inTables, err := db.pinSince()
	if err != nil {
		return true // reading again gives the error
	}
	defer v.unref()
	if inTables > at {
		return true
	}
	if newerIn(v.mem, key, at) {
		return true
	}
	for _, m := range v.sealed {
		if m.lastSeq > at && newerIn(m, key, at) {
			return true
		}
	}
	return false
}

func newerIn(m *memory, key []byte, at uint64) bool {
	if t, _, ok := m.Get(key, ikey.MaxSeq); ok && t.Seq() > at {
		return true
	}
	seq, ok := m.Cover(key, ikey.MaxSeq)
	return ok && seq > at
}

// finish waits for the group's policy, publishes it at its turn together with those behind it that only wait for that, and wakes
// their members. So of the groups that one sync ends, the first wakes each writer once.
func (db *DB) finish(g *group) {
	q := &db.queue
	g.err = g.members[0].err // that of staging is everybody's
	if g.err == nil && g.pos != (wal.Position{}) {
		g.err = g.log.Commit(g.pos, g.policy)
	}
	q.publish.Lock()
	if q.published != g.id-1 {
		q.ready[g.id] = g
		q.publish.Unlock()
		<-g.members[0].wake // by the leader of a group before it
		return
	}
	for last := g; last != nil; last = last.next {
		db.publish(last)
		last.next = q.ready[last.id+1]
		delete(q.ready, last.id+1)
	}
	q.turn.Broadcast()
	q.publish.Unlock()
	g.wake(1) // its leader is here
	for g = g.next; g != nil; g = g.next {
		g.wake(0)
	}
}

// publish makes g visible, or failed. It is the next, and q.publish is held.
func (db *DB) publish(g *group) {
	q := &db.queue
	if g.log != nil {
		if g.err == nil {
			g.err = q.failed // a group before this one failed: there is a hole in the log
		}
		if g.err != nil && q.failed == nil {
			q.failed = g.err
			db.logFailed(g.err)
		}
	}
	if g.err == nil {
		db.visible.Store(g.lastSeq)
	}
	q.published = g.id
}

// wake tells the members what became of g, and wakes those from one on.
func (g *group) wake(from int) {
	for i, m := range g.members {
		if g.err != nil && m.err == nil {
			m.err = g.err
		}
		if i >= from {
			m.wake <- false
		}
	}
}

// waitPublished returns when every group up to id has been published or failed.
func (q *commitQueue) waitPublished(id uint64) {
	q.publish.Lock()
	for q.published < id {
		q.turn.Wait()
	}
	q.publish.Unlock()
}

// newCommit returns a commit of b, which freeCommit takes back.
func (db *DB) newCommit(b *Batch, policy wal.Policy) *commit {
	c, _ := db.commits.Get().(*commit)
	if c == nil {
		c = &commit{wake: make(chan bool, 1)}
	}
	*c = commit{rep: b.rep, count: b.count, userBytes: b.userBytes, policy: policy, since: b.since, wake: c.wake}
	return c
}

func (db *DB) freeCommit(c *commit) {
	c.rep, c.cas = nil, nil
	db.commits.Put(c)
}
