//go:build !cgo

package zstd

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Implementation names the zstd library of this build.
const Implementation = "klauspost"

// defaultLevel is libzstd's own default, and RocksDB's.
const defaultLevel = 3

// coders holds what knows a dictionary, made on first use.
type coders struct {
	mu  sync.Mutex // guards enc and dec
	enc map[zstd.EncoderLevel]*zstd.Encoder
	dec *zstd.Decoder
}

var (
	encodersMu sync.Mutex // guards encoders
	encoders   = map[zstd.EncoderLevel]*zstd.Encoder{}
	decoder    = sync.OnceValues(func() (*zstd.Decoder, error) { return newDecoder(nil) })
)

// maxSize is what a decoder holds at most of one input.
const maxSize = 256 << 20

func newDecoder(d *Dict) (*zstd.Decoder, error) {
	opts := []zstd.DOption{
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxMemory(maxSize),
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

func newEncoder(level zstd.EncoderLevel, d *Dict) (*zstd.Encoder, error) {
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

// encoderFor returns the shared encoder for level and dict. EncodeAll may run in several
// goroutines at once.
func encoderFor(level int, d *Dict) (*zstd.Encoder, error) {
	if level == 0 {
		level = defaultLevel
	}
	el := zstd.EncoderLevelFromZstd(level)
	mu, m := &encodersMu, encoders
	if d != nil {
		mu = &d.coders.mu
	}
	mu.Lock()
	defer mu.Unlock()
	if d != nil {
		if d.coders.enc == nil {
			d.coders.enc = map[zstd.EncoderLevel]*zstd.Encoder{}
		}
		m = d.coders.enc
	}
	if e := m[el]; e != nil {
		return e, nil
	}
	e, err := newEncoder(el, d)
	if err == nil {
		m[el] = e
	}
	return e, err
}

// Compress appends to dst a frame of src and returns it. level 0 is zstd's default; dict may be nil.
func Compress(dst, src []byte, level int, dict *Dict) ([]byte, error) {
	e, err := encoderFor(level, dict)
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

// Decompress fills dst from the frames of body and returns how many bytes they gave; more than dst
// holds is an error.
func Decompress(dst, body []byte, dict *Dict) (int, error) {
	if len(body) == 0 {
		return 0, errTooShort
	}
	dec, err := dict.decoder()
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

func (d *Dict) decoder() (*zstd.Decoder, error) {
	if d == nil {
		return decoder()
	}
	d.coders.mu.Lock()
	defer d.coders.mu.Unlock()
	if d.coders.dec == nil {
		dec, err := newDecoder(d)
		if err != nil {
			return nil, err
		}
		d.coders.dec = dec
	}
	return d.coders.dec, nil
}

// stream appends what the frames of src hold to dst, limit bytes at most.
func stream(dst, src []byte, limit int) ([]byte, error) {
	dec, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxSize))
	if err != nil {
		return dst, err
	}
	defer dec.Close()
	buf := bytes.NewBuffer(dst)
	n, err := io.Copy(buf, io.LimitReader(dec, int64(limit)+1))
	if err == nil && n > int64(limit) {
		err = tooLong(limit)
	}
	return buf.Bytes(), err
}
