package wal

import (
	"fmt"
	"time"
)

// Commit returns when p's promise holds for everything up to pos, which Append returned. After
// a failure it returns nil only for what was on the device before.
func (l *Log) Commit(pos Position, p Policy) error {
	l.mu.Lock()
	if !pos.After(l.synced) {
		l.mu.Unlock()
		return nil
	}
	if end := l.current().end(); pos.After(end) {
		l.mu.Unlock()
		return fmt.Errorf("commit of record %d of log %d: the last one is %d of log %d", pos.Records, pos.Segment, end.Records, end.Segment)
	}
	switch p {
	case PerWrite:
		return l.syncTo(pos)
	case PerSecond:
		return l.commitPerSecond()
	}
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if l.noneSince.IsZero() {
		l.noneSince = l.opts.Now()
		l.wake()
	}
	return nil
}

// syncTo returns when everything up to pos is on the device. It releases the lock, which the
// caller holds.
func (l *Log) syncTo(pos Position) error {
	if !pos.After(l.synced) {
		l.mu.Unlock()
		return nil
	}
	for _, g := range l.flight {
		if !pos.After(g.end) {
			g.commits++
			return l.wait(g)
		}
	}
	return l.join(1)
}

// join waits for the group that will sync all that is framed now, and leads it if there is
// none yet. commits is 1 for a Commit, which makes more of its kind likely, 0 for the
// background. It releases the lock, which the caller holds.
func (l *Log) join(commits uint64) error {
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return err
	}
	if g := l.next; g != nil {
		g.commits += commits
		return l.wait(g)
	}
	g := &group{pad: true, sync: true, commits: commits}
	l.next = g
	l.run(g)
	l.mu.Unlock()
	return g.err
}

// commitPerSecond waits while the oldest commit that is not on the device is older than
// syncLimit. It releases the lock, which the caller holds.
func (l *Log) commitPerSecond() error {
	for {
		if err := l.usable(); err != nil {
			l.mu.Unlock()
			return err
		}
		now := l.opts.Now()
		g, since := l.oldestDue()
		if since.IsZero() || now.Sub(since) < syncLimit {
			if l.dueSince.IsZero() {
				l.dueSince = now
				l.wake()
			}
			l.mu.Unlock()
			return nil
		}
		var err error
		if g != nil {
			err = l.wait(g)
		} else {
			err = l.join(0)
		}
		if err != nil {
			return err
		}
		l.mu.Lock()
	}
}

// oldestDue returns since when the oldest PerSecond commit waits for the device, and the group
// in flight that covers it, nil where none does yet.
func (l *Log) oldestDue() (*group, time.Time) {
	for _, g := range l.flight {
		if !g.dueSince.IsZero() {
			return g, g.dueSince
		}
	}
	return nil, l.dueSince
}

// background writes and syncs what no caller waits for, until quit is closed.
func (l *Log) background() {
	defer close(l.bgDone)
	timer := time.NewTimer(writeIdle)
	defer timer.Stop()
	for {
		if again := l.tick(); again > 0 {
			timer.Reset(again)
		} else {
			timer.Stop()
		}
		select {
		case <-l.quit:
			return
		case <-l.kick:
		case <-timer.C:
		}
	}
}

// tick does what is due now and returns after how long to look again, 0 for not before the
// next kick.
func (l *Log) tick() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.usable() != nil {
		return 0
	}
	switch now := l.opts.Now(); {
	case expired(now, l.dueSince, syncEvery):
		_ = l.join(0) // it releases the lock; an error is sticky
		l.mu.Lock()
	case expired(now, l.noneSince, writeIdle):
		l.run(&group{pad: true})
	case l.unwritten >= writeTrigger || !l.sealingSince.IsZero():
		l.run(&group{})
	}
	if l.err != nil {
		return 0
	}
	now := l.opts.Now()
	next := time.Duration(0)
	for _, due := range []struct {
		since time.Time
		after time.Duration
	}{{l.dueSince, syncEvery}, {l.noneSince, writeIdle}} {
		if due.since.IsZero() {
			continue
		}
		if d := max(due.since.Add(due.after).Sub(now), time.Millisecond); next == 0 || d < next {
			next = d
		}
	}
	return next
}

// expired reports whether since is set and at least age before now.
func expired(now, since time.Time, age time.Duration) bool {
	return !since.IsZero() && now.Sub(since) >= age
}
