package register

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
)

// Decision says that the value of a ballot is decided.
type Decision struct {
	Key    []byte
	Ballot Ballot
}

// MaxDecisions is how many are told at once.
const MaxDecisions = 1024

// Learn takes that the value of a ballot is decided. learned is what the data record must come to hold then; nil: nothing. behind
// says that the acceptor has taken neither this value nor a later one.
func (s *State) Learn(decided Ballot, data distrib.Record) (learned distrib.Record, behind bool) {
	if decided == s.Accepted && s.Linearizable() && len(Strays(&Value{Record: data}, s.Value.Record)) > 0 {
		learned = s.Value.Record
	}
	return learned, s.Accepted.Compare(decided) < 0
}

// AppendDecisions appends the encoding of list, of at most MaxDecisions, to dst and returns it.
func AppendDecisions(dst []byte, list []Decision) []byte {
	dst = binary.AppendUvarint(append(dst, travelVersion), uint64(len(list)))
	for _, d := range list {
		dst = AppendBallot(appendBytes(dst, d.Key), d.Ballot)
	}
	return dst
}

// DecodeDecisions reads what AppendDecisions made, which must be all of b. Keys alias b.
func DecodeDecisions(b []byte) (list []Decision, err error) {
	d := newDecoder(b)
	d.version()
	for range d.places() {
		list = append(list, Decision{d.bytes(), d.ballot()})
		if d.Err != nil {
			break
		}
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return list, nil
}

// AppendBehind appends the encoding of the answer to decisions to dst and returns it: which of them, by their places, found an
// acceptor behind.
func AppendBehind(dst []byte, places []int) []byte {
	dst = binary.AppendUvarint(append(dst, travelVersion), uint64(len(places)))
	for _, i := range places {
		dst = binary.AppendUvarint(dst, uint64(i))
	}
	return dst
}

// DecodeBehind reads what AppendBehind made, which must be all of b, of the answer to so many decisions.
func DecodeBehind(b []byte, decisions int) (places []int, err error) {
	d := newDecoder(b)
	d.version()
	for range d.places() {
		i := d.Uvarint()
		if d.Err == nil && i >= uint64(decisions) {
			d.Fail(fmt.Sprintf("place %d of %d", i, decisions))
		}
		if d.Err != nil {
			break
		}
		places = append(places, int(i))
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return places, nil
}

// places reads how many decisions or places follow.
func (d *decoder) places() int {
	n := d.Uvarint()
	if d.Err == nil && n > MaxDecisions {
		d.Fail(fmt.Sprintf("%d decisions, the limit is %d", n, MaxDecisions))
	}
	if d.Err != nil {
		return 0
	}
	return int(n)
}
