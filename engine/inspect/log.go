package inspect

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/wal"
)

// The types of a LogRecord.
const (
	RecordBatch  = "batch"      // writes
	RecordFiller = "filler"     // fills up a page of the log; readers skip it
	RecordHeader = "log header" // the first record of a log of ours: how the log before ended
	RecordIngest = "ingest"     // tables were ingested and took sequence numbers
)

// LogRecord is one record of a write-ahead log.
type LogRecord struct {
	Offset int64   `json:"offset"`
	Bytes  int     `json:"bytes"` // of the payload
	Type   string  `json:"type"`
	Seq    uint64  `json:"seq"`   // of the first op; of the next batch where Count is 0
	Count  uint32  `json:"count"` // ops that take a sequence number
	Ops    []Entry `json:"ops,omitempty"`
	// SyncedTo is the offset below which a filler says that the log was on the device.
	SyncedTo *int64 `json:"synced_to,omitempty"`
	// PrevLog and PrevLastSeq are what a log header says about the log before.
	PrevLog     *uint64 `json:"prev_log,omitempty"`
	PrevLastSeq *uint64 `json:"prev_last_seq,omitempty"`
	// IngestedTo is the last sequence number that ingested tables have taken.
	IngestedTo *uint64 `json:"ingested_to,omitempty"`
	// Problem says what in the record is damaged or not supported; Ops holds what comes before.
	Problem string `json:"problem,omitempty"`
}

// The ends of a Log.
const (
	EndClean   = "clean"   // the writer closed it, or nothing follows the last record
	EndTorn    = "torn"    // a record is not whole, as a crash leaves it
	EndCorrupt = "corrupt" // what had been synced is damaged
)

// Log sums up a write-ahead log.
type Log struct {
	File     string `json:"file"`
	Size     int64  `json:"size"`
	Number   uint64 `json:"number"`
	Records  int    `json:"records"`
	Batches  int    `json:"batches"`
	Fillers  int    `json:"fillers"`
	Ops      uint64 `json:"ops"`
	FirstSeq uint64 `json:"first_seq"` // 0 where there is no op
	LastSeq  uint64 `json:"last_seq"`
	SyncedTo int64  `json:"synced_to"` // the highest mark of a filler
	End      int64  `json:"end"`       // where the last good record ends
	State    string `json:"state"`
	Reason   string `json:"reason,omitempty"` // why the state is not clean
}

// DumpLog calls visit for each record of the log file at path, in order, and stops at its first
// error. The summary stands even where the log is damaged, which is also the error; a torn tail
// is none.
func DumpLog(path string, visit func(*LogRecord) error) (*Log, error) {
	fs := vfs.OS(nil)
	info, err := fs.Stat(path)
	if err != nil {
		return nil, err
	}
	num, err := logNumber(fs, path)
	if err != nil {
		return nil, err
	}
	sum := &Log{File: filepath.Base(path), Size: info.Size(), Number: num, State: EndClean}
	r, err := wal.OpenReader(fs, path, num)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	r.Mark = batch.Mark
	var problem error
	for {
		rec, off, err := r.Next()
		if err != nil {
			sum.End, sum.SyncedTo = r.End(), r.SyncedTo()
			return sum, errors.Join(sum.ended(err), problem)
		}
		lr, err := newLogRecord(rec, off)
		if err != nil && problem == nil {
			problem = recordError(path, off, err)
			if errors.Is(problem, engine.ErrCorruption) {
				sum.State, sum.Reason = EndCorrupt, problem.Error()
			}
		}
		sum.add(lr)
		if err := visit(lr); err != nil {
			return sum, err
		}
	}
}

// ended records how the log ended and returns the error, nil for ends that a crash may leave.
func (l *Log) ended(err error) error {
	var torn *wal.TornError
	switch {
	case err == io.EOF:
		return nil
	case errors.As(err, &torn):
		if l.State == EndClean {
			l.State, l.Reason = EndTorn, fmt.Sprintf("at %#x: %s", torn.Offset, torn.Reason)
		}
		return nil
	}
	err = classify(err)
	l.State, l.Reason = EndCorrupt, err.Error()
	return err
}

func recordError(path string, off int64, err error) error {
	if isUnsupported(err) {
		return classify(fmt.Errorf("%s: record at %#x: %w", path, off, err))
	}
	return &fileError{fmt.Errorf("corruption: %s: record at %#x: %w", path, off, err), engine.ErrCorruption}
}

// logNumber returns the number of the log: its name's, or for a file of another name what its
// first record says.
func logNumber(fs vfs.FS, path string) (uint64, error) {
	if t, num, ok := filename.Parse(filepath.Base(path)); ok && t == filename.Log {
		return num, nil
	}
	f, err := fs.Open(path, vfs.Buffered)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var start [64]byte
	n, err := f.ReadAt(start[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if num, ok := record.LogNumber(start[:n]); ok {
		return uint64(num), nil
	}
	digits, _, _ := strings.Cut(filepath.Base(path), ".")
	num, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, nil // records without a log number do not need it
	}
	return num, nil
}

// newLogRecord takes a record apart. The error says what in it is not understood; the record
// then holds what comes before.
func newLogRecord(rec []byte, off int64) (*LogRecord, error) {
	lr := &LogRecord{Offset: off, Bytes: len(rec), Type: RecordBatch}
	lr.Seq, lr.Count, _ = batch.Header(rec)
	if batch.IsFiller(rec) {
		lr.Type = RecordFiller
		if to, ok := batch.Mark(rec); ok {
			lr.SyncedTo = &to
		}
		return lr, nil
	}
	r, err := batch.NewReader(rec)
	if err != nil {
		lr.Problem = err.Error()
		return lr, err
	}
	seq := lr.Seq
	for {
		op, ok, err := r.Next()
		if err != nil {
			lr.Problem = err.Error()
			return lr, err
		}
		if !ok {
			return lr, nil
		}
		if op.Kind == ikey.KindLogData {
			if h, ok := batch.ParseLogHeader(op.Value); ok && lr.Count == 0 {
				lr.Type, lr.PrevLog, lr.PrevLastSeq = RecordHeader, &h.PrevLog, &h.PrevLastSeq
				continue
			}
			if last, ok := batch.ParseIngestMark(op.Value); ok && lr.Count == 0 {
				lr.Type, lr.IngestedTo = RecordIngest, &last
				continue
			}
			lr.Ops = append(lr.Ops, Entry{Seq: seq, Kind: op.Kind.String(), Value: NewValue(op.Value)})
			continue
		}
		lr.Ops = append(lr.Ops, *newEntry(ikey.Make(op.Key, seq, op.Kind), op.Value))
		seq++
	}
}

func (l *Log) add(r *LogRecord) {
	l.Records++
	switch r.Type {
	case RecordFiller:
		l.Fillers++
	case RecordBatch:
		l.Batches++
	}
	if r.Count > 0 {
		if l.Ops == 0 {
			l.FirstSeq = r.Seq
		}
		l.Ops += uint64(r.Count)
		l.LastSeq = r.Seq + uint64(r.Count) - 1
	}
}

// WriteText writes a line for the record and one for each op.
func (r *LogRecord) WriteText(w io.Writer, s Style) {
	what := fmt.Sprintf("seq %d, %d ops", r.Seq, r.Count)
	switch {
	case r.Type == RecordFiller && r.SyncedTo != nil:
		what = fmt.Sprintf("filler, synced to %#x", *r.SyncedTo)
	case r.Type == RecordFiller:
		what = "filler"
	case r.IngestedTo != nil:
		what = fmt.Sprintf("tables ingested, up to seq %d", *r.IngestedTo)
	case r.PrevLog != nil && *r.PrevLog == 0:
		what = "log header, no log before"
	case r.PrevLog != nil:
		what = fmt.Sprintf("log header, log %d before it ends at seq %d", *r.PrevLog, *r.PrevLastSeq)
	}
	fmt.Fprintf(w, "%#08x  %6d bytes  %s\n", r.Offset, r.Bytes, what)
	for i := range r.Ops {
		op := &r.Ops[i]
		if op.Kind == ikey.KindLogData.String() {
			fmt.Fprintf(w, "            LOGDATA => %s\n", s.value(op.Value.Bytes()))
			continue
		}
		fmt.Fprintf(w, "            %s\n", op.text(s))
	}
	if r.Problem != "" {
		fmt.Fprintf(w, "            %s\n", s.problem(r.Problem))
	}
}

// WriteText writes the summary.
func (l *Log) WriteText(w io.Writer, s Style) {
	fmt.Fprintf(w, "%s: log %d, %s, %d records (%d batches, %d fillers), %d ops",
		s.heading(l.File), l.Number, size(l.Size), l.Records, l.Batches, l.Fillers, l.Ops)
	if l.Ops > 0 {
		fmt.Fprintf(w, ", seq %d to %d", l.FirstSeq, l.LastSeq)
	}
	fmt.Fprintln(w)
	switch l.State {
	case EndClean:
		fmt.Fprintf(w, "ends well at %#x\n", l.End)
	case EndTorn:
		fmt.Fprintf(w, "%s %s (a crash leaves this; the records before are good)\n", s.problem("torn tail"), l.Reason)
	default:
		fmt.Fprintf(w, "%s\n", s.problem(l.Reason))
	}
}
