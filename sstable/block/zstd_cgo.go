//go:build cgo

package block

import (
	"sync"

	"github.com/DataDog/zstd"
)

// ZstdImplementation names the zstd library of this build.
const ZstdImplementation = "libzstd"

// zstdDefaultLevel is libzstd's own default, and RocksDB's.
const zstdDefaultLevel = 3

var zstdContexts = sync.Pool{New: func() any { return zstd.NewCtx() }}

// zstdDict holds the digested dictionary, made on first use for each compression level asked
// for; level 1 serves decompression, which ignores it.
type zstdDict struct {
	mu     sync.Mutex // guards levels
	levels map[int]*zstd.BulkProcessor
}

func (d *Dict) processor(level int) (*zstd.BulkProcessor, error) {
	d.zstd.mu.Lock()
	defer d.zstd.mu.Unlock()
	if p := d.zstd.levels[level]; p != nil {
		return p, nil
	}
	p, err := zstd.NewBulkProcessor(d.raw, level)
	if err != nil {
		return nil, err
	}
	if d.zstd.levels == nil {
		d.zstd.levels = make(map[int]*zstd.BulkProcessor)
	}
	d.zstd.levels[level] = p
	return p, nil
}

func zstdCompress(dst, src []byte, level int, dict *Dict) ([]byte, error) {
	if level == 0 {
		level = zstdDefaultLevel
	}
	start := len(dst)
	dst = grow(dst, zstd.CompressBound(len(src)))
	room := dst[start:cap(dst):cap(dst)]
	var out []byte
	var err error
	if dict != nil {
		var p *zstd.BulkProcessor
		if p, err = dict.processor(level); err == nil {
			out, err = p.Compress(room, src)
		}
	} else {
		c := zstdContexts.Get().(zstd.Ctx)
		out, err = c.CompressLevel(room, src, level)
		zstdContexts.Put(c)
	}
	return dst[:start+len(out)], err
}

func zstdDecompress(dst, body []byte, dict *Dict) (int, error) {
	if len(body) == 0 {
		return 0, errTooShort
	}
	if len(dst) == 0 {
		var room [1]byte
		return zstdDecompress(room[:], body, dict)
	}
	if dict != nil {
		p, err := dict.processor(1)
		if err != nil {
			return 0, err
		}
		out, err := p.Decompress(dst, body)
		return len(out), err
	}
	c := zstdContexts.Get().(zstd.Ctx)
	n, err := c.DecompressInto(dst, body)
	zstdContexts.Put(c)
	return n, err
}
