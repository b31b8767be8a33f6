package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"
)

// ErrInjected is in the chain of the errors of a Rule that names no other.
var ErrInjected = errors.New("injected fault")

// Op is a set of kinds of operations on files.
type Op uint32

// The kinds of operations. OpOpen is Open and OpenReadWrite; OpStat is Stat, Size and Free.
const (
	OpCreate Op = 1 << iota
	OpOpen
	OpRead
	OpWrite
	OpSync
	OpSyncDir
	OpRename
	OpRemove
	OpLink
	OpTruncate
	OpPreallocate
	OpPunchHole
	OpLock
	OpList
	OpStat
	OpMkdir
	OpClose
	// OpAny is every kind.
	OpAny Op = 1<<iota - 1
	// OpChange is every kind that changes what is on the device.
	OpChange = OpCreate | OpWrite | OpSync | OpSyncDir | OpRename | OpRemove | OpLink |
		OpTruncate | OpPreallocate | OpPunchHole | OpMkdir
)

// Rule says which calls go wrong, and how. A rule that neither fails nor delays only counts.
type Rule struct {
	// Ops are the kinds of calls that match; 0 is OpAny.
	Ops Op
	// Path is a pattern of path.Match for the whole path or for its last element; "" is every
	// path. Of Rename and Link the new name counts.
	Path string
	// Match, if set, must hold too. It must not call the Fault.
	Match func(op Op, name string) bool
	// Skip is how many matching calls go well before the rule acts.
	Skip int
	// Forever lets the rule act on every matching call after those, not only on the first.
	Forever bool

	// Err is returned, with the operation and the path, in place of the call; io.EOF as it is.
	Err error
	// Short lets a read or a write move the first half of its bytes, in whole aligned units of
	// a direct file, before it fails.
	Short bool
	// Delay is slept before the call.
	Delay time.Duration
}

// Fail is a Rule that fails with ErrInjected once, at the matching call after skip others.
func Fail(ops Op, skip int) Rule { return Rule{Ops: ops, Skip: skip, Err: ErrInjected} }

// Fault passes calls to another FS and lets some go wrong. A call that fails does not reach the
// other FS, but for the half of a Short one. Close fails after it has closed.
//
//	fault := vfs.NewFault(vfs.NewMem())
//	count := fault.Add(vfs.Rule{Ops: vfs.OpWrite | vfs.OpSync, Path: "*.log"}) // counts
//	work(fault)
//	for n := range count.Calls() { // the same work, an error at every write and sync in turn
//		fault := vfs.NewFault(vfs.NewMem())
//		fault.Add(vfs.Rule{Ops: vfs.OpWrite | vfs.OpSync, Path: "*.log", Skip: n, Err: vfs.ErrNoSpace})
//		work(fault)
//	}
//
// The first rule that acts on a call decides it; all that match count it. A Fault may be used by
// several goroutines.
type Fault struct {
	inner FS

	mu      sync.Mutex // guards the rest
	rules   []*Injection
	sleep   func(time.Duration)
	resyncs int
}

// NewFault returns an FS that passes everything to inner until rules are added.
func NewFault(inner FS) *Fault { return &Fault{inner: inner, sleep: time.Sleep} }

// SetSleep replaces time.Sleep for delays.
func (f *Fault) SetSleep(sleep func(time.Duration)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sleep = sleep
}

// Injection is a Rule at work.
type Injection struct {
	fault *Fault
	rule  Rule
	calls int // guarded by fault.mu
	hits  int // guarded by fault.mu
}

// Add puts a rule behind the ones that are there.
func (f *Fault) Add(r Rule) *Injection {
	if _, err := path.Match(r.Path, ""); err != nil {
		panic(fmt.Sprintf("vfs: rule with the bad pattern %q", r.Path))
	}
	if r.Ops == 0 {
		r.Ops = OpAny
	}
	i := &Injection{fault: f, rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, i)
	return i
}

// Clear removes every rule.
func (f *Fault) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Resyncs returns how often Sync was called on an open file whose Sync had failed before: the
// durability contract forbids it.
func (f *Fault) Resyncs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resyncs
}

// Calls returns how many calls matched.
func (i *Injection) Calls() int {
	i.fault.mu.Lock()
	defer i.fault.mu.Unlock()
	return i.calls
}

// Hits returns how many calls the rule acted on.
func (i *Injection) Hits() int {
	i.fault.mu.Lock()
	defer i.fault.mu.Unlock()
	return i.hits
}

// Remove ends the rule.
func (i *Injection) Remove() {
	i.fault.mu.Lock()
	defer i.fault.mu.Unlock()
	for at, other := range i.fault.rules {
		if other == i {
			i.fault.rules = append(i.fault.rules[:at:at], i.fault.rules[at+1:]...)
			return
		}
	}
}

func (r *Rule) matches(op Op, name string) bool {
	if r.Ops&op == 0 {
		return false
	}
	if r.Path != "" {
		whole, _ := path.Match(r.Path, name) // Add has checked the pattern
		last, _ := path.Match(r.Path, path.Base(name))
		if !whole && !last {
			return false
		}
	}
	return r.Match == nil || r.Match(op, name)
}

// decide counts a call and returns the rule that acts on it, or nil, after its delay.
func (f *Fault) decide(op Op, name string) *Rule {
	f.mu.Lock()
	var acting *Rule
	for _, i := range f.rules {
		if !i.rule.matches(op, name) {
			continue
		}
		i.calls++
		due := i.calls == i.rule.Skip+1 || (i.rule.Forever && i.calls > i.rule.Skip)
		if acting == nil && due && (i.rule.Err != nil || i.rule.Short || i.rule.Delay > 0) {
			i.hits++
			acting = &i.rule
		}
	}
	sleep := f.sleep
	f.mu.Unlock()
	if acting != nil && acting.Delay > 0 {
		sleep(acting.Delay)
	}
	return acting
}

// check returns the error that a call must give, or nil.
func (f *Fault) check(op Op, verb, name string) error {
	return f.decide(op, name).failure(verb, name)
}

// failure returns the error of the rule; a nil rule has none.
func (r *Rule) failure(verb, name string) error {
	if r == nil || (r.Err == nil && !r.Short) {
		return nil
	}
	err := r.Err
	if err == nil {
		err = ErrInjected
	}
	return &fs.PathError{Op: verb, Path: name, Err: err}
}
