package transport

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestPoolWakesAWorkerForEach: a request that comes before the worker of the one before has woken up gets another.
func TestPoolWakesAWorkerForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards running
		running, release := 0, make(chan struct{})
		p := newPool(Limits{}.withDefaults(), func(task) {
			mu.Lock()
			running++
			mu.Unlock()
			<-release
		})
		refuse := func(_ task, err error) { t.Error(err) }
		for round := 1; round <= 3; round++ {
			for range 4 { // in the later rounds some workers wait
				p.submit([]task{{}}, refuse)
			}
			synctest.Wait()
			require.Equal(t, 4*round, running)
			if round == 1 {
				for range 2 {
					release <- struct{}{}
				}
				synctest.Wait()
			}
		}
		close(release)
		p.close()
		require.Equal(t, 12, running)
	})
}

// TestPoolKeepsABacklogSmall: as long as something waits, what is done is let go all the same.
func TestPoolKeepsABacklogSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := make(chan struct{})
		p := newPool(Limits{Workers: 1}.withDefaults(), func(task) { <-next })
		add := func() { p.submit([]task{{}}, func(_ task, err error) { t.Error(err) }) }
		for range 3 { // one is being done, two wait: from here on never none
			add()
		}
		for range 10_000 {
			add()
			next <- struct{}{}
		}
		require.Less(t, cap(p.tasks), 64)
		close(next)
		p.close()
	})
}
