package gossip

import (
	"encoding/binary"
	"errors"
)

// metaVersion begins what a node says of itself, which has to fit into memberlist.MetaMaxSize.
const metaVersion = 1

// appendMeta appends version:1 ‖ node ‖ epoch ‖ run ‖ data bytes ‖ hint bytes, all but the first uvarints.
func appendMeta(dst []byte, node uint64, s State) []byte {
	dst = append(dst, metaVersion)
	for _, n := range []uint64{node, s.Epoch, s.Run, s.DataBytes, s.HintBytes} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

// parseMeta reads what appendMeta made. Bytes behind are a newer node's.
func parseMeta(b []byte) (node uint64, s State, err error) {
	if len(b) == 0 || b[0] != metaVersion {
		return 0, State{}, errors.New("what it says of itself is of another version of this program")
	}
	b = b[1:]
	for _, n := range []*uint64{&node, &s.Epoch, &s.Run, &s.DataBytes, &s.HintBytes} {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return 0, State{}, errors.New("what it says of itself ends early")
		}
		*n, b = v, b[size:]
	}
	if node == 0 {
		return 0, State{}, errors.New("it says that it is node 0, which is none")
	}
	return node, s, nil
}
