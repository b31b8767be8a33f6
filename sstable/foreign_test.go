package sstable

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/sstable/block"
)

// TestForeignOptions lets RocksDB write tables under options that no fixture has and reads
// them in every way.
func TestForeignOptions(t *testing.T) {
	ldb, err := exec.LookPath("ldb")
	if err != nil {
		missing(t, "ldb")
	}
	base := filepath.Join(t.TempDir(), "base")
	out, err := exec.Command(ldb, "--db="+base, "--create_if_missing", "put", "a", "b").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, options := range []string{
		"index_type=kBinarySearchWithFirstKey checksum=kCRC32c compression=kZSTD",
		"index_type=kBinarySearchWithFirstKey index_block_restart_interval=5 checksum=kxxHash64",
		"index_type=kTwoLevelIndexSearch partition_filters=true metadata_block_size=100 filter_policy=bloomfilter:10:false index_block_restart_interval=3",
		"index_type=kTwoLevelIndexSearch partition_filters=true metadata_block_size=100 filter_policy=ribbonfilter:10:-1 compression=kLZ4Compression",
		"index_type=kTwoLevelIndexSearch metadata_block_size=100 filter_policy=ribbonfilter:20:-1 compression=kLZ4HCCompression",
		"format_version=3 checksum=kxxHash compression=kZlibCompression filter_policy=bloomfilter:10:false",
		"format_version=2 checksum=kNoChecksum compression=kBZip2Compression index_block_restart_interval=16",
		"format_version=4 data_block_index_type=kDataBlockBinaryAndHash block_restart_interval=1 index_block_restart_interval=16",
		"block_size=64 index_shortening=kNoShortening enable_index_compression=false",
		"block_size=64 index_shortening=kShortenSeparatorsAndSuccessor index_block_restart_interval=2 compression=kNoCompression",
		"whole_key_filtering=false filter_policy=bloomfilter:10:false block_align=true compression=kNoCompression",
		"compression=kZSTD max_dict_bytes=4096 zstd_max_train_bytes=65536",
		"compression=kZSTD max_dict_bytes=4096 zstd_max_train_bytes=0",
		"compression=kZlibCompression max_dict_bytes=4096",
		"compression=kLZ4Compression max_dict_bytes=4096",
	} {
		t.Run(strings.ReplaceAll(options, " ", ","), func(t *testing.T) { foreign(t, ldb, base, options) })
	}
}

func foreign(t *testing.T, ldb, base, options string) {
	db := filepath.Join(t.TempDir(), "db")
	require.NoError(t, os.CopyFS(db, os.DirFS(base)))
	run := func(stdin string, args ...string) {
		cmd := exec.Command(ldb, append([]string{"--db=" + db}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	setOptions(t, db, options)
	var in bytes.Buffer
	for i := range 600 {
		fmt.Fprintf(&in, "key%05d ==> %s\n", i*7, strings.Repeat(fmt.Sprintf("value %d of this ", i%50), 4))
	}
	run(in.String(), "--try_load_options", "load", "--compact")
	tables, err := filepath.Glob(filepath.Join(db, "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	n := 0
	for _, name := range tables {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		c := cache.New(8 << 20)
		r, err := Open(&bytesFile{data: data}, ReaderOptions{Cache: c})
		require.NoError(t, err)
		_, err = r.Verify(context.Background())
		require.NoError(t, err)
		if r.Properties().NumEntries > 1 {
			matches(t, r, options)
		}
		all := collect(t, r.NewIterator(IterOptions{}))
		n += len(all)
		walkBack(t, r, all)
		getAll(t, r, all)
		if strings.Contains(options, "filter_policy") && !strings.Contains(options, "whole_key_filtering=false") {
			require.True(t, r.filterInfo().Known)
			rejects(t, r)
		}
		require.NoError(t, r.Close())
		require.Zero(t, c.Metrics().PinnedBytes)
		c.Close()
	}
	require.Equal(t, 601, n)
}

// setOptions edits the OPTIONS file that RocksDB wrote.
func setOptions(t *testing.T, db, options string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(db, "OPTIONS-*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	b, err := os.ReadFile(files[0])
	require.NoError(t, err)
	text := string(b)
	for _, o := range strings.Fields(options) {
		name, value, _ := strings.Cut(o, "=")
		line := regexp.MustCompile(`(?m)^  ` + name + `=.*$`)
		if strings.Contains(name, "_bytes") {
			line = regexp.MustCompile(`([{;]` + name + `=)\d+`)
			require.Regexp(t, line, text)
			text = line.ReplaceAllString(text, "${1}"+value)
			continue
		}
		require.Regexp(t, line, text)
		text = line.ReplaceAllString(text, "  "+o)
	}
	require.NoError(t, os.WriteFile(files[0], []byte(text), 0o644))
}

// matches checks that the options reached the table.
func matches(t *testing.T, r *Reader, options string) {
	t.Helper()
	p := r.Properties()
	for option, got := range map[string]bool{
		"index_type=kBinarySearchWithFirstKey":          p.IndexType == indexFirstKey,
		"index_type=kTwoLevelIndexSearch":               p.IndexType == indexPartitioned && p.IndexPartitions > 1,
		"partition_filters=true":                        r.partFilter,
		"format_version=2":                              r.foot.version == 2 && !p.IndexKeyIsUserKey && !p.IndexValueIsDelta,
		"format_version=3":                              r.foot.version == 3 && p.IndexKeyIsUserKey && !p.IndexValueIsDelta,
		"format_version=4":                              r.foot.version == 4,
		"checksum=kCRC32c":                              r.foot.checksum == block.ChecksumCRC32C,
		"checksum=kxxHash64":                            r.foot.checksum == block.ChecksumXXHash64,
		"checksum=kxxHash ":                             r.foot.checksum == block.ChecksumXXHash32,
		"checksum=kNoChecksum":                          r.foot.checksum == block.ChecksumNone,
		"compression=kZSTD":                             p.Compression == "ZSTD",
		"compression=kBZip2Compression":                 p.Compression == "BZip2",
		"compression=kLZ4HCCompression":                 p.Compression == "LZ4HC",
		"max_dict_bytes":                                r.src.Dict != nil,
		"zstd_max_train_bytes=65536":                    r.src.Dict.Trained(),
		"whole_key_filtering=false":                     !p.WholeKeyFiltering && r.filterBlock == nil,
		"filter_policy=ribbonfilter:20:-1":              r.filter.kind == filterRibbon,
		"data_block_index_type=kDataBlockBinaryAndHash": p.NumDataBlocks > 0,
	} {
		if strings.Contains(options+" ", option) {
			require.True(t, got, option)
		}
	}
}
