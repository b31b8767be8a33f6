package sim

import (
	"errors"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
)

var _ distrib.Registers = transport{}

// StartStep implements distrib.Registers.
func (t transport) StartStep(deadline time.Time, to uint64, key, request []byte, done func(reply []byte, err error)) {
	t.p.ask(deadline, to, "step", func(q *process) (any, error) { return q.step(key, request) }, func(reply any, err error) {
		b, _ := reply.([]byte)
		done(b, err)
	})
}

// StartOperate implements distrib.Registers.
func (t transport) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func(result []byte, err error)) {
	t.p.askLater(deadline, to, "operate", func(q *process, tell func(any, error)) {
		giveUp := q.coordinator.StartServe(key, operation, func(result []byte, err error) { tell(result, err) })
		q.after(deadline.Sub(t.p.now()), func() { giveUp(errSilent) })
	}, func(result any, err error) {
		b, _ := result.([]byte)
		done(b, err)
	})
}

// step takes a step as an acceptor, as node's handler does.
func (p *process) step(key, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	if err != nil {
		return nil, err
	}
	state, err := p.register(key)
	if err != nil {
		return nil, err
	}
	data, err := p.data.Read(key)
	if err != nil {
		return nil, err
	}
	s := state.Step(p.w.view.Epoch(), &r, data)
	if s.Learned != nil {
		if _, err := p.data.Merge(key, s.Learned, distrib.SyncNow); err != nil {
			return nil, err
		}
	}
	if s.Save {
		if err := p.store().Apply([]distrib.Op{{Key: registerKey(key), Value: register.AppendState(nil, &s.State)}}, distrib.SyncNow); err != nil {
			return nil, err
		}
	}
	if r.Kind == register.Learn {
		return nil, nil
	}
	return register.AppendReply(nil, &s.Reply), nil
}

func registerKey(key []byte) []byte { return append([]byte{byte(distrib.SpaceRegister)}, key...) }

func (p *process) register(key []byte) (s register.State, err error) {
	b, err := p.store().Get(registerKey(key))
	if errors.Is(err, distrib.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return register.DecodeState(b)
}
