package wal

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/record"
)

// TestWhatIsCompressed: small records that nobody waits for are merged and compressed, those that
// somebody waits for are stored.
func TestWhatIsCompressed(t *testing.T) {
	for _, p := range []Policy{PerWrite, PerSecond, None} {
		m := newMem(t)
		opts := testOptions(m)
		opts.Compress, opts.Merge = true, batch.Merge
		l := newQuiet(t, opts, 7)
		total := 0
		for seq := uint64(1); seq <= 1000; seq++ {
			rec := recordOf(seq, 400)
			clear(rec[100:])
			_, err := l.Append(rec, p)
			require.NoError(t, err)
			total += len(rec) - batch.HeaderLen
		}
		require.NoError(t, l.Flush())
		r, err := OpenReader(m, segmentPath(7), 7)
		require.NoError(t, err)
		records := 0
		for err == nil {
			var rec []byte
			if rec, _, err = r.Next(); err == nil {
				require.LessOrEqual(t, len(rec), mergeBytes)
				records++
			}
		}
		require.Equal(t, io.EOF, err)
		require.NoError(t, r.Close())
		require.Equal(t, (total+mergeBytes-1)/mergeBytes+1, records, "merged, and a filler")
		written := int(l.Metrics().Bytes)
		if p == PerWrite {
			require.Greater(t, written, total*9/10)
		} else {
			require.Less(t, written, total/2)
		}
		require.NoError(t, l.shut())
	}
}

// TestNoZerosInARecord: wherever in a block a piece of a record begins, and however short it is, the block is
// either filled or has room for another header behind it. No zstd frame is shorter than 13 bytes.
func TestNoZerosInARecord(t *testing.T) {
	l := newQuiet(t, testOptions(newMem(t)), 7)
	s := l.current()
	for size := 13; size < 80; size++ {
		for at := record.BlockSize - 120; at <= record.BlockSize-record.RecyclableHeaderLen; at++ {
			s.tail = int64(at)
			rest := make([]byte, size)
			for more := true; more; {
				rest, more = l.fragment(s, false, false, rest)
				if left := record.BlockSize - int(s.tail%record.BlockSize); left < record.RecyclableHeaderLen {
					t.Fatalf("a piece of %d bytes at %d leaves %d bytes of the block", size, at, left)
				}
			}
		}
	}
	s.tail = 0
	require.NoError(t, l.shut())
}

// TestFutile: what does not get shorter is tried ever more rarely, and a success forgets that.
func TestFutile(t *testing.T) {
	var f futile
	var tries []int
	for i := range 200 {
		if f.try() {
			tries = append(tries, i)
			f.note(false)
		}
	}
	require.Equal(t, []int{0, 2, 5, 10, 19, 36, 69, 102, 135, 168}, tries)
	for !f.try() {
	}
	require.True(t, f.note(true))
	require.True(t, f.try())
}
