package compaction

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/rangedel"
)

// Dropped counts the point entries that a merge did not copy, by reason. With it every run
// proves that entries in = entries out + entries dropped.
type Dropped struct {
	Shadowed     uint64 // a newer version of the key serves every reader that could see it
	Tombstone    uint64 // a deletion with nothing older beneath it
	RangeDeleted uint64 // covered by a range tombstone that every reader of the entry sees
	Expired      uint64 // its time to live is over and nothing older lies beneath it
	Filtered     uint64 // the Filter dropped it and nothing older lies beneath it
}

// Total is the sum over all reasons.
func (d Dropped) Total() uint64 {
	return d.Shadowed + d.Tombstone + d.RangeDeleted + d.Expired + d.Filtered
}

func (d Dropped) plus(o Dropped) Dropped {
	return Dropped{
		Shadowed: d.Shadowed + o.Shadowed, Tombstone: d.Tombstone + o.Tombstone, RangeDeleted: d.RangeDeleted + o.RangeDeleted,
		Expired: d.Expired + o.Expired, Filtered: d.Filtered + o.Filtered,
	}
}

// survivors decides which versions of a user key outlive a merge. It sees all versions in the
// merge, newest first: startKey once for each user key in ascending order, then next for each
// version. It does no I/O itself and copies no value.
//
// The snapshots cut the sequence numbers into stripes: two entries in one stripe are seen or
// not seen together by every reader. In each stripe only the newest version of a key can ever
// be read; everything else follows from that:
//
//   - an older version in the same stripe goes (shadowed);
//   - a version with a newer range tombstone over it in the same stripe goes (range deleted);
//   - a value whose life has ended becomes a tombstone of the same sequence number, whatever
//     the snapshots say: a snapshot does not extend a time to live;
//   - a tombstone in the oldest stripe goes when nothing older than this merge lies beneath the
//     key, for then there is nothing left that it could hide;
//   - a value in the oldest stripe with nothing older beneath it gets the sequence number 0, unless a range tombstone
//     stays over it: every reader sees it, all that is newer has a higher number, and zeros compress.
type survivors struct {
	snapshots  []uint64                                 // ascending
	nowMillis  uint64                                   // what "expired" is measured against
	tombstones rangedel.List                            // of all inputs
	bottommost func(user []byte) bool                   // proof: nothing older lies beneath user
	filter     Filter                                   // nil = none
	level      int                                      // where the output goes
	loadBlob   func(user, index []byte) ([]byte, error) // for filter: a separated value

	dropped Dropped

	span     int      // first of tombstones whose end is above the current user key
	covering []uint64 // its sequence numbers, newest first, where it holds the key
	stripe   int      // of the previous version of this user key; -1 before the newest
	scratch  []byte   // a re-encoded entity
	expiry   int64    // of what the last call of next kept, where expires says that it has one
	expires  bool
}

// startKey begins the next user key, which must be above the one before.
func (s *survivors) startKey(user []byte) {
	s.stripe = -1
	s.covering = nil
	for s.span < len(s.tombstones) && bytes.Compare(s.tombstones[s.span].End, user) <= 0 {
		s.span++
	}
	if s.span < len(s.tombstones) && bytes.Compare(s.tombstones[s.span].Start, user) <= 0 {
		s.covering = s.tombstones[s.span].Seqs
	}
}

// next decides about one version. Where keep is true, out and outValue are what to write: key
// and value themselves, or a tombstone or filtered value with the same user key and sequence
// number, or with 0 for it. Both alias the arguments or memory that the next call reuses.
func (s *survivors) next(key ikey.Key, value []byte) (out ikey.Key, outValue []byte, keep bool, err error) {
	seq, kind := key.Seq(), key.Kind()
	switch kind {
	case ikey.KindSet, ikey.KindDelete, ikey.KindBlobIndex, ikey.KindEntity:
	case ikey.KindSingleDelete:
		kind = ikey.KindDelete
	case ikey.KindMerge:
		return out, nil, false, fmt.Errorf("key %q at sequence %d is a merge operand: merge operators are not supported", key.User, seq)
	default:
		return out, nil, false, fmt.Errorf("key %q at sequence %d has unsupported kind %s", key.User, seq, key.Kind())
	}

	s.expires = false
	newest := s.stripe < 0
	stripe := stripeOf(s.snapshots, seq)
	if stripe == s.stripe {
		s.dropped.Shadowed++
		return out, nil, false, nil
	}
	s.stripe = stripe
	if s.covered(seq, stripe) {
		s.dropped.RangeDeleted++
		return out, nil, false, nil
	}

	reason := &s.dropped.Tombstone
	switch kind {
	case ikey.KindEntity:
		e, err := entity.Decode(value)
		if err != nil {
			return out, nil, false, fmt.Errorf("key %q at sequence %d: %w", key.User, seq, err)
		}
		if e.Expired(int64(s.nowMillis)) {
			kind, reason = ikey.KindDelete, &s.dropped.Expired
			break
		}
		s.expiry, s.expires = e.ExpiryMillis, e.HasExpiry
		if s.consults(newest, stripe) && e.HasExpiry && entity.EncodedLen(len(e.Value)) == len(value) {
			d, v := s.filter.Filter(s.level, key.User, e.Value)
			switch d {
			case Drop:
				kind, reason, s.expires = ikey.KindDelete, &s.dropped.Filtered, false
			case Replace:
				s.scratch = entity.Encode(s.scratch[:0], v, e.ExpiryMillis)
				value = s.scratch
			}
		}
	case ikey.KindSet, ikey.KindBlobIndex:
		if !s.consults(newest, stripe) {
			break
		}
		plain := value
		if kind == ikey.KindBlobIndex {
			if plain, err = s.loadBlob(key.User, value); err != nil {
				return out, nil, false, fmt.Errorf("filter: separated value of key %q at sequence %d: %w", key.User, seq, err)
			}
		}
		switch d, v := s.filter.Filter(s.level, key.User, plain); d {
		case Drop:
			kind, reason = ikey.KindDelete, &s.dropped.Filtered
		case Replace:
			kind, value = ikey.KindSet, v
		}
	}

	if kind == ikey.KindDelete {
		value = nil
		if stripe == 0 && s.bottommost(key.User) {
			*reason++
			return out, nil, false, nil
		}
	}
	if kind != ikey.KindDelete && s.level > 0 && stripe == 0 && len(s.covering) == 0 && s.bottommost(key.User) {
		seq = 0 // L0 is ordered by sequence numbers
	}
	return ikey.Key{User: key.User, Trailer: ikey.MakeTrailer(seq, kind)}, value, true, nil
}

// consults reports whether the filter is asked: only about the newest version in the merge, and
// only when every snapshot sees it, so that no reader's view changes under it.
func (s *survivors) consults(newest bool, stripe int) bool {
	return s.filter != nil && newest && stripe == 0
}

// covered reports whether a range tombstone over the current key, newer than seq, lies in
// stripe.
func (s *survivors) covered(seq uint64, stripe int) bool {
	for _, t := range s.covering {
		if t <= seq {
			return false
		}
		if stripe == len(s.snapshots) || t <= s.snapshots[stripe] {
			return true
		}
	}
	return false
}

// stripeOf numbers the stripes from 0, the oldest: what every snapshot sees. It is the index of
// the first snapshot that sees seq, or len(snapshots) where only readers of now do.
func stripeOf(snapshots []uint64, seq uint64) int {
	if len(snapshots) == 0 {
		return 0
	}
	i, _ := slices.BinarySearch(snapshots, seq)
	return i
}

// survivingSpans is the same decision for range tombstones: in each span only the newest of a
// stripe stays, and those of the oldest stripe go when bottommost proves that nothing older
// lies beneath the span. The order of merging makes that safe: what they hide among the inputs
// has been dropped as range deleted.
func survivingSpans(in rangedel.List, snapshots []uint64, bottommost func(start, end []byte) bool) rangedel.List {
	var out rangedel.List
	for _, span := range in {
		seqs := make([]uint64, 0, len(span.Seqs))
		last := -1
		for _, seq := range span.Seqs {
			stripe := stripeOf(snapshots, seq)
			if stripe == last {
				continue
			}
			last = stripe
			if stripe == 0 && bottommost(span.Start, span.End) {
				continue
			}
			seqs = append(seqs, seq)
		}
		if len(seqs) == 0 {
			continue
		}
		if n := len(out); n > 0 && bytes.Equal(out[n-1].End, span.Start) && slices.Equal(out[n-1].Seqs, seqs) {
			out[n-1].End = span.End
			continue
		}
		out = append(out, rangedel.Span{Start: span.Start, End: span.End, Seqs: seqs})
	}
	return out
}
