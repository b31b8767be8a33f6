package coordinator

import "time"

// Clock is the time that puts and gets go by. Its methods may be called by many goroutines at once.
type Clock interface {
	Now() time.Time
	// AfterFunc has f called once d has passed, as time.AfterFunc does.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is what AfterFunc sets: of a time.Timer what is needed.
type Timer interface {
	Stop() bool
	Reset(d time.Duration) bool
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// goroutine is what Options.Go is by itself.
func goroutine(f func()) { go f() }

// behindIt has f called by Options.Go. Wait waits for it.
func (c *Coordinator) behindIt(f func()) {
	c.work.Add(1)
	c.opts.Go(func() {
		defer c.work.Done()
		f()
	})
}
