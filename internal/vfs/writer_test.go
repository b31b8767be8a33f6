package vfs_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestWriterSizes writes files of odd sizes in odd pieces through small buffers.
func TestWriterSizes(t *testing.T) {
	everyKind(t, func(t *testing.T, p place) {
		for _, size := range []int{0, 1, 4095, 4096, 4097, 8192, 12287, 16384, 50001} {
			for _, piece := range []int{1000, 4096, 60000} {
				for _, preallocate := range []int64{0, 10000, 1 << 20} {
					var given int64
					f, err := p.Create(p.at("f"), vfs.Direct)
					require.NoError(t, err)
					w := vfs.NewSequentialWriter(f, vfs.WriterOptions{
						BufferBytes: 8000, Preallocate: preallocate,
						OnWrite: func(n int) { given += int64(n) },
					})
					content := pattern(size)
					for rest := content; len(rest) > 0; {
						n, err := w.Write(rest[:min(piece, len(rest))])
						require.NoError(t, err)
						rest = rest[n:]
						require.EqualValues(t, size-len(rest), w.Offset())
					}
					require.NoError(t, w.Finish())
					require.EqualValues(t, size, w.Offset())
					require.GreaterOrEqual(t, given, int64(size))
					require.Less(t, given, int64(size+max(4096, f.Alignment())))
					require.Equal(t, content, p.read(t, "f", vfs.Direct), "%d bytes by %d", size, piece)
				}
			}
		}
	})
}

func TestWriterFlush(t *testing.T) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		p := place{vfs.NewMem(), "/"}
		f, err := p.Create("/f", mode)
		require.NoError(t, err)
		w := vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 16384})
		require.NoError(t, w.Flush(), "nothing to do")
		content := pattern(30000)
		for i := 0; i < len(content); i += 1000 {
			_, err := w.Write(content[i:][:1000])
			require.NoError(t, err)
			require.NoError(t, w.Flush())
			reached := i + 1000
			if f.Direct() {
				reached = reached / 4096 * 4096
			}
			require.Equal(t, content[:reached], p.read(t, "f", vfs.Buffered)[:reached])
			size, err := f.Size()
			require.NoError(t, err)
			require.EqualValues(t, reached, size)
		}
		require.NoError(t, w.Finish())
		require.Equal(t, content, p.read(t, "f", vfs.Buffered))
	})
}

func TestWriterIsDurableAfterFinish(t *testing.T) {
	m := vfs.NewMem()
	p := place{m, "/"}
	p.write(t, "f", vfs.Direct, pattern(70001))
	require.NoError(t, m.SyncDir("/"))
	after := place{m.CrashLoseUnsynced(), "/"}
	require.Equal(t, pattern(70001), after.read(t, "f", vfs.Direct))
}

func TestWriterSyncsOnTheWay(t *testing.T) {
	m := vfs.NewMem()
	var syncs atomic.Int32
	m.SetSyncHook(func(op, _ string) {
		if op == "sync" {
			syncs.Add(1)
		}
	})
	f, err := m.Create("f", vfs.Direct)
	require.NoError(t, err)
	w := vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 4096, BytesPerSync: 16384})
	_, err = w.Write(pattern(100 * 4096))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.EqualValues(t, 25, syncs.Load())
	require.NoError(t, w.Finish())
	require.EqualValues(t, 26, syncs.Load())
}

func TestWriterAfterItsEnd(t *testing.T) {
	m := vfs.NewMem()
	end := map[string]func(*vfs.SequentialWriter) error{
		"finish": (*vfs.SequentialWriter).Finish,
		"abort":  (*vfs.SequentialWriter).Abort,
	}
	for name, stop := range end {
		f, err := m.Create(name, vfs.Direct)
		require.NoError(t, err)
		w := vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 4096})
		_, err = w.Write(pattern(9000))
		require.NoError(t, err)
		require.NoError(t, stop(w))
		require.EqualValues(t, 9000, w.Offset())
		_, err = w.Write([]byte("x"))
		require.ErrorContains(t, err, name)
		require.Error(t, w.Flush())
		require.Error(t, w.Finish())
		require.NoError(t, w.Abort())
		require.Error(t, f.Close(), "the writer has closed the file")
	}
}

// TestWriterPadsWithZeros looks at the tail as a crash before the truncation leaves it.
func TestWriterPadsWithZeros(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	fault.Add(vfs.Fail(vfs.OpTruncate, 0))
	f, err := fault.Create("/f", vfs.Direct)
	require.NoError(t, err)
	w := vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 8192})
	content := pattern(3*8192 + 100) // so that the last buffer has been full before
	_, err = w.Write(content)
	require.NoError(t, err)
	require.ErrorIs(t, w.Finish(), vfs.ErrInjected)
	require.Equal(t, append(content, make([]byte, 4096-100)...), place{fault, "/"}.read(t, "f", vfs.Direct))
}

// TestWriterErrors fails each call to the device in turn: the error is the first one for ever,
// the file is closed, and Sync is not tried again.
func TestWriterErrors(t *testing.T) {
	const kinds = vfs.OpWrite | vfs.OpSync | vfs.OpTruncate | vfs.OpClose
	attempt := func(fault *vfs.Fault) error {
		f, err := fault.Create("f", vfs.Direct)
		require.NoError(t, err)
		w := vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 4096, Preallocate: 8192, BytesPerSync: 8192})
		for range 10 {
			if n, err := w.Write(pattern(2500)); err != nil {
				require.Less(t, n, 2500)
				require.Equal(t, err, w.Flush(), "the error stays")
				break
			}
		}
		err = w.Finish()
		if err != nil {
			require.Equal(t, err, w.Finish())
			_, again := w.Write([]byte("x"))
			require.Equal(t, err, again)
		}
		require.NoError(t, w.Abort())
		require.Error(t, f.Close(), "the writer has closed the file")
		return err
	}
	fault := vfs.NewFault(vfs.NewMem())
	count := fault.Add(vfs.Rule{Ops: kinds})
	require.NoError(t, attempt(fault))
	require.Greater(t, count.Calls(), 10)
	for n := range count.Calls() - 1 { // the last call is the Close of the test
		for _, short := range []bool{false, true} {
			fault := vfs.NewFault(vfs.NewMem())
			fault.Add(vfs.Rule{Ops: kinds, Skip: n, Err: vfs.ErrNoSpace, Short: short})
			require.ErrorIs(t, attempt(fault), vfs.ErrNoSpace, "call %d", n)
			require.Zero(t, fault.Resyncs())
		}
	}
	fault = vfs.NewFault(vfs.NewMem())
	fault.Add(vfs.Rule{Ops: vfs.OpPreallocate, Err: vfs.ErrNoSpace})
	require.NoError(t, attempt(fault), "preallocation is advice")
}

func TestWriterAbortWhileWriting(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	gate := make(chan struct{})
	fault.SetSleep(func(time.Duration) { <-gate })
	fault.Add(vfs.Rule{Ops: vfs.OpWrite, Delay: 1})
	f, err := fault.Create("f", vfs.Direct)
	require.NoError(t, err)
	w := vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 4096})
	_, err = w.Write(pattern(5000)) // the first chunk is at the gate; Write does not wait for it
	require.NoError(t, err)
	close(gate)
	require.NoError(t, w.Abort())
}

func BenchmarkWriter(b *testing.B) {
	for _, preallocate := range []int64{0, 64 << 20} {
		b.Run(fmt.Sprintf("preallocate=%d", preallocate), func(b *testing.B) {
			p := pattern(4096 + 50)
			b.SetBytes(64 << 20)
			for b.Loop() {
				f, err := vfs.OS(nil).Create(b.TempDir()+"/f", vfs.Direct)
				require.NoError(b, err)
				w := vfs.NewSequentialWriter(f, vfs.WriterOptions{Preallocate: preallocate})
				for w.Offset() < 64<<20 {
					if _, err := w.Write(p); err != nil {
						b.Fatal(err)
					}
				}
				require.NoError(b, w.Finish())
			}
		})
	}
}
