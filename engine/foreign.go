package engine

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// checkForeignOptions reads the newest OPTIONS file that RocksDB left, if there is one, and
// refuses by name what this engine could not honour. The file itself is never changed: RocksDB
// finds it as it was.
func checkForeignOptions(fs vfs.FS, dir string, names []string) error {
	newest, found := uint64(0), false
	for _, n := range names {
		if t, num, ok := filename.Parse(n); ok && t == filename.Options && num >= newest {
			newest, found = num, true
		}
	}
	if !found {
		return nil
	}
	path := filename.Path(dir, filename.Options, newest)
	b, err := readSmall(fs, path)
	if err != nil {
		return err
	}
	refuse := func(what, try string) error {
		return errorf(ErrUnsupported, "%s: %s: %s", filename.Base(filename.Options, newest), what, try)
	}
	section := ""
	sc := bufio.NewScanner(strings.NewReader(string(b)))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if strings.HasPrefix(line, "[") {
			section = line
			if name, ok := strings.CutPrefix(line, `[CFOptions "`); ok && name != `default"]` {
				return refuse(`column family "`+strings.TrimSuffix(name, "]"), "only the default one is supported; export it with RocksDB")
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		inCF := strings.HasPrefix(section, "[CFOptions")
		switch {
		case inCF && key == "merge_operator" && !isNull(value) && !strings.Contains(value, ldbMergeOperator):
			return refuse("merge operator "+value, "merge operators are not supported; resolve the merges with RocksDB first")
		case inCF && key == "comparator" && value != bytewiseComparator:
			return refuse("comparator "+value, "only "+bytewiseComparator+" is supported")
		case inCF && key == "prefix_extractor" && !isNull(value):
			return refuse("prefix extractor "+value, "RocksDB would look for prefixes in filters that this engine does not write; remove the option there")
		case inCF && key == "compaction_style" && value != "kCompactionStyleLevel" && value != "kCompactionStyleUniversal":
			return refuse("compaction style "+value, "only level and universal are supported")
		case inCF && key == "num_levels":
			if n, err := strconv.Atoi(value); err == nil && n != manifest.NumLevels {
				return refuse("num_levels "+value, "only "+strconv.Itoa(manifest.NumLevels)+" is supported; set it with RocksDB")
			}
		case inCF && key == "cf_paths" && strings.Trim(value, "{}") != "":
			return refuse("cf_paths "+value, "tables must lie in the database's directory")
		case section == "[DBOptions]" && key == "wal_dir" && value != "" && strings.TrimSuffix(value, "/") != strings.TrimSuffix(dir, "/") && value != ".":
			if !sameDir(value, dir) {
				return refuse("wal_dir "+value, "logs must lie in the database's directory")
			}
		case section == "[DBOptions]" && key == "db_paths" && strings.Trim(value, "{}") != "":
			return refuse("db_paths "+value, "tables must lie in the database's directory")
		}
	}
	return sc.Err()
}

// ldbMergeOperator is what RocksDB's ldb names in the OPTIONS of every database that it writes
// to, used or not. Tables and logs with merge operands are refused whatever OPTIONS says.
const ldbMergeOperator = "StringAppendOperator"

func isNull(value string) bool { return value == "" || value == "nullptr" || value == "{}" }

// sameDir reports whether RocksDB's wal_dir names the directory that the database was made in.
// RocksDB writes the path as it was then; a database that was moved as a whole keeps it.
func sameDir(walDir, dir string) bool {
	base := func(s string) string {
		s = strings.TrimRight(s, "/")
		return s[strings.LastIndexByte(s, '/')+1:]
	}
	return base(walDir) == base(dir)
}

// isUnsupported reports whether err names a feature that this engine does not have.
func isUnsupported(err error) bool {
	var (
		b *batch.UnsupportedError
		m *manifest.UnsupportedError
		r *record.UnsupportedError
		t *sstable.UnsupportedError
		v *blob.UnsupportedError
	)
	return errors.As(err, &b) || errors.As(err, &m) || errors.As(err, &r) || errors.As(err, &t) || errors.As(err, &v)
}

// readSmall returns the whole of a file of at most 1 MiB.
func readSmall(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path, vfs.Buffered)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
}

// writeSmall writes content into a file that holds nothing worth keeping.
func writeSmall(fs vfs.FS, path string, content []byte) error {
	f, err := fs.Create(path, vfs.Buffered)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
