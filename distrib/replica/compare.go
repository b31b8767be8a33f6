package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Parts sums up the records of a range of tokens, part by part.
func (r *Replica) Parts(q *distrib.PartsRequest) ([]distrib.Part, error) {
	if q.Parts < 1 || q.Parts > distrib.MaxParts || q.First > q.Last {
		return nil, fmt.Errorf("parts: %d of tokens %d to %d, want 1 to %d of an ascending range", q.Parts, q.First, q.Last, distrib.MaxParts)
	}
	parts := divide(q.First, q.Last, q.Parts)
	at := 0
	var buf []byte
	err := r.scan(q.First, q.Last, func(token uint64, key []byte, h distrib.Head) error {
		for token > parts[at].Last {
			at++
		}
		buf = binary.AppendUvarint(buf[:0], uint64(len(key)))
		buf = append(buf, key...)
		for _, s := range h.Record {
			buf = binary.AppendUvarint(buf, s.Dot.Node)
			buf = binary.AppendUvarint(buf, s.Dot.Birth)
			buf = binary.AppendUvarint(buf, s.Dot.Counter)
		}
		parts[at].Keys++
		parts[at].Bytes += h.Bytes(len(key))
		parts[at].Sum += xxh3.Hash(buf)
		return nil
	})
	return parts, err
}

// divide makes n parts of first to last, or fewer where there are fewer tokens.
func divide(first, last uint64, n int) (parts []distrib.Part) {
	width := last - first // less one, so that the whole ring has one
	for i := range uint64(n) {
		// The part ends where (i+1)/n of the width is reached.
		hi, lo := bits.Mul64(width, i+1)
		end, _ := bits.Div64(hi, lo, uint64(n))
		if end += first; i+1 == uint64(n) {
			end = last
		}
		if k := len(parts); k > 0 && end == parts[k-1].Last {
			continue
		}
		begin := first
		if k := len(parts); k > 0 {
			begin = parts[k-1].Last + 1
		}
		parts = append(parts, distrib.Part{First: begin, Last: end})
	}
	return parts
}

// Keys lists the keys of a range of tokens and what the node holds of each: versions, or with q.Registers the register.
func (r *Replica) Keys(q *distrib.KeysRequest) (list []distrib.KeyDots, err error) {
	full, last, size := errors.New("full"), uint64(0), 0
	add := func(token uint64, key []byte, of func() (distrib.KeyDots, error)) error {
		if len(list) > 0 && token != last && q.Full(len(list), size) {
			return full
		}
		k, err := of()
		k.Key = bytes.Clone(key)
		size += k.Bytes()
		list, last = append(list, k), token
		return err
	}
	if q.Registers {
		err = r.scanRegisters(q.First, q.Last, func(token uint64, key, state []byte) error {
			return add(token, key, func() (distrib.KeyDots, error) { return distrib.KeyDots{Register: bytes.Clone(state)}, nil })
		})
	} else {
		err = r.scan(q.First, q.Last, func(token uint64, key []byte, h distrib.Head) error {
			return add(token, key, func() (k distrib.KeyDots, err error) {
				if k.Dots = vclock.Dots(h.Record); q.Records {
					k.Record, err = r.Read(key)
					k.Dots = vclock.Dots(k.Record)
				}
				return k, err
			})
		})
	}
	if errors.Is(err, full) {
		err = nil
	}
	return list, err
}
