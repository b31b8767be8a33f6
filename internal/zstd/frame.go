// Package zstd compresses with libzstd where the build has cgo and with a Go implementation where
// it has not: the frames are the same format (RFC 8878), not the same bytes.
//
//	dst, err = zstd.Compress(dst, src, 0, nil)      // a frame
//	dst = zstd.AppendStored(dst, src)               // a frame that holds src as it is
//	plain, err := zstd.Frames(nil, frames, limit)   // any number of frames, of unknown sizes
//	n, err := zstd.Decompress(dst, body, nil)       // into a buffer of the known size
//
// All functions may be called by several goroutines at once. No input makes them panic, or allocate
// more than the caller's buffer or limit allows.
package zstd

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Magic is the four bytes that begin a frame, little-endian.
const Magic = 0xfd2fb528

var errTooShort = errors.New("compressed bytes end early")

func tooLong(limit int) error { return fmt.Errorf("more than %d bytes", limit) }

// A stored frame is a header that states a size of four bytes, and blocks of at most maxBlock bytes,
// each behind a header of three.
const (
	storedHeader = 9
	blockHeader  = 3
	maxBlock     = 128 << 10

	singleSegment = 1 << 5 // of the descriptor: no window, the frame's size stands for it
	size4         = 2 << 6 // the size takes four bytes
)

// StoredLen is the length of the frame that AppendStored makes of n bytes.
func StoredLen(n int) int {
	return storedHeader + blockHeader*max(1, (n+maxBlock-1)/maxBlock) + n
}

// AppendStored appends to dst a frame that holds src, of less than 4 GiB, without compressing it.
func AppendStored(dst, src []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, Magic)
	dst = append(dst, singleSegment|size4)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
	for {
		n := min(len(src), maxBlock)
		header := uint32(n) << 3 // type 0: raw
		if n == len(src) {
			header |= 1 // the last one
		}
		dst = append(dst, byte(header), byte(header>>8), byte(header>>16))
		dst = append(dst, src[:n]...)
		if src = src[n:]; len(src) == 0 {
			return dst
		}
	}
}

// Starts reports whether b begins as a frame does.
func Starts(b []byte) bool { return len(b) >= 4 && binary.LittleEndian.Uint32(b) == Magic }

// ContentSize returns the length that a frame states in its header, if it does.
func ContentSize(frame []byte) (size uint64, ok bool) {
	h, err := parseHeader(frame)
	return h.size, err == nil && h.sized
}

// header is what a frame begins with (RFC 8878, section 3.1.1.1).
type header struct {
	len      int
	size     uint64 // of what the frame holds
	sized    bool   // size is stated
	checksum bool   // four bytes follow the last block
}

func parseHeader(frame []byte) (h header, err error) {
	if len(frame) < 5 {
		return h, errTooShort
	}
	if !Starts(frame) {
		return h, errors.New("no zstd frame")
	}
	d := frame[4]
	single := d >> 5 & 1
	at := 5 + int(1-single) + [4]int{0, 1, 2, 4}[d&3]
	n := [4]int{int(single), 2, 4, 8}[d>>6]
	h = header{len: at + n, sized: n > 0, checksum: d>>2&1 == 1}
	if len(frame) < h.len {
		return h, errTooShort
	}
	var word [8]byte
	copy(word[:], frame[at:at+n])
	if h.size = binary.LittleEndian.Uint64(word[:]); n == 2 {
		h.size += 256
	}
	return h, nil
}

// cutFrame returns the first frame of src, which is whole, and what follows it.
func cutFrame(src []byte) (frame, rest []byte, h header, err error) {
	if h, err = parseHeader(src); err != nil {
		return nil, nil, h, err
	}
	end := h.len
	for last := false; !last; {
		if len(src)-end < blockHeader {
			return nil, nil, h, errTooShort
		}
		b := uint32(src[end]) | uint32(src[end+1])<<8 | uint32(src[end+2])<<16
		last = b&1 == 1
		n := int(b >> 3)
		if b>>1&3 == 1 { // one byte, repeated
			n = 1
		}
		end += blockHeader + n
		if end > len(src) {
			return nil, nil, h, errTooShort
		}
	}
	if h.checksum {
		end += 4
	}
	if end > len(src) {
		return nil, nil, h, errTooShort
	}
	return src[:end], src[end:], h, nil
}

// Frames appends to dst what the frames of src, one or more, hold together, and returns it. More
// than limit bytes is an error.
func Frames(dst, src []byte, limit int) (out []byte, err error) {
	start := len(dst)
	for more := true; more; more = len(src) > 0 {
		var frame []byte
		var h header
		if frame, src, h, err = cutFrame(src); err != nil {
			return dst, err
		}
		left := limit - (len(dst) - start)
		if h.sized && h.size > uint64(left) {
			return dst, tooLong(limit)
		}
		if !h.sized || h.size > uint64(firstGuess+64*len(frame)) { // a size that may be a lie is not trusted with memory
			if dst, err = stream(dst, frame, left); err != nil {
				return dst, err
			}
			continue
		}
		at := len(dst)
		dst = append(dst, make([]byte, h.size)...)
		n, err := Decompress(dst[at:], frame, nil)
		if err == nil && uint64(n) < h.size {
			err = errTooShort
		}
		if err != nil {
			return dst[:at], err
		}
	}
	return dst, nil
}

// firstGuess is how much Frames allocates in any case because a header says so.
const firstGuess = 1 << 20
