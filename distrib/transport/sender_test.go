package transport

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhatWasTaken breaks a stream after each number of messages: what was not given to it is known.
func TestWhatWasTaken(t *testing.T) {
	broken := errors.New("broken")
	for messages := range 7 {
		var got []byte
		s := newSender(func(b *outBatch) error {
			if messages--; messages < 0 {
				return broken
			}
			m, err := codec{}.Marshal(b)
			require.NoError(t, err)
			var in inBatch
			require.NoError(t, codec{}.Unmarshal(m, &in))
			got = append(got, in.frames...)
			m.Free()
			return nil
		}, func() uint64 { return 1 })
		sent := messages
		var tickets []ticket
		for id, size := range []int{10, pieceBytes + 10, 10, 2 * pieceBytes} {
			place, err := s.queue(kindRead, uint64(id), 0, &readRequest{Key: make([]byte, size)})
			require.NoError(t, err)
			tickets = append(tickets, place)
		}
		for _, place := range tickets {
			require.False(t, s.wasTaken(place))
		}
		if sent >= 6 { // all would go: in turn a piece of the first large one, both small ones, a piece, and then three
			s.close(broken)
		}
		require.Equal(t, broken, s.run())
		arrived := map[uint64]bool{}
		require.NoError(t, eachFrame(got, &assembly{}, func(f frame) error { arrived[f.id] = true; return nil }))
		for id, place := range tickets {
			taken := sent < 6 && (id == 1 || !place.large && sent >= 1 || id == 3 && sent >= 3)
			require.Equal(t, taken, s.wasTaken(place), "frame %d after %d messages", id, sent)
			require.True(t, taken || !arrived[uint64(id)], "frame %d has arrived", id)
		}
	}
}
