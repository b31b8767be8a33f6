package engine

import (
	"bytes"
	"errors"
	"slices"
	"sync"
)

// MultiGet returns the values of keys in the order of keys, nil where a key is absent and an empty
// slice where its value is empty. All are read at one moment. The keys are looked up in sorted
// order; many are read side by side, so that the device has several requests to work on.
func (db *DB) MultiGet(keys [][]byte) ([][]byte, error) {
	for i, k := range keys {
		if len(k) == 0 {
			return nil, errorf(ErrInvalidArgument, "multiget: key %d of %d is empty", i+1, len(keys))
		}
	}
	v, at, err := db.pinRead()
	if err != nil {
		return nil, err
	}
	defer v.unref()
	now := db.opts.Clock.Now().UnixMilli()
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(keys[a], keys[b]) })

	out := make([][]byte, len(keys))
	lookUp := func(part []int) error {
		for _, i := range part {
			err := db.getAt(v, keys[i], at, now, func(value []byte) error {
				out[i] = append(make([]byte, 0, len(value)), value...)
				return nil
			})
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return nil
	}
	workers := min(multiGetWorkers, len(keys)/multiGetShare)
	if workers < 2 {
		return out, lookUp(order)
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		part := order[w*len(order)/workers : (w+1)*len(order)/workers]
		wg.Go(func() { errs[w] = lookUp(part) })
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

// At most multiGetWorkers goroutines look keys up, each at least multiGetShare neighbours, which
// often lie in one block.
const (
	multiGetWorkers = 16
	multiGetShare   = 4
)
