package local_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/local"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func TestStore(t *testing.T) {
	open := func(t *testing.T, fs vfs.FS) (*engine.DB, distrib.Store) {
		t.Helper()
		db, err := engine.Open("db", local.Options(&engine.Options{FS: fs, MemoryBudget: engine.MinMemoryBudget}))
		require.NoError(t, err)
		return db, local.New(db)
	}
	storetest.Run(t, func(t *testing.T) (distrib.Store, func() distrib.Store) {
		mem := vfs.NewMem()
		db, s := open(t, mem)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		return s, func() distrib.Store {
			after, s := open(t, mem.Crash(rand.New(rand.NewPCG(1, 1))))
			t.Cleanup(func() { require.NoError(t, after.Close()) })
			return s
		}
	})
}

func TestOptions(t *testing.T) {
	o := local.Options(&engine.Options{MaxKeyBytes: 60_000, ErrorIfExists: true})
	require.Equal(t, 60_000, o.MaxKeyBytes)
	require.True(t, o.ErrorIfExists)
	require.Equal(t, distrib.MaxStoreKeyBytes, local.Options(nil).MaxKeyBytes)
}
