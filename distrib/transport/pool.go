package transport

import (
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// Limits bound what a node takes on for others. Zero values are the defaults.
type Limits struct {
	// Workers is how many requests are carried out at once. Default 256.
	Workers int
	// Queued is how many may wait for a worker, and QueuedBytes their bytes. Defaults 4096 and 128 MiB.
	Queued, QueuedBytes int
	// Wait is how long they may wait. While the first waits longer, others are refused. Default 500 ms.
	Wait time.Duration
}

func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{&l.Workers: 256, &l.Queued: 4096, &l.QueuedBytes: 128 << 20} {
		if *field == 0 {
			*field = value
		}
	}
	if l.Wait == 0 {
		l.Wait = 500 * time.Millisecond
	}
	return l
}

// task is a request that waits for a worker.
type task struct {
	frame
	link  *serverLink
	epoch uint64 // of the asker's topology
	since time.Time
}

// pool is the workers of a node, and what waits for them. Workers are started as they are needed, and stay.
type pool struct {
	limits Limits
	do     func(task)

	mu      sync.Mutex // guards what follows
	wake    sync.Cond
	tasks   []task // from first on
	first   int
	bytes   int
	idle    int // workers that wait and were not woken yet
	workers int
	closed  bool
	refused uint64         // tasks that were too much
	done    sync.WaitGroup // workers
}

func newPool(limits Limits, do func(task)) *pool {
	p := &pool{limits: limits, do: do}
	p.wake.L = &p.mu
	return p
}

// overload says why t is not to be taken on, if so.
func (p *pool) overload(t *task) error {
	n := len(p.tasks) - p.first
	what := ""
	switch {
	case p.closed:
		return fmt.Errorf("it is being stopped: %w", distrib.ErrRefused)
	case n >= p.limits.Queued:
		what = fmt.Sprintf("%d requests wait, the limit", n)
	case n > 0 && p.bytes+len(t.body) > p.limits.QueuedBytes:
		what = fmt.Sprintf("%d bytes of requests wait, the limit is %d", p.bytes, p.limits.QueuedBytes)
	case n > 0 && t.since.Sub(p.tasks[p.first].since) > p.limits.Wait:
		what = fmt.Sprintf("a request has waited for %s, the limit is %s", t.since.Sub(p.tasks[p.first].since), p.limits.Wait)
	default:
		return nil
	}
	return &distrib.Overloaded{What: what, RetryAfter: p.limits.Wait / 10}
}

// submit takes tasks on, or calls refuse with each that it does not.
func (p *pool) submit(tasks []task, refuse func(task, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := 0
	for i := range tasks {
		if err := p.overload(&tasks[i]); err != nil {
			if !p.closed {
				p.refused++
			}
			refuse(tasks[i], err)
			continue
		}
		if p.first > len(p.tasks)/2 { // what was done is at the front: a backlog must not grow the array for ever
			n := copy(p.tasks, p.tasks[p.first:])
			clear(p.tasks[n:])
			p.tasks, p.first = p.tasks[:n], 0
		}
		p.tasks = append(p.tasks, tasks[i])
		p.bytes += len(tasks[i].body)
		taken++
	}
	woken := min(taken, p.idle)
	p.idle -= woken // here, not when they run: the next submit must not count on them
	for range woken {
		p.wake.Signal()
	}
	for n := min(taken-woken, p.limits.Workers-p.workers); n > 0; n-- {
		p.workers++
		p.done.Go(p.work)
	}
}

func (p *pool) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for p.first == len(p.tasks) {
			if p.closed {
				return
			}
			p.idle++
			p.wake.Wait()
		}
		t := p.tasks[p.first]
		p.tasks[p.first] = task{}
		p.bytes -= len(t.body)
		if p.first++; p.first == len(p.tasks) {
			p.tasks, p.first = p.tasks[:0], 0
		}
		p.mu.Unlock()
		p.do(t)
		p.mu.Lock()
	}
}

// close refuses what comes, and waits until what was taken on is done.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.wake.Broadcast()
	p.mu.Unlock()
	p.done.Wait()
}
