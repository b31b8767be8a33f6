package wal

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// ldb runs RocksDB's tool. Where it is missing the test ends: with a line about what was
// skipped, or, under CI=true, with a failure.
func ldb(t *testing.T, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("ldb")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ldb is not on PATH (Debian: rocksdb-tools)")
		}
		fmt.Printf("SKIPPED %s: RocksDB's ldb is not on PATH (Debian: rocksdb-tools)\n", t.Name())
		t.SkipNow()
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	require.NoError(t, err, "ldb %v: %s", args, out)
	return string(out)
}

// rocksOptions is for a log in a real directory.
func rocksOptions(dir string) Options {
	opts := testOptions(vfs.OS(nil))
	opts.Dir = dir
	return opts
}

// dumpWAL returns the sequence numbers of the batches with ops that RocksDB finds in a file, in
// order, and the rest of what it says.
func dumpWAL(t *testing.T, file string) (seqs []uint64, noise []string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(ldb(t, "dump_wal", "--walfile="+file, "--header")), "\n") {
		fields := strings.Split(line, ",")
		seq, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil || len(fields) < 5 {
			if !strings.HasPrefix(line, "Sequence,") {
				noise = append(noise, line)
			}
			continue
		}
		if fields[1] != "0" {
			seqs = append(seqs, seq)
		}
	}
	return seqs, noise
}

func upTo(first, last uint64) (seqs []uint64) {
	for ; first <= last; first++ {
		seqs = append(seqs, first)
	}
	return seqs
}

// TestRocksDBReadsEveryGap: a filler of ours in every gap of a page, at all pages of a block and
// at every offset around a block's end, is skipped by RocksDB, and nothing behind it is lost.
func TestRocksDBReadsEveryGap(t *testing.T) {
	dir := t.TempDir()
	l := newQuiet(t, rocksOptions(dir), 7)
	seq := uint64(0)
	for gap := range 4096 {
		at := int(l.current().tail)
		size := 32
		for (at+framedLen(at, size)+gap)%4096 != 0 {
			size++
		}
		seq++
		_, err := l.Append(recordOf(seq, size), PerWrite)
		require.NoError(t, err)
		require.NoError(t, l.Flush())
	}
	for end := record.BlockSize - 60; end <= record.BlockSize+60; end++ {
		for l.current().tail%record.BlockSize != 0 {
			seq++
			_, err := l.Append(recordOf(seq, 300), PerWrite)
			require.NoError(t, err)
			require.NoError(t, l.Flush())
		}
		n := 32
		for record.FramedLen(0, true, n) < end {
			n++
		}
		seq++
		_, err := l.Append(recordOf(seq, n), PerWrite)
		require.NoError(t, err)
		require.NoError(t, l.Flush())
	}
	file := filepath.Join(dir, fileName(7))
	seqs, noise := dumpWAL(t, file)
	require.Empty(t, noise)
	require.Equal(t, upTo(1, seq), seqs, "the live file, preallocated")
	require.NoError(t, l.shut())
	seqs, noise = dumpWAL(t, file)
	require.Empty(t, noise)
	require.Equal(t, upTo(1, seq), seqs, "the closed file")
}

// TestRocksDBReadsLongRecords: records that take many blocks, of bytes that compress and of bytes
// that do not, and small ones between them that may be merged.
func TestRocksDBReadsLongRecords(t *testing.T) {
	dir := t.TempDir()
	l := newQuiet(t, rocksOptions(dir), 7)
	want := map[uint64]int{} // sequence number of the first op -> bytes
	seq, last := uint64(0), uint64(0)
	for i, size := range []int{200, 40_000, 300, 300, 65_600, 99_000, 131_000, 200_000, 33, 250_000, 262_144, 300_000, 900, 700_000, 10 << 20, 2_000_000, 50, 50} {
		seq++
		rec := recordOf(seq, size)
		if i%2 == 0 {
			for j := 60; j < len(rec); j++ {
				rec[j] = byte(j>>4) & rec[j] // about 2:1
			}
		}
		_, err := l.Append(rec, None)
		require.NoError(t, err)
		if compressed && last > 0 && want[last]+size <= mergeBytes {
			want[last] += size - batch.HeaderLen
			continue
		}
		last, want[seq] = seq, size
	}
	require.NoError(t, l.Flush())
	got := map[uint64]int{}
	for line := range strings.Lines(ldb(t, "dump_wal", "--walfile="+filepath.Join(dir, fileName(7)), "--header")) {
		fields := strings.Split(line, ",")
		seq, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			require.True(t, strings.HasPrefix(line, "Sequence,"), line)
			continue
		}
		if fields[1] != "0" {
			got[seq], err = strconv.Atoi(fields[2])
			require.NoError(t, err)
		}
	}
	require.Equal(t, want, got)
	require.NoError(t, l.shut())
}

// TestRocksDBReadsPieceEnds: what a long record is compressed in ends at each of the last 40 offsets of
// a block.
func TestRocksDBReadsPieceEnds(t *testing.T) {
	for shift := range 40 {
		dir := t.TempDir()
		l := newQuiet(t, rocksOptions(dir), 7)
		// A piece of 256 KiB of noise, in frames and fragments, is 8 blocks and some 200 bytes.
		for seq, size := range []int{record.BlockSize - 220 - shift, 2*pieceBytes + 1000, 100} {
			_, err := l.Append(recordOf(uint64(seq+1), size), None)
			require.NoError(t, err)
		}
		require.NoError(t, l.Flush())
		seqs, noise := dumpWAL(t, filepath.Join(dir, fileName(7)))
		require.Empty(t, noise, "shift %d", shift)
		require.Equal(t, upTo(1, 3), seqs)
		require.NoError(t, l.shut())
	}
}

// TestRocksDBReadsRecycled: killed logs in recycled, preallocated files, of many lengths. Where
// a live log has ended at a page of its former life RocksDB may say so, but reads all of it.
func TestRocksDBReadsRecycled(t *testing.T) {
	for n := 1; n <= 12; n++ {
		dir := t.TempDir()
		opts := rocksOptions(dir)
		opts.SegmentBytes = 256 << 10
		l := newQuiet(t, opts, 7)
		for i := range 60 {
			appendCommit(t, l, recordOf(uint64(i+1), 3000), []Policy{PerWrite, None}[n%2])
		}
		l.current().waited = true // else it is not recycled
		require.NoError(t, l.Rotate(8, nil))
		appendCommit(t, l, recordOf(61, 100), PerWrite)
		require.NoError(t, l.Release(7))
		require.NoError(t, l.Rotate(9, batch.AppendLogHeader(nil, 62, 8, 61)))
		for i := range n {
			appendCommit(t, l, recordOf(uint64(62+i), 2000+500*i), PerWrite)
		}
		require.EqualValues(t, 1, l.Metrics().Recycled)
		seqs, noise := dumpWAL(t, filepath.Join(dir, fileName(9)))
		require.Equal(t, upTo(62, uint64(61+n)), seqs)
		for _, line := range noise {
			require.Contains(t, line, "Corruption")
		}
		seqs, noise = dumpWAL(t, filepath.Join(dir, fileName(8)))
		require.Empty(t, noise, "a sealed segment ends cleanly")
		require.Equal(t, upTo(61, 61), seqs)
		require.NoError(t, l.shut())
	}
}

// TestRocksDBRecovers puts killed logs of ours into a database that ldb made and lets RocksDB
// recover from them.
func TestRocksDBRecovers(t *testing.T) {
	dir := t.TempDir()
	ldb(t, "--db="+dir, "--create_if_missing", "put", "a", "b")
	opts := rocksOptions(dir)
	opts.SegmentBytes = 256 << 10
	// Segment 100 gets the file of a log that RocksDB never hears of.
	l := newQuiet(t, opts, 90)
	for i := range 60 {
		appendCommit(t, l, recordOf(uint64(i+1), 3000), None)
	}
	l.current().waited = true // else it is not recycled
	require.NoError(t, l.Rotate(91, batch.AppendLogHeader(nil, 2, 0, 1)))
	require.NoError(t, l.SyncAll())
	require.NoError(t, l.Release(90))
	require.NoError(t, l.Rotate(100, batch.AppendLogHeader(nil, 2, 91, 1)))
	want := map[string]string{hex.EncodeToString([]byte("a")): hex.EncodeToString([]byte("b"))}
	seq, segment := uint64(2), uint64(100)
	put := func(p Policy, size int) {
		rep := make([]byte, batch.HeaderLen)
		batch.SetHeader(rep, seq, 1)
		key, value := fmt.Appendf(nil, "key%06d", seq), recordOf(seq, size)
		rep = batch.AppendOp(rep, ikey.KindSet, key, value)
		appendCommit(t, l, rep, p)
		want[hex.EncodeToString(key)] = hex.EncodeToString(value)
		seq++
	}
	for round := range 4 {
		for i := range 40 {
			put(Policy((i+round)%3), 40+i*150)
		}
		segment++
		require.NoError(t, l.Rotate(segment, batch.AppendLogHeader(nil, seq, segment-1, seq-1)))
	}
	require.EqualValues(t, 1, l.Metrics().Recycled)
	put(PerWrite, 1_000_000)
	for i := range 5 {
		put(PerWrite, 100+i)
	}
	// Now the process is killed: a copy of the directory as it is.
	killed := t.TempDir()
	require.NoError(t, os.CopyFS(killed, os.DirFS(dir)))
	require.NoError(t, l.shut())
	for name, db := range map[string]string{"killed": killed, "closed": dir} {
		got := map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(ldb(t, "--db="+db, "--hex", "scan")), "\n") {
			k, v, ok := strings.Cut(line, " ==> ")
			if !ok {
				k, v, ok = strings.Cut(line, " : ")
			}
			require.True(t, ok, line)
			got[strings.ToLower(strings.TrimPrefix(k, "0x"))] = strings.ToLower(strings.TrimPrefix(v, "0x"))
		}
		require.Equal(t, len(want), len(got), name)
		for k, v := range want {
			require.Equal(t, v, got[k], "%s: key %s", name, k)
		}
	}
}

// TestReadsRocksDBsLog reads a log that RocksDB wrote, in the legacy format.
func TestReadsRocksDBsLog(t *testing.T) {
	dir := t.TempDir()
	ldb(t, "--db="+dir, "--create_if_missing", "put", "a", "b")
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	total := 0
	for _, file := range logs {
		num, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(file), ".log"), 10, 64)
		require.NoError(t, err)
		r, err := OpenReader(vfs.OS(nil), file, num)
		require.NoError(t, err)
		for {
			rec, _, err := r.Next()
			if err != nil {
				require.ErrorContains(t, err, "EOF")
				break
			}
			br, err := batch.NewReader(rec)
			require.NoError(t, err)
			op, ok, err := br.Next()
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, "a", string(op.Key))
			total++
		}
		require.NoError(t, r.Close())
	}
	require.Equal(t, 1, total)
}
