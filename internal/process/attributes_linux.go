package process

import "syscall"

// attributes have a process end with the one that started it, and stay clear of the terminal's Ctrl-C: the
// supervisor ends it, in its order.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
