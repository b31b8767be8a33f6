package service

import (
	"sync"
	"sync/atomic"
)

// idleMax is how many workers stay when there is nothing to do.
const idleMax = 256

// workers carry out the operations of sessions. A worker that has done one takes another, so that its stack has
// grown already. How many there are is bounded by the budget, which is asked before.
type workers struct {
	do    func(task)
	tasks chan task
	idle  atomic.Int64
	done  sync.WaitGroup
}

func newWorkers(do func(task)) *workers {
	return &workers{do: do, tasks: make(chan task)}
}

// start has t carried out, by a worker that waits or else by a new one.
func (w *workers) start(t task) {
	select {
	case w.tasks <- t:
	default:
		w.done.Go(func() { w.work(t) })
	}
}

func (w *workers) work(t task) {
	for ok := true; ok; {
		w.do(t)
		if w.idle.Add(1) > idleMax {
			w.idle.Add(-1)
			return
		}
		t, ok = <-w.tasks
		w.idle.Add(-1)
	}
}

// close ends the workers. No start may come any more.
func (w *workers) close() {
	close(w.tasks)
	w.done.Wait()
}
