// Package filename knows the names of the files in a database directory, which are RocksDB's
// (file/filename.cc), and the one way to publish a small file so that a crash leaves either
// the old or the new one.
//
//	p := filename.Path(dir, filename.Table, 7)      // dir/000007.sst
//	t, num, ok := filename.Parse("MANIFEST-000005") // Manifest, 5, true
//	err := filename.SetCurrent(fs, dir, 5)          // CURRENT = "MANIFEST-000005\n"
//	num, err := filename.ReadCurrent(fs, dir)
//
// The names:
//
//	%06d.sst  %06d.blob  %06d.log  %06d.dbtmp  MANIFEST-%06d  OPTIONS-%06d
//	CURRENT  IDENTITY  LOCK  LOG  LOG.old.%d
//	CAMBIUM-LEDGER  CAMBIUM-DEAD
//
// Numbers come from one counter, the manifest's next file number. RocksDB removes files whose
// names it can parse and that no manifest mentions; the last two of these names, which are
// ours alone, mean nothing to it, so it leaves those files where they are.
//
// All functions are pure except Publish, SetCurrent and ReadCurrent; those may run beside each
// other as long as no two publish the same name.
package filename

import (
	"fmt"
	"strconv"
	"strings"
)

// Type says what a file is for.
type Type uint8

// The types of files in a database directory. Types up to Temp carry a number in their name.
const (
	Unknown  Type = iota // not a name of ours or RocksDB's
	Table                // %06d.sst: a sorted table
	Blob                 // %06d.blob: separated large values
	Log                  // %06d.log: write-ahead log
	Manifest             // MANIFEST-%06d: edits of the tree
	Options              // OPTIONS-%06d: RocksDB's options; never written or removed by us
	Temp                 // %06d.dbtmp: a file on its way to be published
	Current              // CURRENT: names the manifest
	Identity             // IDENTITY: the database's id
	LockFile             // LOCK: held while a process has the database open for writing
	InfoLog              // LOG, LOG.old.N: RocksDB's text log; N is a time and not a file number
	Ledger               // CAMBIUM-LEDGER: what was written over the life of the directory
	Dead                 // CAMBIUM-DEAD: which records of blob files nobody refers to
)

var typeNames = [...]string{"unknown", "table", "blob", "log", "manifest", "options", "temp", "current", "identity", "lock", "infolog", "ledger", "dead"}

// String returns the lower-case name of the type.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

const oldInfoLog = "LOG.old."

// Base returns the name of file num of type t inside its directory. Types without a number
// ignore num, except InfoLog, where 0 is the present log and any other number an older one.
// Unknown has no name: it gives the empty string.
func Base(t Type, num uint64) string {
	switch t {
	case Table:
		return fmt.Sprintf("%06d.sst", num)
	case Blob:
		return fmt.Sprintf("%06d.blob", num)
	case Log:
		return fmt.Sprintf("%06d.log", num)
	case Temp:
		return fmt.Sprintf("%06d.dbtmp", num)
	case Manifest:
		return fmt.Sprintf("MANIFEST-%06d", num)
	case Options:
		return fmt.Sprintf("OPTIONS-%06d", num)
	case Current:
		return "CURRENT"
	case Identity:
		return "IDENTITY"
	case LockFile:
		return "LOCK"
	case InfoLog:
		if num == 0 {
			return "LOG"
		}
		return oldInfoLog + strconv.FormatUint(num, 10)
	case Ledger:
		return "CAMBIUM-LEDGER"
	case Dead:
		return "CAMBIUM-DEAD"
	}
	return ""
}

// Path returns the path of file num of type t in dir.
func Path(dir string, t Type, num uint64) string { return join(dir, Base(t, num)) }

func join(dir, base string) string {
	if dir == "" || strings.HasSuffix(dir, "/") {
		return dir + base
	}
	return dir + "/" + base
}

// Parse tells what a name inside a database directory stands for. ok is true only when
// Base(t, num) gives back exactly base, so that a file is never opened or removed under
// another name than the one that was listed ("7.sst" is no table of ours).
func Parse(base string) (t Type, num uint64, ok bool) {
	t, digits := split(base)
	if digits != "" {
		var err error
		if num, err = strconv.ParseUint(digits, 10, 64); err != nil {
			return Unknown, 0, false
		}
	}
	if t == Unknown || Base(t, num) != base {
		return Unknown, 0, false
	}
	return t, num, true
}

// split guesses the type from the fixed part of the name and returns the rest, which should
// be digits.
func split(base string) (t Type, digits string) {
	switch base {
	case "CURRENT":
		return Current, ""
	case "IDENTITY":
		return Identity, ""
	case "LOCK":
		return LockFile, ""
	case "LOG":
		return InfoLog, ""
	case "CAMBIUM-LEDGER":
		return Ledger, ""
	case "CAMBIUM-DEAD":
		return Dead, ""
	}
	for _, p := range [...]struct {
		prefix string
		t      Type
	}{{"MANIFEST-", Manifest}, {"OPTIONS-", Options}, {oldInfoLog, InfoLog}} {
		if rest, found := strings.CutPrefix(base, p.prefix); found {
			return p.t, rest
		}
	}
	rest, suffix, found := strings.Cut(base, ".")
	if !found {
		return Unknown, ""
	}
	switch suffix {
	case "sst":
		return Table, rest
	case "blob":
		return Blob, rest
	case "log":
		return Log, rest
	case "dbtmp":
		return Temp, rest
	}
	return Unknown, ""
}
