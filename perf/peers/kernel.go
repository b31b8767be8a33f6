package peers

import (
	"os"
	"strconv"
	"strings"

	"github.com/cambiumdb/cambium/perf"
)

// kernelCount is the kernel's count of bytes that this process sent to devices, at the moment
// when an engine was opened. Peers write through the page cache, so that only the kernel sees what
// reaches a device: a page of the log that one sync left half full is written again by the next,
// and a page that is overwritten in time is written once.
type kernelCount struct{ start int64 }

func countKernel() kernelCount { return kernelCount{kernelWrites()} }

// addRest appends by how much the kernel's count since differs from the rows, as one row of the
// given cause, so that the sum is what devices got. The row is negative where pages of recycled
// or short-lived files were overwritten or dropped before they left the page cache. Where the
// file system does not count (tmpfs), the rows stay as they are.
func (k kernelCount) addRest(rows []perf.WriteRow, cause string) []perf.WriteRow {
	kernel, counted := kernelWrites()-k.start, int64(0)
	for _, r := range rows {
		counted += r.Bytes
	}
	if kernel == counted || kernel < counted/2 {
		return rows
	}
	return append(rows, perf.WriteRow{Cause: cause, Level: -1, Reason: restReason, Bytes: kernel - counted})
}

// restReason marks rows that no engine counted.
const restReason = "rest of the kernel's count"

// kernelWrites is 0 where the kernel does not tell.
func kernelWrites() int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
