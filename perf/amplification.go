package perf

import "fmt"

// Amplification says how many bytes were written for the bytes that the engine accepted, by
// the engine's own ledger and by the kernel's count.
type Amplification struct {
	UserBytes int64      `json:"user_bytes"` // U: keys and values accepted
	Rows      []WriteRow `json:"rows"`
	Total     int64      `json:"total"`  // sum of Rows
	Factor    float64    `json:"factor"` // Total / U
	Kernel    Kernel     `json:"kernel"`
}

// Kernel is the kernel's count of written bytes beside the ledger's.
type Kernel struct {
	Bytes      int64   `json:"write_bytes"`
	Cancelled  int64   `json:"cancelled_write_bytes"` // of Bytes: thrown away before they were written
	Factor     float64 `json:"factor"`                // Bytes / U
	Percent    float64 `json:"difference_percent"`    // by how much Bytes exceeds the ledger
	Comparable bool    `json:"comparable"`
	Note       string  `json:"note,omitempty"` // why it is not comparable
}

// difference is Percent for people.
func (k Kernel) difference() string {
	if k.Percent > -0.05 && k.Percent < 0.05 {
		return "0.0 %"
	}
	return fmt.Sprintf("%+.1f %%", k.Percent)
}

const (
	kernelTolerance = 3.0     // percent
	kernelSlack     = 1 << 20 // bytes: page rounding and directory blocks weigh little above it
)

// amplification sets user bytes, ledger rows and the kernel's count between two marks beside
// one another. countedFS is false on file systems that never reach a device.
func amplification(user int64, rows []WriteRow, from, to processMark, fs string) Amplification {
	a := Amplification{UserBytes: user, Rows: rows}
	for _, r := range rows {
		a.Total += r.Bytes
	}
	k := &a.Kernel
	k.Bytes = to.io.write - from.io.write
	k.Cancelled = to.io.cancelled - from.io.cancelled
	if user > 0 {
		a.Factor = float64(a.Total) / float64(user)
		k.Factor = float64(k.Bytes) / float64(user)
	}
	if a.Total > 0 {
		k.Percent = 100 * float64(k.Bytes-a.Total) / float64(a.Total)
	}
	switch {
	case !to.counts || !from.counts:
		k.Note = "the kernel does not show this process its counts"
	case fs == "tmpfs" || fs == "ramfs":
		k.Note = fs + " is memory: the kernel does not count its writes"
	case len(rows) == 0 && a.Total == 0:
		k.Note = "the engine keeps no ledger"
	case k.Bytes == 0 && a.Total > kernelSlack:
		k.Note = fs + " does not count writes"
	default:
		k.Comparable = true
	}
	return a
}

// Problem returns what is wrong with the ledger: the empty string while it and the kernel's
// count are within 3 % (or 1 MiB, which a short run's rounding may cost) or not comparable.
func (a Amplification) Problem() string {
	diff := a.Kernel.Bytes - a.Total
	if !a.Kernel.Comparable || max(diff, -diff) <= kernelSlack ||
		a.Kernel.Percent <= kernelTolerance && a.Kernel.Percent >= -kernelTolerance {
		return ""
	}
	return fmt.Sprintf("the ledger says %s bytes were written, the kernel %s (%+.1f %%, at most %.0f %% is right): a cause is not counted, or counted twice",
		Count(a.Total), Count(a.Kernel.Bytes), a.Kernel.Percent, kernelTolerance)
}

// RestReason is the reason of rows that no ledger told: what the kernel counted beyond it. A
// ledger with such a row agrees with the kernel by construction.
const RestReason = "rest of the kernel's count"

// rest sums the rows that the engine did not tell.
func (a Amplification) rest() int64 {
	var n int64
	for _, r := range a.Rows {
		if r.Reason == RestReason {
			n += r.Bytes
		}
	}
	return n
}

// Cause sums the rows of one cause.
func (a Amplification) Cause(cause string) int64 {
	var n int64
	for _, r := range a.Rows {
		if r.Cause == cause {
			n += r.Bytes
		}
	}
	return n
}

// Of returns bytes / U, 0 without U.
func (a Amplification) Of(bytes int64) float64 {
	if a.UserBytes == 0 {
		return 0
	}
	return float64(bytes) / float64(a.UserBytes)
}
