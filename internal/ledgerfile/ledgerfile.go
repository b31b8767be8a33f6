// Package ledgerfile is the content of the file CAMBIUM-LEDGER, in which a database keeps what it
// wrote over the life of its directory. It is ours alone; RocksDB leaves it where it is.
//
//	c := ledgerfile.Content{DBID: id, Since: now, Rows: rows}
//	b, err := c.Encode()
//	c, err = ledgerfile.Decode("data/CAMBIUM-LEDGER", b)
//
// The bytes:
//
//	cambium-ledger 1 8f3a11c2    version of the content, CRC-32C of all behind this line
//	{"db_id":"..", ..}           JSON
//	spaces                       up to a multiple of 4096 bytes
//
// So the length of the file is what it takes on the device and in the kernel's count of bytes
// written. Everything here is a pure function over values.
package ledgerfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/cambiumdb/cambium/internal/corrupt"
)

// Content is what the file says.
type Content struct {
	DBID string `json:"db_id"` // another database's file says nothing about this one
	// Manifest is the number of the manifest when the file was written. Whoever opens the
	// directory for writing, RocksDB too, begins a new manifest.
	Manifest  uint64    `json:"manifest"`
	Closed    bool      `json:"closed"` // whoever wrote the file wrote nothing after
	Since     time.Time `json:"since"`  // when the counting began
	Saved     time.Time `json:"saved"`  // when the file was written
	Gaps      int       `json:"gaps"`   // how many times something went uncounted
	UserBytes int64     `json:"user_bytes"`
	Rows      []Row     `json:"rows"` // the file's own bytes are among them
}

// Row is one cause of writing: see engine.LedgerRow.
type Row struct {
	Cause  string `json:"cause"`
	Level  int    `json:"level"`
	Reason string `json:"reason,omitempty"`
	Bytes  int64  `json:"bytes"`
}

const (
	version = 1
	head    = "cambium-ledger %d %08x\n"
	page    = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode returns the bytes of the file. It fails where a time is beyond the year 9999.
func (c Content) Encode() ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	first := len(fmt.Sprintf(head, version, 0))
	pages := (first + len(body) + page - 1) / page
	body = append(body, bytes.Repeat([]byte{' '}, pages*page-first-len(body))...)
	return append(fmt.Appendf(nil, head, version, crc32.Checksum(body, castagnoli)), body...), nil
}

// Decode reads the bytes of the file path. Bytes that Encode does not write give a corrupt.Error,
// those of a later version another error.
func Decode(path string, b []byte) (Content, error) {
	var v int
	var sum uint32
	end := bytes.IndexByte(b, '\n') + 1
	if _, err := fmt.Sscanf(string(b[:end]), head, &v, &sum); err != nil {
		return Content{}, corrupt.Errorf(path, 0, "not a ledger: %w", err)
	}
	if v != version {
		return Content{}, fmt.Errorf("%s is of version %d, want %d", path, v, version)
	}
	if got := crc32.Checksum(b[end:], castagnoli); got != sum {
		return Content{}, corrupt.Errorf(path, int64(end), "crc32c want %08x got %08x", sum, got)
	}
	var c Content
	if err := json.Unmarshal(b[end:], &c); err != nil {
		return Content{}, corrupt.Errorf(path, int64(end), "%w", err)
	}
	least := min(int64(c.Gaps), c.UserBytes)
	for _, r := range c.Rows {
		least = min(least, r.Bytes, int64(r.Level)+1)
	}
	if least < 0 {
		return Content{}, corrupt.Errorf(path, int64(end), "a number is below zero")
	}
	return c, nil
}
