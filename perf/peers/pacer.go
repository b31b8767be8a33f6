package peers

import (
	"sync/atomic"
	"time"
)

// pacer brings what was written without waiting for the device to it twice a second, as
// cambium's per-second policy does, for peers that have no such policy.
type pacer struct {
	dirty      atomic.Bool
	failed     atomic.Pointer[error]
	quit, done chan struct{}
}

// startPacer calls work every interval in which something was marked, until stop. A nil pacer
// does nothing.
func startPacer(interval time.Duration, work func() error) *pacer {
	p := &pacer{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-tick.C:
			}
			if p.dirty.Swap(false) {
				if err := work(); err != nil {
					p.failed.Store(&err)
					return
				}
			}
		}
	}()
	return p
}

// mark notes a write and returns the error of an earlier sync.
func (p *pacer) mark() error {
	if p == nil {
		return nil
	}
	if !p.dirty.Load() {
		p.dirty.Store(true)
	}
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// stop ends the goroutine and returns the error that work had.
func (p *pacer) stop() error {
	if p == nil {
		return nil
	}
	close(p.quit)
	<-p.done
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}
