package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// kind is the first byte of a frame.
type kind byte

const (
	kindPut kind = iota + 1
	kindMerge
	kindRead
	kindParts
	kindKeys
	kindStep
	kindOperate
	kindLearn

	kindAnswer kind = iota + 8
	kindFailure

	kindPing kind = iota + 22
	kindPong
	kindPiece
)

func (k kind) request() bool { return k >= kindPut && k <= kindLearn }

const (
	lengthBytes = 4
	frameRoom   = lengthBytes + 1 + 2*binary.MaxVarintLen64
)

// frame is one message of one node to another.
type frame struct {
	kind kind
	id   uint64
	arg  uint64
	body []byte
}

// beginFrame appends the start of a frame, whose body is to be appended, and then endFrame called with what was the
// length of dst.
func beginFrame(dst []byte, k kind, id, arg uint64) []byte {
	dst = append(dst, 0, 0, 0, 0, byte(k))
	return binary.AppendUvarint(binary.AppendUvarint(dst, id), arg)
}

func endFrame(dst []byte, start int) {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-lengthBytes))
}

// appendPieceHead appends what stands before the n bytes of a piece of a frame of total bytes.
func appendPieceHead(dst []byte, total, n int) []byte {
	start := len(dst)
	dst = beginFrame(dst, kindPiece, 0, uint64(total))
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-lengthBytes+n))
	return dst
}

// nextFrame returns the first frame of b and what stands behind it. The body aliases b.
func nextFrame(b []byte) (f frame, rest []byte, err error) {
	if len(b) < lengthBytes {
		return frame{}, nil, fmt.Errorf("frame: %d bytes, want %d of a length", len(b), lengthBytes)
	}
	n := int(binary.BigEndian.Uint32(b))
	if b = b[lengthBytes:]; n > len(b) || n < 3 {
		return frame{}, nil, fmt.Errorf("frame: length of %d, %d bytes are there", n, len(b))
	}
	f.kind = kind(b[0])
	d := newDecoder(b[1:n:n])
	f.id, f.arg = d.Uvarint(), d.Uvarint()
	if d.Err != nil {
		return frame{}, nil, fmt.Errorf("frame: %w", d.Err)
	}
	f.body = d.Rest
	return f, b[n:], nil
}

// assembly puts the pieces of a frame together. One sender sends the pieces of one frame after those of another.
type assembly struct {
	total int
	got   []byte
}

// add takes the next piece. whole is the frame, after its last one.
func (a *assembly) add(f frame) (whole []byte, err error) {
	const ahead = 16 << 20 // reserved before the bytes are there
	if a.total == 0 {
		if f.arg == 0 || f.arg > maxFrameBytes {
			return nil, fmt.Errorf("piece of a frame of %d bytes, the limit is %d", f.arg, maxFrameBytes)
		}
		a.total = int(f.arg)
		a.got = make([]byte, 0, min(a.total, ahead))
	}
	if f.arg != uint64(a.total) || len(f.body) == 0 || len(f.body) > a.total-len(a.got) {
		return nil, fmt.Errorf("piece of %d bytes of a frame of %d, %d bytes of one of %d are there", len(f.body), f.arg, len(a.got), a.total)
	}
	if a.got = append(a.got, f.body...); len(a.got) < a.total {
		return nil, nil
	}
	whole = a.got
	*a = assembly{}
	return whole, nil
}

// eachFrame calls visit with every frame of b, pieces put together.
func eachFrame(b []byte, a *assembly, visit func(frame) error) error {
	for len(b) > 0 {
		f, rest, err := nextFrame(b)
		if err != nil {
			return err
		}
		if f.kind == kindPiece {
			whole, err := a.add(f)
			if err != nil {
				return err
			}
			if whole != nil {
				if f, whole, err = nextFrame(whole); err != nil {
					return err
				}
				if len(whole) > 0 || f.kind == kindPiece {
					return errors.New("frame: pieces make more than one frame, or pieces again")
				}
			}
		}
		if f.kind != kindPiece {
			if err := visit(f); err != nil {
				return err
			}
		}
		b = rest
	}
	return nil
}
