package manifest

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Check returns an error where the version breaks a rule without which reads could be wrong or
// RocksDB would refuse to open the directory (its force_consistency_checks,
// db/version_builder.cc):
//
//   - no table is in two places, and none has its bounds the wrong way round
//   - level 0 runs from new to old, without two tables whose sequence numbers interleave
//   - on other levels each table ends before the next one begins
//   - no blob file is entirely garbage or has more garbage than values
func (v *Version) Check() error {
	seen := make(map[uint64]int)
	for level, tables := range v.Levels {
		for _, t := range tables {
			if other, twice := seen[t.Num]; twice {
				return fmt.Errorf("table %06d is on level %d and on level %d", t.Num, other, level)
			}
			seen[t.Num] = level
			if ikey.Compare(t.Smallest, t.Largest) > 0 || t.SmallestSeq > t.LargestSeq {
				return fmt.Errorf("level %d: %s has its bounds the wrong way round", level, t)
			}
		}
	}
	if err := checkLevel0(v.Levels[0]); err != nil {
		return err
	}
	for level := 1; level < NumLevels; level++ {
		tables := v.Levels[level]
		for i := 1; i < len(tables); i++ {
			if a, b := tables[i-1], tables[i]; ikey.Compare(a.Largest, b.Smallest) >= 0 {
				return fmt.Errorf("level %d: %s does not end before %s", level, a, b)
			}
		}
	}
	return v.checkBlobs()
}

func checkLevel0(tables []*Table) error {
	order := newestFirst(tables)
	ranked := allHaveEpochs(tables)
	for i := 1; i < len(tables); i++ {
		newer, older := tables[i-1], tables[i]
		if order(newer, older) >= 0 {
			return fmt.Errorf("level 0: %s is not newer than %s", newer, older)
		}
		if ranked && newer.epoch() > older.epoch() {
			continue
		}
		if err := checkAge(newer, older); err != nil {
			return err
		}
	}
	return nil
}

// checkAge decides whether two neighbours of level 0 hold separate ranges of sequence numbers,
// by the rule of RocksDB 7.8. A table with one sequence number for all may have been ingested
// inside the range of an older one.
func checkAge(newer, older *Table) error {
	if s := older.SmallestSeq; s == older.LargestSeq {
		if s < newer.LargestSeq || s == 0 {
			return nil
		}
	} else if newer.SmallestSeq > older.SmallestSeq {
		return nil
	}
	return fmt.Errorf("level 0: sequence numbers interleave: %s, %s", newer, older)
}

func (v *Version) checkBlobs() error {
	for num, b := range v.Blobs {
		switch {
		case num != b.Num:
			return fmt.Errorf("blob file %06d is listed as %06d", b.Num, num)
		case b.GarbageCount >= b.Count || b.GarbageBytes > b.Bytes:
			return fmt.Errorf("nothing but garbage in %s", b)
		}
	}
	return nil
}

// CheckFiles returns an error unless every table is in dir with the size that the version has
// for it and every blob file is there; a missing or short one is a *corrupt.Error. It opens
// none of them.
func (v *Version) CheckFiles(fsys vfs.FS, dir string) error {
	for level, tables := range v.Levels {
		for _, t := range tables {
			name := filename.Path(dir, filename.Table, t.Num)
			info, err := fsys.Stat(name)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return &corrupt.Error{File: name, Offset: -1, Err: fmt.Errorf("missing table of level %d: %w", level, err)}
			case err != nil:
				return err
			case info.Size() != int64(t.Size):
				return corrupt.Errorf(name, -1, "has %d bytes, the manifest says %d", info.Size(), t.Size)
			}
		}
	}
	for num := range v.Blobs {
		name := filename.Path(dir, filename.Blob, num)
		if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return &corrupt.Error{File: name, Offset: -1, Err: fmt.Errorf("missing blob file: %w", err)}
		} else if err != nil {
			return err
		}
	}
	return nil
}
