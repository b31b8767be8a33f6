package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/transport/peer"
)

// link is an open stream to another node, and the calls that wait for its answers.
type link struct {
	to     uint64
	name   string
	client *Client
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc
	sender *sender
	heard  atomic.Int64 // milliseconds since the link was opened, when something last came
	opened time.Time
	ended  chan struct{}
	ending sync.Once

	mu      sync.Mutex // guards what follows
	last    uint64     // id
	waiting map[uint64]*waiter
	broken  error
}

// waiter waits for the answer to a request.
type waiter struct {
	done     func(frame, error) // called once, by who takes it out of waiting
	deadline time.Time          // zero: who waits sees to that

	// Guarded by the link's mutex. The link may break before the request's place in the queue is noted here: then
	// start calls done.
	placed, left bool
	place        ticket
}

// open dials addr and shakes hands. Its errors are ErrRefused: no request has been sent.
func (c *Client) open(to uint64, name, addr string) (*link, error) {
	refused := func(err error) error {
		if s, ok := status.FromError(err); ok {
			text := s.Message()
			if _, cause, dialing := strings.Cut(text, "Error while dialing: "); dialing {
				text = strings.TrimSuffix(cause, `"`)
			}
			err = errors.New(text)
		}
		return fmt.Errorf("node %s at %s: %w: %w", name, addr, distrib.ErrUnreachable, err)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(c.opts.Credentials), grpc.WithDisableServiceConfig(),
		grpc.WithStaticStreamWindowSize(WindowBytes), grpc.WithStaticConnWindowSize(WindowBytes))
	if err != nil {
		return nil, refused(err)
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(c.ctx, c.opts.Self().metadata(to)))
	timer := time.AfterFunc(openMax, cancel)
	stream, err := conn.NewStream(ctx, &peer.Peer_ServiceDesc.Streams[0], peer.Peer_Exchange_FullMethodName, grpc.CallContentSubtype(codecName))
	if err == nil {
		var md metadata.MD
		if md, err = stream.Header(); err == nil && len(md.Get(keyNode)) == 0 { // refused: the status says why
			if err = stream.RecvMsg(&inBatch{}); err == nil || err == io.EOF {
				err = errors.New("it is no node of a cluster")
			}
		}
	}
	if !timer.Stop() && err == nil {
		err = fmt.Errorf("no answer for %s", openMax)
	}
	if err != nil {
		cancel()
		_ = conn.Close() // nothing is under way on it
		return nil, refused(err)
	}
	l := &link{to: to, name: name, client: c, conn: conn, stream: stream, cancel: cancel, opened: time.Now(),
		ended: make(chan struct{}), waiting: map[uint64]*waiter{}}
	l.sender = newSender(func(b *outBatch) error { return stream.SendMsg(b) }, c.opts.Epoch)
	c.running.Go(func() { l.end(l.sender.run()) })
	c.running.Go(func() { l.end(l.receive()) })
	c.running.Go(l.ping)
	return l, nil
}

// end breaks the link: those that wait learn of it.
func (l *link) end(err error) {
	l.ending.Do(func() {
		if err == io.EOF {
			err = errors.New("the node ended the stream")
		}
		l.sender.close(err) // from here on nothing more is given to the stream
		l.mu.Lock()
		l.broken = err
		var lost []*waiter
		for id, w := range l.waiting {
			if w.left = !w.placed; w.placed {
				lost = append(lost, w)
			}
			delete(l.waiting, id)
		}
		l.mu.Unlock()
		close(l.ended)
		l.cancel()
		_ = l.conn.Close() // the stream is gone already
		for _, w := range lost {
			w.done(frame{}, l.lost(w))
		}
	})
}

// lost says what a broken link means for a request.
func (l *link) lost(w *waiter) error {
	if l.sender.wasTaken(w.place) {
		return fmt.Errorf("node %s: it may have been carried out: %w", l.name, l.broken)
	}
	return fmt.Errorf("node %s: %w: %w", l.name, l.broken, distrib.ErrUnreachable)
}

func (l *link) alive() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// receive hands answers to those that wait, until the stream ends.
func (l *link) receive() error {
	var pieces assembly
	epochs := epochWatch{saw: l.client.opts.SawEpoch}
	for {
		var in inBatch
		if err := l.stream.RecvMsg(&in); err != nil {
			return err
		}
		l.heard.Store(time.Since(l.opened).Milliseconds())
		deaf := l.client.opts.Faults.From(l.name)
		err := eachFrame(in.frames, &pieces, func(f frame) error {
			switch f.kind {
			case kindPong:
			case kindAnswer, kindFailure:
				if !deaf {
					l.hand(f)
				}
			default:
				return fmt.Errorf("frame of kind %d, want an answer", f.kind)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !deaf {
			epochs.see(in.epoch)
		}
	}
}

// hand gives an answer to who waits for it, if anybody still does.
func (l *link) hand(f frame) {
	w := l.take(f.id)
	switch {
	case w == nil:
	case f.kind == kindFailure:
		w.done(frame{}, decodeFailure(f, l.name))
	default:
		w.done(f, nil)
	}
}

// take removes who waits for an answer.
func (l *link) take(id uint64) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting[id]
	delete(l.waiting, id)
	return w
}

// expire ends requests whose deadline has passed.
func (l *link) expire(now time.Time) {
	var late []*waiter
	l.mu.Lock()
	for id, w := range l.waiting {
		if w.placed && !w.deadline.IsZero() && now.After(w.deadline) {
			late = append(late, w)
			delete(l.waiting, id)
		}
	}
	l.mu.Unlock()
	for _, w := range late {
		w.done(frame{}, fmt.Errorf("node %s: it may have been carried out: %w", l.name, context.DeadlineExceeded))
	}
}

// ping gives the link up when nothing has come for too long.
func (l *link) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ended:
			return
		case <-tick.C:
		}
		if silent := time.Since(l.opened) - time.Duration(l.heard.Load())*time.Millisecond; silent > silenceMax {
			l.end(fmt.Errorf("nothing came for %s", silent))
			return
		}
		l.expire(time.Now())
		_, _ = l.sender.queue(kindPing, 0, 0, noAnswer{}) // a closed sender ends the link by itself
	}
}

// start sends a request. done is called with the answer, not before the place in the queue is known.
func (l *link) start(deadline time.Time, k kind, o outgoing, done func(frame, error)) (id uint64) {
	if n := l.sender.queued(); n > queuedMax {
		done(frame{}, &distrib.Overloaded{What: fmt.Sprintf("%d bytes of requests to node %s wait, the limit is %d", n, l.name, queuedMax), RetryAfter: 50 * time.Millisecond})
		return 0
	}
	arg := uint64(0)
	if !deadline.IsZero() {
		arg = uint64(max(time.Until(deadline).Microseconds(), 1))
	}
	w := &waiter{done: done, deadline: deadline}
	l.mu.Lock()
	if l.broken != nil {
		l.mu.Unlock()
		done(frame{}, fmt.Errorf("node %s: %w: %w", l.name, l.broken, distrib.ErrUnreachable))
		return 0
	}
	l.last++
	id = l.last
	l.waiting[id] = w
	l.mu.Unlock()
	place, err := l.sender.queue(k, id, arg, o)
	l.mu.Lock()
	if err != nil && !w.left {
		w.left = true
		delete(l.waiting, id)
	}
	w.placed, w.place = true, place
	left := w.left
	l.mu.Unlock()
	switch {
	case err != nil:
		done(frame{}, fmt.Errorf("node %s: %w: %w", l.name, err, distrib.ErrUnreachable))
	case left:
		done(frame{}, l.lost(w))
	}
	return id
}

// call sends a request and waits for its answer.
func (l *link) call(ctx context.Context, k kind, o outgoing) (frame, error) {
	type answer struct {
		frame
		err error
	}
	came := make(chan answer, 1)
	deadline, _ := ctx.Deadline()
	id := l.start(deadline, k, o, func(f frame, err error) { came <- answer{f, err} })
	select {
	case a := <-came:
		return a.frame, a.err
	case <-ctx.Done():
		l.take(id)
		return frame{}, fmt.Errorf("node %s: it may have been carried out: %w", l.name, ctx.Err())
	}
}
