package coordinator

import (
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// carry has the key's register carry out a put of a linearizable key.
func (p *putting) carry(op *register.Operation) {
	abandon := p.c.startOperate(p.key, *op, fromHere, p.wasCarried)
	p.mu.Lock()
	p.abandon = abandon
	why := p.why
	p.mu.Unlock()
	if why != nil {
		abandon(why)
	}
}

var errBadPast = errors.New("no write can follow what its context says was seen")

// wasCarried takes what the register says of a put.
func (p *putting) wasCarried(r *Operated, err error) {
	p.mu.Lock()
	defer func() { p.advance(nil, false) }()
	p.open--
	switch {
	case err != nil:
		outcome := p.w.without() // a replica may have stored it
		if errors.Is(err, ErrCancelled) {
			outcome = Failed // and it will not come to light
		}
		if errors.As(err, &p.failed) {
			err = p.failed.Err
			outcome = max(outcome, p.failed.Outcome)
		}
		if err != nil {
			err = fmt.Errorf("%w: %w", distrib.ErrLinearizable, err)
		} else {
			err = distrib.ErrLinearizable
		}
		p.settlePut(outcome, err)
	case r.Verdict == register.TooMany:
		p.settlePut(Failed, distrib.ErrTooManySiblings)
	case r.Verdict == register.BadPast:
		p.settlePut(Failed, errBadPast)
	default:
		p.result = WriteResult{Linearizable: true, Strays: r.Strays, Siblings: len(r.Record), Context: p.o.Context}
		if i := vclock.Tried(r.Record, p.o.Op); i >= 0 {
			p.result.Dot, p.result.Context = r.Record[i].Dot, r.Record[i].Seen()
		}
		p.settlePut(OK, nil)
	}
}
