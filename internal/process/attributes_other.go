//go:build !linux

package process

import "syscall"

// attributes have a process stay clear of the terminal's Ctrl-C. That it ends with the one that started it rests on
// its standard input alone, which the kernel closes.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
