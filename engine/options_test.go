package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOptionsOutOfBounds(t *testing.T) {
	for name, o := range map[string]*Options{
		"CompactionRate": {CompactionRate: -1}, "MaxStall": {MaxStall: -1}, "CompactionThreads": {CompactionThreads: 65},
		"MemoryBudget": {MemoryBudget: 1}, "MemtableSize": {MemtableSize: -1}, "MaxKeyBytes": {MaxKeyBytes: LimitKeyBytes + 1},
		"MaxValueBytes": {MaxValueBytes: -1}, "Compaction": {Compaction: 9}, "Compression": {Compression: 9}, "Sync": {Sync: 9},
	} {
		_, err := o.withDefaults()
		require.ErrorIs(t, err, ErrInvalidArgument)
		require.ErrorContains(t, err, "option "+name+" is ")
	}
	o, err := (*Options)(nil).withDefaults()
	require.NoError(t, err)
	require.Equal(t, DefaultMaxStall, o.MaxStall)
	require.Zero(t, o.CompactionRate, "it follows the load")
}
