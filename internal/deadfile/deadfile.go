// Package deadfile is the content of the file CAMBIUM-DEAD, in which a database that is being closed
// keeps which records of its blob files are dead, so that the next who opens it need not look through
// tables for that. RocksDB leaves it where it is.
//
//	b := deadfile.Encode(state, files)
//	files, err := deadfile.Decode("data/CAMBIUM-DEAD", b, state) // files of that state, or none
//
// The bytes:
//
//	"cambium-dead 1\n"
//	state = length of the database id, id, number and length of the manifest, CRC-32C of the manifest
//	number of files
//	file  = number of the blob file, 1 where all that is dead is given back, else 0, and the dead
//	        records as blob.Dead has them; ascending by number
//	CRC-32C of all before, fixed32
//
// All numbers but the last are varints. Everything here is a pure function over values.
package deadfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// State is that of a database whose manifest nobody has changed since. RocksDB begins a new manifest
// whenever it opens a database for writing, as we do.
type State struct {
	DBID          string
	Manifest      uint64 // its number
	ManifestBytes uint64
	ManifestCRC   uint32 // CRC-32C of all of it
}

// File is what is dead in one blob file.
type File struct {
	Num   uint64
	Given bool // all whole pages of it have been given back
	Dead  *blob.Dead
}

const head = "cambium-dead 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the bytes of the file. files ascend by number.
func Encode(s State, files []File) []byte {
	b := append([]byte(head), s.encode()...)
	b = binary.AppendUvarint(b, uint64(len(files)))
	for _, f := range files {
		b = binary.AppendUvarint(b, f.Num)
		given := uint64(0)
		if f.Given {
			given = 1
		}
		b = f.Dead.Encode(binary.AppendUvarint(b, given))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (s State) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(s.DBID)))
	b = append(b, s.DBID...)
	b = binary.AppendUvarint(b, s.Manifest)
	b = binary.AppendUvarint(b, s.ManifestBytes)
	return binary.AppendUvarint(b, uint64(s.ManifestCRC))
}

// Decode reads the bytes of the file path. It returns nothing where they are about another state
// than s; bytes that Encode does not write give a corrupt.Error.
func Decode(path string, b []byte, s State) ([]File, error) {
	if len(b) < len(head)+4 || !strings.HasPrefix(string(b), head) {
		return nil, corrupt.Errorf(path, 0, "not a file of dead records of version 1")
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return nil, corrupt.Errorf(path, 0, "crc32c want %08x got %08x", sum, got)
	}
	rest, ours := strings.CutPrefix(string(body[len(head):]), string(s.encode()))
	if !ours {
		return nil, nil
	}
	files, err := decodeFiles([]byte(rest))
	if err != nil {
		return nil, corrupt.Errorf(path, int64(len(body)-len(rest)), "%w", err)
	}
	return files, nil
}

func decodeFiles(b []byte) (files []File, err error) {
	next := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = errors.New("the bytes end too early")
			return 0
		}
		b = b[n:]
		return v
	}
	for n := next(); n > 0 && err == nil; n-- {
		f := File{Num: next(), Given: next() == 1}
		if err == nil {
			f.Dead, b, err = blob.DecodeDead(b)
		}
		if err == nil && len(files) > 0 && files[len(files)-1].Num >= f.Num {
			err = errors.New("the files do not ascend")
		}
		files = append(files, f)
	}
	if err == nil && len(b) > 0 {
		err = errors.New("bytes are left over")
	}
	if err != nil {
		return nil, err
	}
	return files, nil
}
