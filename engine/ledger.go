package engine

import (
	"cmp"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/compaction"
)

// Ledger counts every byte that the database handed to the device, by cause.
type Ledger struct {
	UserBytes int64       // accepted key + value bytes
	Rows      []LedgerRow // by cause, level and reason
}

// LedgerRow is one cause of writing.
type LedgerRow struct {
	Cause  string // "wal", "flush", "ingest", "compaction", "blob", "manifest", "ledger"
	Level  int    // the level written to; -1 where there is none
	Reason string // for compactions: "l0files", "size", "manual", ..; for ingests "copy" or "rewrite"
	Bytes  int64
}

// Total is the sum over all rows.
func (l Ledger) Total() int64 {
	var n int64
	for _, r := range l.Rows {
		n += r.Bytes
	}
	return n
}

// Cause is the sum over the rows of one cause.
func (l Ledger) Cause(cause string) int64 {
	var n int64
	for _, r := range l.Rows {
		if r.Cause == cause {
			n += r.Bytes
		}
	}
	return n
}

// WriteAmplification is Total / UserBytes; 0 before the first write.
func (l Ledger) WriteAmplification() float64 {
	if l.UserBytes == 0 {
		return 0
	}
	return float64(l.Total()) / float64(l.UserBytes)
}

// Add returns the sum of two ledgers.
func (l Ledger) Add(other Ledger) Ledger {
	rows := rowBytes{}
	rows.add(l.Rows, 1)
	rows.add(other.Rows, 1)
	return Ledger{UserBytes: l.UserBytes + other.UserBytes, Rows: rows.sorted()}
}

// Sub returns what was added since earlier, a former value of the same ledger.
func (l Ledger) Sub(earlier Ledger) Ledger {
	rows := rowBytes{}
	rows.add(l.Rows, 1)
	rows.add(earlier.Rows, -1)
	return Ledger{UserBytes: l.UserBytes - earlier.UserBytes, Rows: rows.sorted()}
}

// rowBytes holds the bytes of rows, which are keys with Bytes = 0.
type rowBytes map[LedgerRow]int64

// add adds the bytes of rows, times sign.
func (b rowBytes) add(rows []LedgerRow, sign int64) {
	for _, r := range rows {
		n := r.Bytes
		r.Bytes = 0
		b[r] += sign * n
	}
}

// sorted returns the rows with any bytes, in the order of the causes.
func (b rowBytes) sorted() []LedgerRow {
	var rows []LedgerRow
	for r, n := range b {
		if r.Bytes = n; n != 0 {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(x, y LedgerRow) int {
		return cmp.Or(cmp.Compare(causeOrder(x.Cause), causeOrder(y.Cause)), cmp.Compare(x.Cause, y.Cause),
			cmp.Compare(x.Level, y.Level), cmp.Compare(x.Reason, y.Reason))
	})
	return rows
}

// causeOrder follows a byte on its way; a cause that another build counted comes last.
func causeOrder(cause string) int {
	causes := []string{"wal", "flush", "ingest", "compaction", "blob", "manifest", "ledger"}
	if i := slices.Index(causes, cause); i >= 0 {
		return i
	}
	return len(causes)
}

// ledger collects the counts. Every file writer of the database reports to it.
type ledger struct {
	mu   sync.Mutex // guards the fields below
	user int64
	rows rowBytes
}

func newLedger() *ledger { return &ledger{rows: rowBytes{}} }

func (l *ledger) add(cause string, level int, reason string, n int64) {
	l.mu.Lock()
	l.rows[LedgerRow{Cause: cause, Level: level, Reason: reason}] += n
	l.mu.Unlock()
}

func (l *ledger) addUser(n int64) {
	l.mu.Lock()
	l.user += n
	l.mu.Unlock()
}

// costOfCompaction returns the bytes that were accepted and those that compactions have written.
func (l *ledger) costOfCompaction() (user, compacted int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r, n := range l.rows {
		if r.Cause == "compaction" || r.Cause == "blob" && r.Reason != compaction.ReasonFlush {
			compacted += n
		}
	}
	return l.user, compacted
}

func (l *ledger) snapshot() Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Ledger{UserBytes: l.user, Rows: l.rows.sorted()}
}
