//go:build !linux

package perf

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return nil }

// memoryGroup is nothing: only Linux has memory cgroups.
type memoryGroup struct{}

func limitMemory(int, int64) *memoryGroup { return &memoryGroup{} }

func (g *memoryGroup) killed() int64 { return 0 }

func (g *memoryGroup) isolation() *Isolation {
	return &Isolation{Process: true, Note: "only Linux has them"}
}

func (g *memoryGroup) remove() {}
