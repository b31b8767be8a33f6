package coordinator

import (
	"context"
	"errors"

	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Operated is a linearizable operation that was ordered: Verdict says what came of it.
type Operated struct {
	register.Result
	Context vclock.Seen // of Record
}

// errNoRegisters is why a coordinator carries out no linearizable operation.
var errNoRegisters = errors.New("this node asks no registers")

// Operate carries out a linearizable operation. One that ended otherwise is an *Error.
func (c *Coordinator) Operate(ctx context.Context, key []byte, op register.Operation) (*Operated, error) {
	done := make(chan struct{})
	var out *Operated
	var err error
	giveUp := c.StartOperate(key, op, func(o *Operated, e error) {
		out, err = o, e
		close(done)
	})
	select {
	case <-done:
	case <-ctx.Done():
		giveUp(context.Cause(ctx))
		<-done
	}
	return out, err
}

// StartOperate is Operate without a goroutine that waits: done and giveUp are as with StartPut.
func (c *Coordinator) StartOperate(key []byte, op register.Operation, done func(*Operated, error)) (giveUp func(why error)) {
	c.behindIt(func() { done(nil, errNoRegisters) })
	return func(error) {}
}
