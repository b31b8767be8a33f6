package perf

import (
	"sync"
	"time"
)

const (
	sampleEvery = 200 * time.Millisecond
	pointEvery  = time.Second
	closely     = 20 * time.Second // so long every sample becomes a point
)

// sampler watches space, runs and debt while a phase runs.
type sampler struct {
	engine  Engine
	dir     string
	start   time.Time
	before  Stats
	workers []*worker

	points   []Point
	samples  int64
	space    Space
	runs     RunCount
	spaceSum float64
	runsSum  float64

	stop chan struct{}
	wg   sync.WaitGroup
}

func startSampler(engine Engine, dir string, before Stats, workers []*worker) *sampler {
	s := &sampler{engine: engine, dir: dir, start: time.Now(), before: before, workers: workers, stop: make(chan struct{})}
	s.wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		last := s.start
		for {
			select {
			case now := <-tick.C:
				if now.Sub(s.start) < closely || now.Sub(last) >= pointEvery {
					last = now
					s.point()
				} else {
					s.sample()
				}
			case <-s.stop:
				return
			}
		}
	})
	return s
}

func (s *sampler) sample() (disk int64, st Stats) {
	disk, st = diskUsage(s.dir), s.engine.Stats()
	runs := st.Runs()
	s.samples++
	s.spaceSum += float64(disk)
	s.runsSum += float64(runs)
	s.space.Peak = max(s.space.Peak, disk)
	s.runs.Peak = max(s.runs.Peak, runs)
	s.space.End, s.runs.End = disk, runs
	return disk, st
}

func (s *sampler) point() {
	disk, st := s.sample()
	p := Point{
		At:      time.Since(s.start),
		Disk:    disk,
		Runs:    st.Runs(),
		Debt:    st.Debt,
		Stalled: st.Stalls.Total - s.before.Stalls.Total,
	}
	for _, l := range st.Levels {
		for len(p.Levels) <= l.Level {
			p.Levels = append(p.Levels, 0)
		}
		p.Levels[l.Level] += l.Bytes
	}
	for _, w := range s.workers {
		if !w.beside {
			p.Ops += w.done.Load()
		}
		p.Longest = max(p.Longest, time.Duration(w.longest.Swap(0)))
	}
	s.points = append(s.points, p)
}

// finish takes the last sample and returns what was seen.
func (s *sampler) finish() (points []Point, space Space, runs RunCount) {
	close(s.stop)
	s.wg.Wait()
	s.point()
	s.space.Average = int64(s.spaceSum / float64(s.samples))
	s.runs.Average = s.runsSum / float64(s.samples)
	return s.points, s.space, s.runs
}
