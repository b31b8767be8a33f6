package gossip

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzMeta: what another node says of itself is refused, or is what it says.
func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, 3, State{Epoch: 7, Run: 2, DataBytes: 1 << 40, HintBytes: 5}))
	f.Add([]byte{metaVersion, 0, 0, 0, 0, 0})
	f.Add([]byte{metaVersion + 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		node, state, err := parseMeta(b)
		if err != nil {
			return
		}
		require.NotZero(t, node)
		again, same, err := parseMeta(appendMeta(nil, node, state))
		require.NoError(t, err)
		require.Equal(t, node, again)
		require.Equal(t, state, same)
	})
}
