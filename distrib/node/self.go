package node

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/replica"
)

// self is whose a store is.
type self struct {
	ClusterID string
	ID        uint64
	Name      string
}

// found is what a store says of the node when it is opened.
type found struct {
	self   *self  // nil: nobody's yet
	run    uint64 // of its last start
	clean  bool   // it was closed
	synced bool   // then a write was synced before it counted
	refill refill // it was being refilled
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

// look reads what a store says of its node.
func look(s distrib.Store) (f found, err error) {
	b, err := get(s, selfKey)
	if err == nil && b != nil {
		f.self = &self{}
		err = json.Unmarshal(b, f.self)
	}
	if err != nil {
		return f, fmt.Errorf("whose the store is: %w", err)
	}
	if f.run, err = replica.LastRun(s); err != nil {
		return f, err
	}
	if b, err = get(s, cleanKey); err != nil {
		return f, err
	}
	f.clean = b != nil
	if b, err = get(s, syncedKey); err != nil {
		return f, err
	}
	f.synced = b != nil
	if b, err = get(s, refillKey); err != nil {
		return f, err
	}
	f.refill = refill(b)
	return f, nil
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

// knownRun is the last run of another node as s has it.
func knownRun(s distrib.Store, node uint64) (uint64, error) {
	b, err := get(s, runKey(node))
	if err != nil || len(b) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// remember notes the run of another node, unless a later one is known.
func remember(s distrib.Store, node, run uint64) error {
	known, err := knownRun(s, node)
	if err != nil || known >= run {
		return err
	}
	return mark(s, runKey(node), binary.BigEndian.AppendUint64(nil, run))
}
