package wal

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// BenchmarkCommit appends batches of one 1000 byte value. Compare per-write with
// BenchmarkDevice of the same run:
//
//	go test -run '^$' -bench . ./wal
func BenchmarkCommit(b *testing.B) {
	for _, p := range []Policy{PerWrite, PerSecond, None} {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/writers=%d", p, writers), func(b *testing.B) {
				opts := testOptions(vfs.OS(nil))
				opts.Dir = b.TempDir()
				opts.SegmentBytes = 64 << 20
				l, err := Create(opts, 1, nil)
				if err != nil {
					b.Fatal(err)
				}
				rec := recordOf(1, 1030)
				b.SetBytes(int64(len(rec)))
				commitFrom(b, l, rec, p, writers)
				b.StopTimer()
				m := l.Metrics()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
				b.ReportMetric(float64(m.Bytes)/float64(m.RecordBytes), "bytes/byte")
				if m.Groups > 0 {
					b.ReportMetric(float64(m.GroupedCommits)/float64(m.Groups), "commits/sync")
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// commitFrom shares b.N commits among writers, with segments of 64 MiB that are released.
func commitFrom(b *testing.B, l *Log, rec []byte, p Policy, writers int) {
	var mu sync.Mutex
	var seq uint64
	segment := uint64(1)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				mu.Lock()
				seq++
				batch.SetHeader(rec, seq, 1)
				pos, err := l.Append(rec, p)
				if err == nil && pos.Records*int64(len(rec)) > 64<<20 {
					segment++
					if err = l.Rotate(segment, batch.AppendLogHeader(nil, 1, 0, 0)); err == nil && segment > 2 {
						err = l.Release(segment - 2)
					}
				}
				mu.Unlock()
				if err == nil {
					err = l.Commit(pos, p)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkDevice is what a log of one page a commit could reach at best with one sync at a
// time: 4 KiB written in place to blocks that were written before, and a sync.
func BenchmarkDevice(b *testing.B) {
	for _, written := range []bool{true, false} {
		b.Run(fmt.Sprintf("written=%v", written), func(b *testing.B) {
			const size = 64 << 20
			f, err := vfs.OS(nil).Create(b.TempDir()+"/f", vfs.Direct)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := f.Preallocate(size); err != nil {
				b.Fatal(err)
			}
			for off := int64(0); written && off < size; off += zeroAhead {
				if _, err := f.WriteAt(zeros, off); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			page := vfs.AlignedBuffer(4096)
			page[0] = 1
			b.ResetTimer()
			for i := range b.N {
				if _, err := f.WriteAt(page, int64(i)*4096%size); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
		})
	}
}

// BenchmarkRead reads a segment of 64 MiB.
func BenchmarkRead(b *testing.B) {
	opts := testOptions(vfs.OS(nil))
	opts.Dir = b.TempDir()
	l := newQuiet(b, opts, 7)
	rec := recordOf(1, 1030)
	n := 64 << 20 / 1044
	for range n {
		if _, err := l.Append(rec, PerWrite); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.shut(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(64 << 20)
	for b.Loop() {
		r, err := OpenReader(opts.FS, opts.Dir+"/"+fileName(7), 7)
		if err != nil {
			b.Fatal(err)
		}
		r.Mark = batch.Mark
		got := 0
		for err == nil {
			if _, _, err = r.Next(); err == nil {
				got++
			}
		}
		if got != n {
			b.Fatalf("read %d records of %d: %v", got, n, err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
