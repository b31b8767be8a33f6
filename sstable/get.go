package sstable

import (
	"bytes"
	"sync"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/block"
)

// Value is an entry that Get found. Bytes lie in a pinned block and are valid until Release.
type Value struct {
	Trailer ikey.Trailer
	Bytes   []byte
	block   *cache.Handle
}

// Release unpins the block that holds the value. The zero Value needs none.
func (v *Value) Release() {
	if v.block != nil {
		v.block.Release()
		v.block = nil
	}
}

// getter is what one Get needs; pooled, so that a Get allocates nothing.
type getter struct {
	index indexCursor
	data  block.Iter
}

var getters = sync.Pool{New: func() any { return new(getter) }}

// Get returns the newest point entry of user with a sequence number of at most seq; ok is false
// when there is none. Range tombstones are not looked at. The caller releases the value.
func (r *Reader) Get(user []byte, seq uint64) (v Value, ok bool, err error) {
	filtered := r.filterBlock != nil
	if filtered {
		may, err := r.mayContain(user, seq)
		if err != nil || !may {
			return Value{}, false, err
		}
	}
	g := getters.Get().(*getter)
	v, ok, err = g.get(r, user, ikey.MakeTrailer(seq, ikey.KindSeek))
	g.index.reset()
	g.data.Reset()
	getters.Put(g)
	if filtered && !ok && err == nil {
		r.count.FilterFalsePositives.Add(1)
	}
	return v, ok, err
}

// MayContain asks the filter; true means that only a read can tell.
func (r *Reader) MayContain(user []byte) (bool, error) {
	if r.filterBlock == nil {
		return true, nil
	}
	return r.mayContain(user, ikey.MaxSeq)
}

func (r *Reader) mayContain(user []byte, seq uint64) (bool, error) {
	r.count.FilterChecks.Add(1)
	may, err := true, error(nil)
	if r.partFilter {
		may, err = r.partMayContain(user, ikey.MakeTrailer(seq, ikey.KindSeek))
	} else {
		may = r.filter.mayContain(user)
	}
	if !may && err == nil {
		r.count.FilterNegatives.Add(1)
	}
	return may, err
}

// partMayContain finds the partition of the filter that covers user and asks it.
func (r *Reader) partMayContain(user []byte, t ikey.Trailer) (bool, error) {
	g := getters.Get().(*getter)
	defer getters.Put(g)
	it := &g.index.top
	defer it.Reset()
	if err := it.Init(r.filterBlock.Bytes(), r.filterFormat(), r.filterOff); err != nil {
		return false, err
	}
	if !it.SeekGE(user, t) && it.Err() == nil {
		it.Last() // as RocksDB does: the last partition answers for everything behind it
	}
	if !it.Valid() {
		return true, it.Err()
	}
	b, err := r.src.Read(it.Handle(), block.ReadOptions{Priority: cache.High})
	if err != nil {
		return false, err
	}
	defer b.Release()
	f := parseFilter(b.Bytes())
	return f.mayContain(user), nil
}

// get finds the first entry at or after (user, t) and keeps it if it is one of user.
func (g *getter) get(r *Reader, user []byte, t ikey.Trailer) (Value, bool, error) {
	if err := g.index.init(r); err != nil {
		return Value{}, false, err
	}
	for ok := g.index.seekGE(user, t); ok; ok = g.index.next() {
		h := g.index.handle()
		b, err := r.src.Read(h, block.ReadOptions{Data: true})
		if err != nil {
			return Value{}, false, err
		}
		if err := r.initData(&g.data, b.Bytes(), h); err != nil {
			b.Release()
			return Value{}, false, err
		}
		if g.data.SeekUser(user, t) {
			k := g.data.Key()
			if bytes.Equal(k.User, user) {
				return Value{Trailer: k.Trailer, Bytes: g.data.Value(), block: b}, true, nil
			}
			b.Release()
			return Value{}, false, nil
		}
		// The entry may start the next block, if this one's separator has the same user key.
		more := g.data.Err() == nil && bytes.Equal(g.index.user(), user)
		b.Release()
		if err := g.data.Err(); err != nil || !more {
			return Value{}, false, err
		}
	}
	return Value{}, false, g.index.err()
}

// initData points it at an uncompressed data block.
func (r *Reader) initData(it *block.Iter, data []byte, h block.Handle) error {
	if err := it.Init(data, r.src.Origin(h)); err != nil {
		return err
	}
	if r.global != 0 {
		it.SetGlobalSeq(r.global - 1)
	}
	return nil
}
