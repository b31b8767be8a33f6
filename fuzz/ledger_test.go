package fuzz

import (
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/cambiumdb/cambium/internal/ledgerfile"
)

// FuzzLedger decodes files, and the same behind a first line that fits: what is accepted says the
// same when it is encoded and read again.
func FuzzLedger(f *testing.F) {
	file, err := ledgerfile.Content{DBID: "id", Manifest: 5, Closed: true, UserBytes: 10,
		Rows: []ledgerfile.Row{{Cause: "wal", Level: -1, Bytes: 20}, {Cause: "compaction", Level: 6, Reason: "size", Bytes: 30}}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`{"db_id":"id","since":"2026-11-25T08:00:00+02:00","rows":[{"cause":"wal","level":-1,"bytes":9223372036854775807}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		fits := fmt.Appendf(nil, "cambium-ledger 1 %08x\n%s", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), b)
		for _, b := range [][]byte{b, fits} {
			bounded(t, mib+uint64(len(b))*512, func() {
				c, err := ledgerfile.Decode("f", b)
				if err != nil {
					return
				}
				once, err := c.Encode()
				must(t, err)
				again, err := ledgerfile.Decode("f", once)
				must(t, err)
				twice, err := again.Encode()
				must(t, err)
				equal(t, once, twice, "encoded again")
			})
		}
	})
}
