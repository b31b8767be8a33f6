package coordinator

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// manual is a clock and an executor that do nothing by themselves.
type manual struct {
	realClock
	mu      sync.Mutex // guards waiting: the network of the test has goroutines
	waiting []func()
}

func (m *manual) add(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = append(m.waiting, f)
}

func (m *manual) take() (list []func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, m.waiting = m.waiting, nil
	return list
}

func (m *manual) run() {
	for list := m.take(); len(list) > 0; list = m.take() {
		for _, f := range list {
			f()
		}
	}
}

// TestStart runs a put and a get on one goroutine: of three nodes that answer at once.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, 3)
		m := &manual{}
		opts := c.coordinator(1).opts
		opts.Go, opts.Clock = m.add, m
		co := New(opts)
		key := []byte("k")

		var put *WriteResult
		ends := 0
		giveUp := co.StartPut(key, distrib.Value{Data: []byte("v")}, WriteOptions{}, func(r *WriteResult, err error) {
			require.NoError(t, err)
			put = r
			ends++
		})
		for ends == 0 {
			m.run()
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		giveUp(errors.New("too late to matter"))
		m.run()
		require.Equal(t, 1, ends)

		var get *ReadResult
		co.StartGet(key, ReadOptions{R: 2, Repair: true}, func(r *ReadResult, err error) {
			require.NoError(t, err)
			get = r
		})
		for get == nil {
			m.run()
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		require.Equal(t, put.Dot, get.Record[0].Dot)

		for id := uint64(2); id <= 3; id++ {
			c.slow[id] = 5 * time.Second
		}
		var failed *Error
		giveUp = co.StartPut(key, distrib.Value{Data: []byte("w")}, WriteOptions{W: All, Strict: true}, func(_ *WriteResult, err error) { require.ErrorAs(t, err, &failed) })
		m.run()
		require.Nil(t, failed)
		giveUp(errors.New("no time"))
		m.run()
		require.Equal(t, Unknown, failed.Outcome)
		require.ErrorContains(t, failed, "no time")
		giveUp = co.StartGet(key, ReadOptions{R: All}, func(_ *ReadResult, err error) { require.ErrorAs(t, err, &failed) })
		giveUp(errors.New("no time at all"))
		m.run()
		require.Equal(t, Failed, failed.Outcome)
		require.ErrorContains(t, failed, "no time at all")
		require.Zero(t, co.Load().Operations)
		for range 60 { // what goes on behind ends too
			time.Sleep(time.Second)
			synctest.Wait()
			m.run()
		}
		co.Wait()
	})
}
