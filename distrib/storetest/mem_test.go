package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

func TestMem(t *testing.T) {
	for _, keep := range []int{0, 7, 1000} {
		Run(t, func(*testing.T) (distrib.Store, func() distrib.Store) {
			m := NewMem()
			return m, func() distrib.Store { return m.Crash(keep) }
		})
	}
}

func TestMemCrash(t *testing.T) {
	m := NewMem()
	put(t, m, "a", "1")
	put(t, m, "b", "2")
	require.Equal(t, 2, m.Unsynced())
	require.Equal(t, "", list(t, m.Crash(0), nil, nil))
	require.Equal(t, "a=1", list(t, m.Crash(1), nil, nil))
	require.NoError(t, m.DeleteRange([]byte("a"), []byte("b"), distrib.SyncNow))
	require.Equal(t, "b=2", list(t, m.Crash(0), nil, nil))
}
