package distrib

// Sync says when a change is durable.
type Sync uint8

const (
	// SyncNow: when Apply returns.
	SyncNow Sync = iota
	// SyncSoon: within a second.
	SyncSoon
	// SyncLater: when the store finds it convenient. Changes become durable in the order in which they were
	// applied, so a later one with SyncNow makes this one durable too.
	SyncLater
)

// Op is one change of a Store: a put, or a delete where Delete is set.
type Op struct {
	Key, Value []byte
	Delete     bool
}

// Store is what a replica asks of what lies beneath: an ordered map of bytes that keeps what it was given.
// Package storetest holds every implementation to this contract. All methods may be called by many
// goroutines at once.
type Store interface {
	// Get returns the value of key, which the caller owns, or ErrNotFound.
	Get(key []byte) ([]byte, error)

	// Apply makes all of ops take effect together or, with an error, perhaps: after a crash either all of
	// them stand or none. Of two ops on one key the later counts. It keeps no reference to ops.
	Apply(ops []Op, sync Sync) error

	// Scan calls visit for each key from lower on and below upper, ascending, as they were at one moment
	// during the call. A nil upper has no end. key and value are valid until visit returns. It ends at the
	// first error of visit and returns it.
	Scan(lower, upper []byte, visit func(key, value []byte) error) error

	// DeleteRange removes every key from lower on and below upper, as one change.
	DeleteRange(lower, upper []byte, sync Sync) error
}
