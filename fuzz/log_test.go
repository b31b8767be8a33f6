package fuzz

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/internal/zstd"
	"github.com/cambiumdb/cambium/wal"
)

const logName = "000009.log"

// frame makes a log file of recs.
func frame(recs [][]byte, recyclable bool) (file []byte) {
	for _, r := range recs {
		file = record.AppendRecord(file, len(file)%record.BlockSize, 9, recyclable, r)
	}
	return file
}

func seedBatch() []byte {
	b := make([]byte, batch.HeaderLen)
	b = batch.AppendOp(b, ikey.KindSet, []byte("key"), []byte("value"))
	b = batch.AppendOp(b, ikey.KindDelete, []byte("gone"), nil)
	b = batch.AppendOp(b, ikey.KindRangeDelete, []byte("a"), []byte("c"))
	b = batch.AppendOp(b, ikey.KindLogData, nil, []byte("note"))
	batch.SetHeader(b, 77, 3)
	return b
}

func addLogSeeds(f *testing.F) {
	for _, recyclable := range []bool{false, true} {
		f.Add(frame([][]byte{seedBatch(), {}, bytes.Repeat([]byte("x"), 70000)}, recyclable))
		f.Add(append(frame([][]byte{seedBatch()}, recyclable), make([]byte, 100)...))
	}
	f.Add(frame([][]byte{batch.AppendLogHeader(nil, 5, 3, 4), batch.Filler(200, seedBatch(), 12), seedBatch()}, true))
	compressed := record.AppendCompression(nil)
	for _, r := range [][]byte{batch.AppendLogHeader(nil, 5, 3, 4), batch.Filler(200, seedBatch(), 12), seedBatch()} {
		compressed = record.AppendRecord(compressed, len(compressed)%record.BlockSize, 9, true, zstd.AppendStored(nil, r))
	}
	f.Add(compressed)
	for _, b := range fixtures(f, ".log", 64<<10) {
		f.Add(b)
	}
}

func FuzzRecord(f *testing.F) {
	addLogSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, 4*mib+uint64(len(b))*8, func() {
			readRecords(t, b, record.NewReader(bytes.NewReader(b), logName, 9))
			readRecords(t, b, record.NewLogReader(bytes.NewReader(b), logName, 9))
		})
		recs := chunks(b)
		for _, recyclable := range []bool{false, true} {
			r := record.NewReader(bytes.NewReader(frame(recs, recyclable)), logName, 9)
			for _, want := range recs {
				got, err := r.Next()
				must(t, err)
				equal(t, want, got, "record")
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("after the last record: %v", err)
			}
		}
	})
}

func readRecords(t *testing.T, b []byte, r *record.Reader) {
	total := 0
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			typed(t, err, logName, is[*record.TornError], is[*record.UnsupportedError])
			break
		}
		if total += len(rec) + 7; total > len(b) || r.End() > int64(len(b)) || r.Offset() >= r.End() {
			t.Fatalf("%d bytes of records up to [%d,%d) in %d bytes", total, r.Offset(), r.End(), len(b))
		}
	}
	if _, err := r.Next(); err == nil {
		t.Fatal("an error did not stay")
	}
}

func FuzzLog(f *testing.F) {
	addLogSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := vfs.NewMem()
		store(t, m, logName, b)
		// What stands in frames may be longer than the file. Their own bound has a target of its own.
		compressed := len(b) > 6 && b[6] == 9
		bounded(t, 8*mib+uint64(len(b))*8, func() {
			r, err := wal.OpenReader(m, logName, 9)
			must(t, err)
			r.Mark = batch.Mark
			for {
				rec, off, err := r.Next()
				if err != nil {
					if err != io.EOF {
						typed(t, err, logName, is[*wal.TornError], is[*record.UnsupportedError])
					}
					break
				}
				if !compressed && off+int64(len(rec)) > int64(len(b)) {
					t.Fatalf("record of %d bytes at %d of %d", len(rec), off, len(b))
				}
				useBatch(t, rec)
			}
			must(t, r.Close())
		})
	})
}

// FuzzFrames: frames of compressed bytes, as logs hold them.
func FuzzFrames(f *testing.F) {
	small := bytes.Repeat([]byte("cambium "), 100)
	packed, err := zstd.Compress(nil, small, 1, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(append(zstd.AppendStored(packed, small), packed...))
	f.Add(zstd.AppendStored(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = mib
		bounded(t, 16*mib+uint64(len(b))*8, func() {
			out, err := zstd.Frames(nil, b, limit)
			if err == nil && len(out) > limit {
				t.Fatalf("%d bytes, more than %d", len(out), limit)
			}
		})
		out, err := zstd.Frames([]byte("before"), zstd.AppendStored(nil, b), len(b))
		must(t, err)
		equal(t, append([]byte("before"), b...), out, "stored")
	})
}

func FuzzBatch(f *testing.F) {
	f.Add(seedBatch())
	f.Add(batch.AppendFiller(nil, 100, 5, batch.FillerMark(4096)))
	f.Add(batch.AppendLogHeader(nil, 5, 3, 4))
	f.Add(batch.AppendIngestMark(nil, 4))
	for _, b := range fixtures(f, ".log", 64<<10) {
		r := record.NewReader(bytes.NewReader(b), logName, 0)
		for range 3 {
			if rec, err := r.Next(); err == nil {
				f.Add(bytes.Clone(rec))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, mib+uint64(len(b))*512, func() { useBatch(t, b) })
	})
}

// useBatch reads rep, and writes and reads again what it holds.
func useBatch(t *testing.T, rep []byte) {
	batch.Mark(rep)
	batch.IsFiller(rep)
	ops, seq, count, err := readOps(t, rep)
	if err != nil {
		if !is[*batch.UnsupportedError](err) && errors.Is(err, io.EOF) {
			t.Fatalf("bad bytes taken for an end: %v", err)
		}
		return
	}
	again := make([]byte, batch.HeaderLen)
	for _, op := range ops {
		if op.Kind == ikey.KindLogData {
			batch.ParseFiller(op.Value)
			batch.ParseLogHeader(op.Value)
			batch.ParseIngestMark(op.Value)
		}
		again = batch.AppendOp(again, op.Kind, op.Key, op.Value)
	}
	batch.SetHeader(again, seq, count)
	ops2, seq2, count2, err := readOps(t, again)
	must(t, err)
	if seq2 != seq || count2 != count || len(ops2) != len(ops) {
		t.Fatalf("seq %d count %d ops %d, then %d %d %d", seq, count, len(ops), seq2, count2, len(ops2))
	}
	for i := range ops {
		if ops[i].Kind != ops2[i].Kind {
			t.Fatalf("op %d: %v, then %v", i, ops[i].Kind, ops2[i].Kind)
		}
		equal(t, ops[i].Key, ops2[i].Key, "key")
		equal(t, ops[i].Value, ops2[i].Value, "value")
	}
}

func readOps(t *testing.T, rep []byte) (ops []batch.Op, seq uint64, count uint32, err error) {
	r, err := batch.NewReader(rep)
	if err != nil {
		return nil, 0, 0, err
	}
	size := 0
	for {
		op, ok, err := r.Next()
		if err != nil || !ok {
			return ops, r.Seq(), r.Count(), err
		}
		if size += 1 + len(op.Key) + len(op.Value); size > len(rep) {
			t.Fatalf("%d bytes of ops in %d bytes", size, len(rep))
		}
		ops = append(ops, op)
	}
}
