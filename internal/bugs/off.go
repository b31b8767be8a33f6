//go:build !bugs

package bugs

// On reports whether a bug is there.
func On(Bug) bool { return false }
