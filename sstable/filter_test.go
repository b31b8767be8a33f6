package sstable

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/block"
)

// TestFilterHash pins values of Hash64 that RocksDB states in util/hash_test.cc.
func TestFilterHash(t *testing.T) {
	for in, want := range map[string]uint64{
		"":                         5999572062939766020,
		"\x08":                     583283813901344696,
		"\x4d\x76":                 6859542833406258115,
		"\xd4\x52\x33":             15853805298481534034,
		"\x67\x53\x81\x1c":         9010661983527562386,
		"\xd0\x7a\x6e\xea\x56":     6384167718754869899,
		"\x5c\x5e\xe1\xa0\x73\x81": 17358142495308219330,
	} {
		require.Equal(t, want, filterHash([]byte(in)), "%x", in)
	}
}

// longKeys has a key of every length that takes another path through the hash.
func longKeys() [][]byte {
	var keys [][]byte
	for n := 1; n < 700; n++ {
		keys = append(keys, patternKey(n))
	}
	for _, n := range []int{1000, 1023, 1024, 1025, 2048, 2049, 4096, 5000} {
		keys = append(keys, patternKey(n))
	}
	return keys
}

func patternKey(n int) []byte {
	k := make([]byte, n)
	for i := range k {
		k[i] = byte((i*131 + n*7) % 251)
	}
	return k
}

// TestFilterHashLong pins the hash of keys of every length, as TestFilterLikeRocksDB proves it.
func TestFilterHashLong(t *testing.T) {
	sum := uint64(0)
	for _, k := range longKeys() {
		sum = sum*31 + filterHash(k)
	}
	require.Equal(t, uint64(0xd8bd7f5cf9eedd7c), sum)
}

// TestFilterLikeRocksDB lets RocksDB build a filter over keys of every length and expects ours
// to be the same to the bit.
func TestFilterLikeRocksDB(t *testing.T) {
	ldb, err := exec.LookPath("ldb")
	if err != nil {
		missing(t, "ldb")
	}
	dir := t.TempDir()
	var input bytes.Buffer
	for _, k := range longKeys() {
		fmt.Fprintf(&input, "0x%X ==> 0x76\n", k)
	}
	for _, bits := range []string{"4", "10", "20"} {
		db := filepath.Join(dir, bits)
		run := func(args ...string) {
			cmd := exec.Command(ldb, append([]string{"--db=" + db, "--bloom_bits=" + bits}, args...)...)
			cmd.Stdin = bytes.NewReader(input.Bytes())
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
		run("--create_if_missing", "load", "--hex")
		run("compact")
		tables, err := filepath.Glob(filepath.Join(db, "*.sst"))
		require.NoError(t, err)
		require.Len(t, tables, 1)
		data, err := os.ReadFile(tables[0])
		require.NoError(t, err)
		r, err := openBytes(t, tables[0], data, ReaderOptions{})
		require.NoError(t, err)
		var perKey float64
		_, err = fmt.Sscan(bits, &perKey)
		require.NoError(t, err)
		sameFilter(t, r, perKey)
		require.NoError(t, r.Close())
	}
}

// sameFilter rebuilds the table's filter from its keys.
func sameFilter(t *testing.T, r *Reader, bitsPerKey float64) {
	t.Helper()
	require.Equal(t, filterFast, r.filter.kind)
	b := newFilterBuilder(bitsPerKey)
	for _, p := range collect(t, r.NewIterator(IterOptions{})) {
		b.add(p.key.User)
	}
	require.Equal(t, hex.EncodeToString(r.filterBlock.Bytes()), hex.EncodeToString(b.finish()))
}

// TestFilterRate measures false positives: about what RocksDB promises, and no false negative.
func TestFilterRate(t *testing.T) {
	for _, c := range []struct {
		bits float64
		most int // of 10,000
	}{{4, 1800}, {10, 140}, {16, 25}} {
		b := newFilterBuilder(c.bits)
		for i := range 20000 {
			b.add(fmt.Appendf(nil, "present%d", i))
		}
		f := parseFilter(b.finish())
		require.Equal(t, filterFast, f.kind)
		positives := 0
		for i := range 20000 {
			require.True(t, f.mayContain(fmt.Appendf(nil, "present%d", i)))
			if i < 10000 && f.mayContain(fmt.Appendf(nil, "absent%d", i)) {
				positives++
			}
		}
		require.Less(t, positives, c.most)
	}
}

// TestFilterUnknown never trusts a filter it cannot read.
func TestFilterUnknown(t *testing.T) {
	for _, meta := range []string{"", "00", "ff0006", "ff01060000", "ff00000000", "ff00e60000", "ff00060001",
		"fd00000000", "0600000000", "0003000000", "06ffffffff", "0601000000"} {
		m, err := hex.DecodeString(meta)
		require.NoError(t, err)
		for _, n := range []int{0, 1, 32, 63, 65, 96} {
			f := parseFilter(append(make([]byte, n), m...))
			require.True(t, f.mayContain([]byte("k")), "%s after %d bytes: %v", meta, n, &f)
		}
	}
}

// TestWholeKeyFilteringOff ignores a filter over prefixes only.
func TestWholeKeyFilteringOff(t *testing.T) {
	p := Properties{Comparator: comparatorName}
	q, err := decodeProperties(p.encode(), block.Origin{})
	require.NoError(t, err)
	require.False(t, q.WholeKeyFiltering)
	r := &Reader{props: q, count: &Counters{}, meta: []MetaBlock{{Name: metaFullFilter}}}
	require.NoError(t, r.readFilter(nil))
	may, err := r.MayContain([]byte("k"))
	require.NoError(t, err)
	require.True(t, may)
}

// TestFilterCounters shows what the counters say after lookups of present and absent keys.
func TestFilterCounters(t *testing.T) {
	c := numbered(2000, 10)
	var n Counters
	fs, name := tableOf(t, c, WriterOptions{BitsPerKey: 10})
	r := openFile(t, fs, name, ReaderOptions{Counters: &n})
	defer r.Close()
	reads := n.BlockReads.Load()
	for i := range 1000 {
		v, ok, err := r.Get(fmt.Appendf(nil, "key%06d", i), ikey.MaxSeq)
		require.NoError(t, err)
		require.True(t, ok)
		v.Release()
		_, ok, err = r.Get(fmt.Appendf(nil, "key%06dx", i), ikey.MaxSeq)
		require.NoError(t, err)
		require.False(t, ok)
	}
	require.Equal(t, uint64(2000), n.FilterChecks.Load())
	require.Equal(t, uint64(1000), n.FilterNegatives.Load()+n.FilterFalsePositives.Load())
	require.Less(t, n.FilterFalsePositives.Load(), uint64(40))
	require.Equal(t, 1000+n.FilterFalsePositives.Load(), n.BlockReads.Load()-reads)
}
