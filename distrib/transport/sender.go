package transport

import (
	"io"
	"sync"
)

// batchBytes is from where on gathered frames make a message of their own.
const batchBytes = 64 << 10

// ticket is the place of a frame in the queue of a sender.
type ticket struct {
	large bool
	place uint64
}

// sender writes frames to a stream. Its one writer takes what has gathered while it sent the last message; frames
// above pieceBytes wait in a queue of their own, of which a piece goes after each message of small ones.
type sender struct {
	send  func(*outBatch) error
	epoch func() uint64

	mu     sync.Mutex // guards what follows
	wake   sync.Cond
	small  []*buffer
	large  [][]byte  // frames
	piece  int       // bytes of large[0] that were sent
	bytes  int       // in both queues
	taken  [2]uint64 // messages of small frames, and large frames, that the stream was given, or is being given
	closed error
}

func newSender(send func(*outBatch) error, epoch func() uint64) *sender {
	s := &sender{send: send, epoch: epoch}
	s.wake.L = &s.mu
	return s
}

// queue appends a frame. An error is that with which the sender was closed.
func (s *sender) queue(k kind, id, arg uint64, o outgoing) (ticket, error) {
	if size := o.size(); size > pieceBytes { // encoded outside of the lock
		frame := appendFrame(make([]byte, 0, size+bodyRoom), k, id, arg, o)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed != nil {
			return ticket{}, s.closed
		}
		s.large = append(s.large, frame)
		s.grow(len(frame))
		return ticket{true, s.taken[1] + uint64(len(s.large))}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return ticket{}, s.closed
	}
	if n := len(s.small); n == 0 || s.small[n-1].frames() >= batchBytes {
		s.small = append(s.small, newBuffer())
	}
	b := s.small[len(s.small)-1]
	before := len(b.b)
	b.b = appendFrame(b.b, k, id, arg, o)
	s.grow(len(b.b) - before)
	return ticket{false, s.taken[0] + uint64(len(s.small))}, nil
}

func appendFrame(dst []byte, k kind, id, arg uint64, o outgoing) []byte {
	start := len(dst)
	dst = o.append(beginFrame(dst, k, id, arg))
	endFrame(dst, start)
	return dst
}

func (s *sender) grow(n int) {
	if s.bytes == 0 {
		s.wake.Signal()
	}
	s.bytes += n
}

// queued is how many bytes wait.
func (s *sender) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// wasTaken reports whether a frame has reached the stream, or may have.
func (s *sender) wasTaken(t ticket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.large {
		return t.place <= s.taken[1] || t.place == s.taken[1]+1 && s.piece > 0
	}
	return t.place <= s.taken[0]
}

// run sends until the stream breaks or the sender is closed, and returns why it ended. What was queued before a
// close with io.EOF still goes.
func (s *sender) run() error {
	small := true
	for {
		s.mu.Lock()
		for s.bytes == 0 && s.closed == nil {
			s.wake.Wait()
		}
		if s.closed != nil && (s.bytes == 0 || s.closed != io.EOF) {
			defer s.mu.Unlock()
			return s.closed
		}
		small = len(s.large) == 0 || len(s.small) > 0 && !small
		batch := s.take(small)
		s.mu.Unlock()
		if batch.epoch = s.epoch(); s.closedBy(s.send(&batch)) != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.closed
		}
	}
}

// take removes the next message of small frames, or piece of a large one, from its queue.
func (s *sender) take(small bool) (b outBatch) {
	if small {
		b.small = s.small[0]
		s.small[0] = nil
		s.small = s.small[1:]
		s.bytes -= b.small.frames()
		s.taken[0]++
		return b
	}
	frame := s.large[0]
	b.total = len(frame)
	b.piece = frame[s.piece:min(s.piece+pieceBytes, len(frame))]
	s.bytes -= len(b.piece)
	if s.piece += len(b.piece); s.piece == len(frame) {
		s.large[0] = nil
		s.large, s.piece = s.large[1:], 0
		s.taken[1]++
	}
	return b
}

// close makes run end with err, and queue fail with it.
func (s *sender) close(err error) { _ = s.closedBy(err) }

func (s *sender) closedBy(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil || s.closed == io.EOF {
		s.closed = err
	}
	s.wake.Broadcast()
	return err
}
