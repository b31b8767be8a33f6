//go:build !cgo

package block

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// ZstdImplementation names the zstd library of this build.
const ZstdImplementation = "klauspost"

// zstdDefaultLevel is libzstd's own default, and RocksDB's.
const zstdDefaultLevel = 3

// zstdDict holds the coders that know the dictionary, made on first use.
type zstdDict struct {
	mu  sync.Mutex // guards enc and dec
	enc map[zstd.EncoderLevel]*zstd.Encoder
	dec *zstd.Decoder
}

var (
	zstdMu       sync.Mutex // guards zstdEncoders
	zstdEncoders = map[zstd.EncoderLevel]*zstd.Encoder{}
	zstdDecoder  = sync.OnceValues(func() (*zstd.Decoder, error) { return newZstdDecoder(nil) })
)

func newZstdDecoder(d *Dict) (*zstd.Decoder, error) {
	opts := []zstd.DOption{
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxMemory(MaxSize),
		zstd.WithDecodeAllCapLimit(true),
	}
	switch {
	case d == nil:
	case d.Trained():
		opts = append(opts, zstd.WithDecoderDicts(d.raw))
	default:
		opts = append(opts, zstd.WithDecoderDictRaw(0, d.raw))
	}
	return zstd.NewReader(nil, opts...)
}

func newZstdEncoder(level zstd.EncoderLevel, d *Dict) (*zstd.Encoder, error) {
	opts := []zstd.EOption{zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false)}
	switch {
	case d == nil:
	case d.Trained():
		opts = append(opts, zstd.WithEncoderDict(d.raw))
	default:
		opts = append(opts, zstd.WithEncoderDictRaw(0, d.raw))
	}
	return zstd.NewWriter(nil, opts...)
}

// zstdEncoder returns the shared encoder for level and dict. EncodeAll may run in several
// goroutines at once.
func zstdEncoder(level int, d *Dict) (*zstd.Encoder, error) {
	if level == 0 {
		level = zstdDefaultLevel
	}
	el := zstd.EncoderLevelFromZstd(level)
	mu, m := &zstdMu, zstdEncoders
	if d != nil {
		mu = &d.zstd.mu
	}
	mu.Lock()
	defer mu.Unlock()
	if d != nil {
		if d.zstd.enc == nil {
			d.zstd.enc = map[zstd.EncoderLevel]*zstd.Encoder{}
		}
		m = d.zstd.enc
	}
	if e := m[el]; e != nil {
		return e, nil
	}
	e, err := newZstdEncoder(el, d)
	if err == nil {
		m[el] = e
	}
	return e, err
}

func zstdCompress(dst, src []byte, level int, dict *Dict) ([]byte, error) {
	e, err := zstdEncoder(level, dict)
	if err != nil {
		return dst, err
	}
	n := len(dst)
	dst = e.EncodeAll(src, dst)
	if len(dst) == n {
		// The encoder writes nothing for no input; libzstd writes an empty frame.
		dst = append(dst, 0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00)
	}
	return dst, nil
}

func zstdDecompress(dst, body []byte, dict *Dict) (int, error) {
	if len(body) == 0 {
		return 0, errTooShort
	}
	dec, err := dict.zstdDecoder()
	if err != nil {
		return 0, err
	}
	out, err := dec.DecodeAll(body, dst[:0:len(dst)])
	if err != nil {
		return 0, err
	}
	if len(out) > len(dst) || (len(out) > 0 && &out[0] != &dst[0]) {
		return 0, fmt.Errorf("more than %d bytes", len(dst))
	}
	return len(out), nil
}

func (d *Dict) zstdDecoder() (*zstd.Decoder, error) {
	if d == nil {
		return zstdDecoder()
	}
	d.zstd.mu.Lock()
	defer d.zstd.mu.Unlock()
	if d.zstd.dec == nil {
		dec, err := newZstdDecoder(d)
		if err != nil {
			return nil, err
		}
		d.zstd.dec = dec
	}
	return d.zstd.dec, nil
}
