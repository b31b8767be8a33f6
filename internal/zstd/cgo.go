//go:build cgo

package zstd

import (
	"bytes"
	"io"
	"slices"
	"sync"

	"github.com/DataDog/zstd"
)

// Implementation names the zstd library of this build.
const Implementation = "libzstd"

// defaultLevel is libzstd's own default, and RocksDB's.
const defaultLevel = 3

var contexts = sync.Pool{New: func() any { return zstd.NewCtx() }}

// coders holds a digested dictionary, made on first use for each compression level asked for;
// level 1 serves decompression, which ignores it.
type coders struct {
	mu     sync.Mutex // guards levels
	levels map[int]*zstd.BulkProcessor
}

func (d *Dict) processor(level int) (*zstd.BulkProcessor, error) {
	d.coders.mu.Lock()
	defer d.coders.mu.Unlock()
	if p := d.coders.levels[level]; p != nil {
		return p, nil
	}
	p, err := zstd.NewBulkProcessor(d.raw, level)
	if err != nil {
		return nil, err
	}
	if d.coders.levels == nil {
		d.coders.levels = make(map[int]*zstd.BulkProcessor)
	}
	d.coders.levels[level] = p
	return p, nil
}

// Compress appends to dst a frame of src and returns it. level 0 is zstd's default; dict may be nil.
func Compress(dst, src []byte, level int, dict *Dict) ([]byte, error) {
	if level == 0 {
		level = defaultLevel
	}
	start := len(dst)
	dst = slices.Grow(dst, zstd.CompressBound(len(src)))
	room := dst[start:cap(dst):cap(dst)]
	var out []byte
	var err error
	if dict != nil {
		var p *zstd.BulkProcessor
		if p, err = dict.processor(level); err == nil {
			out, err = p.Compress(room, src)
		}
	} else {
		c := contexts.Get().(zstd.Ctx)
		out, err = c.CompressLevel(room, src, level)
		contexts.Put(c)
	}
	return dst[:start+len(out)], err
}

// Decompress fills dst from the frames of body and returns how many bytes they gave; more than dst
// holds is an error.
func Decompress(dst, body []byte, dict *Dict) (int, error) {
	if len(body) == 0 {
		return 0, errTooShort
	}
	if len(dst) == 0 {
		var room [1]byte
		return Decompress(room[:], body, dict)
	}
	if dict != nil {
		p, err := dict.processor(1)
		if err != nil {
			return 0, err
		}
		out, err := p.Decompress(dst, body)
		return len(out), err
	}
	c := contexts.Get().(zstd.Ctx)
	n, err := c.DecompressInto(dst, body)
	contexts.Put(c)
	return n, err
}

// stream appends what the frames of src hold to dst, limit bytes at most.
func stream(dst, src []byte, limit int) ([]byte, error) {
	r := zstd.NewReader(bytes.NewReader(src))
	defer r.Close()
	buf := bytes.NewBuffer(dst)
	n, err := io.Copy(buf, io.LimitReader(r, int64(limit)+1))
	if err == nil && n > int64(limit) {
		err = tooLong(limit)
	}
	return buf.Bytes(), err
}
