package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/wal"
)

// replay reads the logs that the manifest still needs, oldest first, into memtables.
//
// A torn tail of the last log with records is what a crash leaves, and ends the replay. Damage
// before that, or a log that does not go on where the one before it ended, is corruption: the
// log is written so that a crash cannot leave it. Sequence numbers are compared among logs only:
// those of the manifest may be far ahead of what a log that is still needed begins with.
type replay struct {
	db      *DB
	full    func(*memory) (*memory, error) // takes a full memtable, returns an empty one
	mem     *memory
	lastSeq uint64 // newest sequence number of the manifest and the logs so far

	first   uint64            // no log with a lower number is needed
	torn    error             // how a log before the present one ended, nil if well
	logSeq  uint64            // last sequence number that the logs so far account for
	lastOf  map[uint64]uint64 // log number -> logSeq at its end, for logs of ours
	records int
}

func (r *replay) run(names []string) error {
	r.mem = r.db.newMemory(0)
	r.lastSeq = r.db.set.LastSeq()
	r.logSeq = r.lastSeq
	r.lastOf = map[uint64]uint64{}
	r.first = max(1, r.db.set.LogNum(), r.db.set.MinLogToKeep()) // 0 in a header: none came before
	var logs []uint64
	for _, n := range names {
		if t, num, ok := filename.Parse(n); ok && t == filename.Log && num >= r.first {
			logs = append(logs, num)
		}
	}
	slices.Sort(logs)
	if first := r.db.set.LogNum(); r.db.set.LogExists() && !slices.Contains(logs, first) {
		return errorf(ErrCorruption, "corruption: %s names %s, which is missing: the log was removed, or the end of the manifest is damaged and later edits are lost: restore the directory from a backup or checkpoint",
			filename.Base(filename.Manifest, r.db.set.ManifestNum()), filename.Base(filename.Log, first))
	}
	for _, num := range logs {
		if err := r.log(num); err != nil {
			return fmt.Errorf("replay %s: %w", filename.Base(filename.Log, num), err)
		}
	}
	if r.records > 0 {
		r.db.log.Info("replayed logs", "logs", len(logs), "records", r.records, "last_seq", r.lastSeq)
	}
	return nil
}

// log replays one log.
func (r *replay) log(num uint64) error {
	rd, err := wal.OpenReader(r.db.fs, filename.Path(r.db.dir, filename.Log, num), num)
	if err != nil {
		return err
	}
	defer rd.Close()
	rd.Mark = batch.Mark
	for {
		rec, off, err := rd.Next()
		if err == io.EOF {
			return nil
		}
		var torn *wal.TornError
		if errors.As(err, &torn) {
			r.db.log.Warn("log ends torn, as a crash leaves it", "file", torn.File, "offset", torn.Offset, "reason", torn.Reason)
			r.torn = err
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.record(num, rec); err != nil {
			return fmt.Errorf("record at %#x: %w", off, err)
		}
	}
}

// record applies one record of log num.
func (r *replay) record(num uint64, rec []byte) error {
	seq, count, ok := batch.Header(rec)
	if !ok {
		return errorf(ErrCorruption, "corruption: a batch of %d bytes, want at least %d", len(rec), batch.HeaderLen)
	}
	note := noteOf(rec)
	if h, ok := batch.ParseLogHeader(note); ok {
		last, replayed := r.lastOf[h.PrevLog]
		if !replayed && h.PrevLog >= r.first {
			return errorf(ErrCorruption, "corruption: %s, which comes before, is missing or has lost its records: restore the directory from a backup or checkpoint",
				filename.Base(filename.Log, h.PrevLog))
		}
		if replayed && last != h.PrevLastSeq {
			return errorf(ErrCorruption, "corruption: log %d ends at sequence number %d, the next one says %d", h.PrevLog, last, h.PrevLastSeq)
		}
		r.torn = nil // the log before may end torn only behind its last record
		r.logSeq = seq - 1
		r.lastOf[num] = r.logSeq
		return nil
	}
	if last, ok := batch.ParseIngestMark(note); ok {
		return r.ingested(num, last)
	}
	if count > 0 && r.torn != nil {
		if seq != r.logSeq+1 {
			return errorf(ErrCorruption, "corruption: writes are missing before sequence number %d: %v", seq, r.torn)
		}
		r.torn = nil
	}
	n, err := addBatch(r.mem, rec, seq, nil)
	if err != nil {
		return err
	}
	r.records++
	if n > 0 {
		r.advance(num, seq+n-1)
	}
	r.mem.lastSeq = r.lastSeq
	if r.mem.Bytes() >= r.db.budget.flushBytes() {
		if r.mem, err = r.full(r.mem); err != nil {
			return err
		}
		r.mem.lastSeq = r.lastSeq
	}
	return nil
}

// ingested takes the mark of tables that took sequence numbers up to last: what comes before is
// in the manifest.
func (r *replay) ingested(num, last uint64) error {
	if known := r.db.set.LastSeq(); last > known {
		return errorf(ErrCorruption, "corruption: tables were ingested up to sequence number %d, %s ends at %d: the end of the manifest is damaged and later edits are lost: restore the directory from a backup or checkpoint",
			last, filename.Base(filename.Manifest, r.db.set.ManifestNum()), known)
	}
	r.advance(num, last)
	return nil
}

// advance notes that log num accounts for the sequence numbers up to seq.
func (r *replay) advance(num, seq uint64) {
	r.logSeq = seq
	r.lastSeq = max(r.lastSeq, seq)
	if _, ours := r.lastOf[num]; ours {
		r.lastOf[num] = seq
	}
}

// noteOf returns the blob of a record without counted ops that begins with one, else nil.
func noteOf(rec []byte) []byte {
	if _, count, _ := batch.Header(rec); count != 0 {
		return nil
	}
	rd, err := batch.NewReader(rec)
	if err != nil {
		return nil
	}
	op, ok, err := rd.Next()
	if err != nil || !ok || op.Kind != ikey.KindLogData {
		return nil
	}
	return op.Value
}

// flushRecovered writes a replayed memtable as a table and returns the edit that adds it.
func (db *DB) flushRecovered(m *memory) (*manifest.Edit, error) {
	defer m.Unref()
	db.visible.Store(max(db.visible.Load(), m.lastSeq))
	res, err := db.writeMemory(db.ctx, nil, m)
	if err != nil {
		return nil, fmt.Errorf("flush replayed writes: %w", err)
	}
	if res.Edit == nil {
		return &manifest.Edit{}, nil
	}
	return res.Edit, nil
}
