package recovery

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/replica"
)

// Self is whose a store is.
type Self struct {
	ClusterID string
	ID        uint64
	Name      string
}

// Found is what a store says of the node when it is opened.
type Found struct {
	Self   *Self  // nil: nobody's yet
	Run    uint64 // of its last start
	Clean  bool   // it was closed
	Synced bool   // then a write was synced before it counted
	Refill Refill // it was being refilled
}

func metaKey(name string) []byte { return append([]byte{byte(distrib.SpaceMeta)}, name...) }

var (
	selfKey   = metaKey("self")
	cleanKey  = metaKey("clean")
	refillKey = metaKey("refill")
	syncedKey = metaKey("synced")
)

// runKey is where the last run of another node is kept.
func runKey(node uint64) []byte { return binary.BigEndian.AppendUint64(metaKey("run/"), node) }

// Look reads what a store says of its node.
func Look(s distrib.Store) (f Found, err error) {
	b, err := get(s, selfKey)
	if err == nil && b != nil {
		f.Self = &Self{}
		err = json.Unmarshal(b, f.Self)
	}
	if err != nil {
		return f, fmt.Errorf("whose the store is: %w", err)
	}
	if f.Run, err = replica.LastRun(s); err != nil {
		return f, err
	}
	if b, err = get(s, cleanKey); err != nil {
		return f, err
	}
	f.Clean = b != nil
	if b, err = get(s, syncedKey); err != nil {
		return f, err
	}
	f.Synced = b != nil
	if b, err = get(s, refillKey); err != nil {
		return f, err
	}
	f.Refill = Refill(b)
	return f, nil
}

// number returns what is kept in 8 bytes, 0 where there is nothing.
func number(s distrib.Store, key []byte) (uint64, error) {
	b, err := get(s, key)
	if err != nil || len(b) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// get returns nil where there is nothing.
func get(s distrib.Store, key []byte) ([]byte, error) {
	b, err := s.Get(key)
	if errors.Is(err, distrib.ErrNotFound) {
		return nil, nil
	}
	return b, err
}

// change is that of a key; nil deletes it.
func change(key, value []byte) distrib.Op {
	return distrib.Op{Key: key, Value: value, Delete: value == nil}
}

// mark changes one key.
func mark(s distrib.Store, key, value []byte) error {
	return s.Apply([]distrib.Op{change(key, value)}, distrib.SyncNow)
}

// MarkBegun notes what a start after a crash of this run must know, as one change and before the run has its number: a store
// that has one says whose it is, and whether it lacks something. One that is new and lacks all has lost its registers too.
func MarkBegun(s distrib.Store, w Self, lacks Refill, sync distrib.Sync) error {
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	var synced []byte
	if sync == distrib.SyncNow {
		synced = []byte{1}
	}
	ops := []distrib.Op{change(selfKey, b), change(cleanKey, nil), change(syncedKey, synced), change(refillKey, lacks.bytes())}
	before, err := get(s, selfKey)
	if err != nil {
		return err
	}
	if before == nil && lacks == RefillAll {
		ops = append(ops, change(sinceKey, epochBytes(lost)))
	}
	if err := s.Apply(ops, distrib.SyncNow); err != nil {
		return fmt.Errorf("note that a run begins: %w", err)
	}
	return nil
}

// MarkRefill notes whether the node may lack something.
func MarkRefill(s distrib.Store, r Refill) error {
	if err := mark(s, refillKey, r.bytes()); err != nil {
		return fmt.Errorf("note that the node is refilled: %w", err)
	}
	return nil
}

// MarkClean notes that the run has ended in order. when is for people.
func MarkClean(s distrib.Store, when string) error { return mark(s, cleanKey, []byte(when)) }

// KnownRun is the last run of another node as s has it.
func KnownRun(s distrib.Store, node uint64) (uint64, error) {
	return number(s, runKey(node))
}

// Remember notes the run of another node, unless a later one is known.
func Remember(s distrib.Store, node, run uint64) error {
	known, err := KnownRun(s, node)
	if err != nil || known >= run {
		return err
	}
	return mark(s, runKey(node), binary.BigEndian.AppendUint64(nil, run))
}
