package perf

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Progress draws a bar with rate and time left on a terminal, and nothing elsewhere. A nil
// *Progress is valid and does nothing. Add and At may be called by many goroutines.
//
//	p := perf.NewProgress(os.Stderr, "load", "pairs", total)
//	p.Add(1)
//	p.Finish()
type Progress struct {
	w     io.Writer
	label string
	unit  string
	start time.Time
	now   func() time.Time

	items    atomic.Int64
	done, of atomic.Int64 // what the bar shows; of = 0: unknown

	stop chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

const progressWidth = 28

// NewProgress starts a bar on f for total items called unit; total 0 means that it is unknown
// until At tells. It returns nil unless f is a terminal.
func NewProgress(f *os.File, label, unit string, total int64) *Progress {
	if f == nil || !IsTerminal(f) {
		return nil
	}
	p := newProgress(f, label, unit, total, time.Now)
	p.wg.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				io.WriteString(p.w, "\r"+p.line()+"\x1b[K")
			case <-p.stop:
				return
			}
		}
	})
	return p
}

func newProgress(w io.Writer, label, unit string, total int64, now func() time.Time) *Progress {
	p := &Progress{w: w, label: label, unit: unit, start: now(), now: now, stop: make(chan struct{})}
	p.of.Store(total)
	return p
}

// Add counts n more items.
func (p *Progress) Add(n int64) {
	if p != nil {
		p.items.Add(n)
	}
}

// At makes the bar show done of total, in any unit, for work whose number of items is not known
// in advance: the bytes read of an input file.
func (p *Progress) At(done, total int64) {
	if p != nil {
		p.done.Store(done + 1) // 0 means: At was never called
		p.of.Store(total)
	}
}

// Finish erases the bar. It may be called more than once.
func (p *Progress) Finish() {
	if p == nil {
		return
	}
	p.once.Do(func() {
		close(p.stop)
		p.wg.Wait()
		io.WriteString(p.w, "\r\x1b[K")
	})
}

// line is the text of the bar at this moment.
func (p *Progress) line() string {
	items := p.items.Load()
	done, of := p.done.Load()-1, p.of.Load()
	if done < 0 {
		done = items
	}
	elapsed := p.now().Sub(p.start)
	var b strings.Builder
	b.WriteString(p.label)
	if of > 0 {
		fraction := min(1, float64(done)/float64(of))
		full := int(fraction * progressWidth)
		fmt.Fprintf(&b, "  [%s%s] %3.0f %%", strings.Repeat("#", full), strings.Repeat("-", progressWidth-full), 100*fraction)
	}
	if of == 0 && items == 0 {
		fmt.Fprintf(&b, "  %s", elapsed.Round(time.Second))
		return b.String()
	}
	fmt.Fprintf(&b, "  %s %s", Count(items), p.unit)
	if s := elapsed.Seconds(); s > 0 && items > 0 {
		fmt.Fprintf(&b, "  %s/s", Count(int64(float64(items)/s)))
		if of > 0 && done > 0 {
			left := time.Duration(float64(elapsed) * float64(max(0, of-done)) / float64(done))
			fmt.Fprintf(&b, "  ETA %s", left.Round(time.Second))
		}
	}
	return b.String()
}
