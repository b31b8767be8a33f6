package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// link is the transport of one node.
type link struct {
	*cluster
	from uint64
}

var errLost = errors.New("the connection broke")

// pass decides what becomes of a request, and of its answer.
func (l *link) pass(ctx context.Context, to uint64) (*node, error, error) {
	l.mu.Lock()
	cut, down := l.cut[[2]uint64{l.from, to}], l.down[to]
	delay := time.Duration(l.rng.IntN(5000)) * time.Microsecond
	if l.slow[to] > 0 {
		delay = l.slow[to]
	}
	var request, answer error
	if l.lossy && l.from != to {
		switch l.rng.IntN(10) {
		case 0:
			request = errLost
		case 1:
			answer = errLost
		case 2:
			request = distrib.ErrRefused
		}
	}
	switch {
	case l.full[to]:
		request = fmt.Errorf("full: %w", distrib.ErrOverloaded)
	case l.gone[to]:
		request = distrib.ErrUnreachable
	}
	l.mu.Unlock()
	if cut {
		<-ctx.Done()
		return nil, ctx.Err(), nil
	}
	if l.from != to || delay >= time.Second {
		time.Sleep(delay)
	}
	if down {
		request = distrib.ErrUnreachable
	}
	return l.nodes[to], request, answer
}

func (l *link) Put(ctx context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	l.mu.Lock()
	held, late := l.holds[to], time.Duration(0)
	if l.from != to {
		late = l.late[to]
	}
	l.writes++
	l.mu.Unlock()
	time.Sleep(late)
	if held != nil {
		<-held // whatever the asker thinks of that
	}
	n, request, answer := l.pass(ctx, to)
	if request != nil {
		return nil, request
	}
	if r.For != 0 {
		reply, err := n.hints.Put(r)
		return reply, errors.Join(err, answer)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.states[string(r.Key)]; s.Linearizable() {
		return nil, errors.Join(distrib.ErrLinearizable, answer)
	}
	w, err := n.own.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync, Retried: r.Retried})
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, errors.Join(err, answer)
}

func (l *link) Merge(ctx context.Context, to uint64, r *distrib.MergeRequest) error {
	l.mu.Lock()
	l.writes++
	l.mu.Unlock()
	n, request, answer := l.pass(ctx, to)
	if request != nil {
		return request
	}
	if r.For != 0 {
		return errors.Join(n.hints.Merge(r), answer)
	}
	_, err := n.own.Merge(r.Key, r.Record, r.Sync)
	return errors.Join(err, answer)
}

func (l *link) Read(ctx context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	l.mu.Lock()
	l.reads++
	l.mu.Unlock()
	n, request, answer := l.pass(ctx, to)
	if err := errors.Join(request, answer); err != nil {
		return nil, err
	}
	read := n.own.Read
	if r.For != 0 {
		read = func([]byte) (distrib.Record, error) { return n.hints.Read(r) }
	}
	record, err := read(r.Key)
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.states[string(r.Key)]
	reply := &distrib.ReadReply{Linearizable: r.For == 0 && s.Linearizable()}
	if reply.Record = record; r.Digest {
		reply.Record, reply.Dots = nil, vclock.Dots(record)
	}
	return reply, err
}

// StartStep implements distrib.Registers.
func (l *link) StartStep(deadline time.Time, to uint64, key, request []byte, done func([]byte, error)) {
	l.start(deadline, to, func(n *node) ([]byte, error) { return n.step(key, request) }, done)
}

// StartLearn implements distrib.Registers.
func (l *link) StartLearn(deadline time.Time, to uint64, decisions []byte, done func([]byte, error)) {
	l.start(deadline, to, func(n *node) ([]byte, error) { return n.learn(decisions) }, done)
}

// start asks an acceptor.
func (l *link) start(deadline time.Time, to uint64, carry func(*node) ([]byte, error), done func([]byte, error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		n, lost, answer := l.pass(ctx, to)
		l.mu.Lock()
		if l.unasked[to] {
			lost = fmt.Errorf("no steps: %w", distrib.ErrRefused)
		}
		l.mu.Unlock()
		if lost != nil {
			done(nil, lost)
			return
		}
		reply, err := carry(n)
		done(reply, errors.Join(err, answer))
	}()
}

func (n *node) learn(decisions []byte) ([]byte, error) {
	list, err := register.DecodeDecisions(decisions)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var behind []int
	for i, d := range list {
		data, err := n.own.Read(d.Key)
		if err != nil {
			return nil, err
		}
		s := n.states[string(d.Key)]
		learned, late := s.Learn(d.Ballot, data)
		if late {
			behind = append(behind, i)
		}
		if _, err := n.own.Merge(d.Key, learned, distrib.SyncNow); err != nil {
			return nil, err
		}
	}
	return register.AppendBehind(nil, behind), nil
}

func (n *node) step(key, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	data, err := n.own.Read(key)
	if err != nil {
		return nil, err
	}
	s := n.states[string(key)].Step(0, &r, data)
	if n.states[string(key)] = s.State; s.Learned != nil {
		if _, err := n.own.Merge(key, s.Learned, distrib.SyncNow); err != nil {
			return nil, err
		}
	}
	return register.AppendReply(nil, &s.Reply), nil
}

// StartOperate implements distrib.Registers.
func (l *link) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func([]byte, error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		_, lost, answer := l.pass(ctx, to)
		if lost != nil {
			done(nil, lost)
			return
		}
		l.server(to).StartServe(deadline, key, operation, func(result []byte, err error) { done(result, errors.Join(err, answer)) })
	}()
}

func (l *link) Parts(ctx context.Context, to uint64, r *distrib.PartsRequest) ([]distrib.Part, error) {
	n, request, answer := l.pass(ctx, to)
	if err := errors.Join(request, answer); err != nil {
		return nil, err
	}
	return n.own.Parts(r)
}

func (l *link) Keys(ctx context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	n, request, answer := l.pass(ctx, to)
	if err := errors.Join(request, answer); err != nil {
		return nil, err
	}
	return n.own.Keys(r)
}
