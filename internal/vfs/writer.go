package vfs

import (
	"errors"
	"fmt"
)

// writeUnit is the least unit in which a SequentialWriter cuts a direct file: a block of the
// file system, so that the kernel need not read or serialise anything for a part of one.
const writeUnit = 4096

var errWriterDone = errors.New("writer is finished")

// WriterOptions adjusts a SequentialWriter. The zero value works.
type WriterOptions struct {
	// BufferBytes is the size of one write to the device; 0 is 1 MiB. A writer holds up to two
	// buffers of this size.
	BufferBytes int
	// Preallocate reserves this many bytes before the first write; Finish gives back what was
	// not used. It is advice: where it fails the writer goes on without.
	Preallocate int64
	// OnWrite hears how many bytes each write gave to the device, padding included. Calls come
	// one after another, but not always from the goroutine that calls Write.
	OnWrite func(n int)
	// BytesPerSync, when above 0, syncs the file each time that many bytes were written, so
	// that Finish does not wait for all of them.
	BytesPerSync int64
}

// SequentialWriter fills a new file from its start to its end. Bytes gather in an aligned buffer
// and go to the device in whole chunks while the next chunk fills. It has one user at a time;
// Finish or Abort must be called, and closes the file.
//
// The first error stays: every later call returns it. Until Finish returns nil the file may
// hold any part of what was written, may be longer, and is not durable.
type SequentialWriter struct {
	file File
	opts WriterOptions
	unit int64 // device writes are multiples of this

	buf   []byte // filling; its first byte belongs at start
	used  int
	start int64
	spare []byte // the other buffer, while nothing is in flight
	err   error
	done  bool

	flying bool       // a chunk is being written in the background
	landed chan error // its result, and then the fields below are the caller's again

	device   int64 // bytes given to the device
	unsynced int64 // of these, since the last sync
	started  bool
}

// NewSequentialWriter returns a writer that takes over f, which is new or whose bytes are of no
// interest, and writes from offset 0.
func NewSequentialWriter(f File, o WriterOptions) *SequentialWriter {
	if o.BufferBytes <= 0 {
		o.BufferBytes = 1 << 20
	}
	unit := int64(1)
	if f.Direct() {
		unit = max(writeUnit, int64(f.Alignment()))
	}
	o.BufferBytes = int(roundUp(int64(o.BufferBytes), max(unit, writeUnit)))
	return &SequentialWriter{file: f, opts: o, unit: unit}
}

// Write adds p and keeps no reference to it. The count is len(p) unless there is an error.
func (w *SequentialWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.buf == nil && len(p) > 0 {
		w.buf = GetBuffer(w.opts.BufferBytes)
	}
	total := len(p)
	for len(p) > 0 {
		n := copy(w.buf[w.used:], p)
		w.used += n
		p = p[n:]
		if w.used == len(w.buf) {
			if err := w.launch(w.used); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// Offset returns how many bytes were added: the size of the file after Finish.
func (w *SequentialWriter) Offset() int64 { return w.start + int64(w.used) }

// Flush gives the device what a direct file allows, that is all but the last incomplete 4 KiB;
// of a buffered file it writes everything. It waits for the writes and does not sync.
func (w *SequentialWriter) Flush() error {
	if w.err != nil {
		return w.err
	}
	if n := int(roundDown(int64(w.used), w.unit)); n > 0 {
		if err := w.launch(n); err != nil {
			return err
		}
	}
	return w.land()
}

// Finish writes what is left, cuts the file to Offset bytes, syncs and closes it. The name of
// the file is durable only after SyncDir. After an error the file is closed too.
func (w *SequentialWriter) Finish() error {
	if w.done {
		return w.err
	}
	err := w.settle()
	if closeErr := w.file.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	w.retire(err)
	return err
}

// Abort closes the file and leaves it to the caller to remove it. After Finish it does nothing.
func (w *SequentialWriter) Abort() error {
	if w.done {
		return nil
	}
	_ = w.land() // what was being written no longer matters
	err := w.file.Close()
	w.retire(nil)
	return err
}

// settle is Finish before the file is closed.
func (w *SequentialWriter) settle() error {
	if err := w.land(); err != nil {
		return err
	}
	size := w.Offset()
	if w.used > 0 {
		padded := int(roundUp(int64(w.used), w.unit))
		clear(w.buf[w.used:padded])
		if err := w.fail(w.writeChunk(w.buf[:padded], w.start)); err != nil {
			return err
		}
	}
	if size != w.device || w.opts.Preallocate > 0 {
		if err := w.fail(w.file.Truncate(size)); err != nil {
			return err
		}
	}
	return w.fail(w.file.Sync())
}

// retire ends the writer: its buffers go back and later calls fail.
func (w *SequentialWriter) retire(err error) {
	w.start, w.used = w.Offset(), 0
	PutBuffer(w.buf)
	PutBuffer(w.spare)
	w.buf, w.spare, w.done = nil, nil, true
	if w.err = err; err == nil {
		w.err = fmt.Errorf("write %s: %w", w.file.Name(), errWriterDone)
	}
}

// launch starts writing the first n bytes of the buffer in the background, after the chunk
// before them has landed, and moves the rest to the start of the other buffer.
func (w *SequentialWriter) launch(n int) error {
	if err := w.land(); err != nil {
		return err
	}
	next := w.spare
	if next == nil {
		next = GetBuffer(w.opts.BufferBytes)
	}
	chunk, off := w.buf, w.start
	w.used = copy(next, chunk[n:w.used])
	w.start += int64(n)
	w.buf, w.spare = next, chunk // the chunk is spare once it has landed
	if w.landed == nil {
		w.landed = make(chan error, 1)
	}
	w.flying = true
	go func() { w.landed <- w.writeChunk(chunk[:n], off) }()
	return nil
}

// land waits for the chunk in the background, if there is one.
func (w *SequentialWriter) land() error {
	if w.flying {
		w.flying = false
		_ = w.fail(<-w.landed) // returned below
	}
	return w.err
}

// writeChunk gives one chunk to the device.
func (w *SequentialWriter) writeChunk(p []byte, off int64) error {
	if !w.started {
		w.started = true
		if w.opts.Preallocate > 0 {
			_ = w.file.Preallocate(w.opts.Preallocate) // advice; the write tells about no space
		}
	}
	n, err := w.file.WriteAt(p, off)
	w.device += int64(n)
	w.unsynced += int64(n)
	if n > 0 && w.opts.OnWrite != nil {
		w.opts.OnWrite(n)
	}
	if err != nil {
		return err
	}
	if w.opts.BytesPerSync > 0 && w.unsynced >= w.opts.BytesPerSync {
		w.unsynced = 0
		return w.file.Sync()
	}
	return nil
}

// fail keeps the first error.
func (w *SequentialWriter) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}
