package inspect

import (
	"fmt"
	"io"
	"strconv"

	"github.com/cambiumdb/cambium/internal/grid"
)

// newGrid returns a grid whose first row is a heading in this style.
func (s Style) newGrid(left ...int) *grid.Grid {
	g := grid.New(left...)
	g.Heading = s.heading
	return g
}

// list prints names and what they stand for.
type list struct {
	w     io.Writer
	width int
}

func (l list) line(name, format string, args ...any) {
	fmt.Fprintf(l.w, "  %-*s  %s\n", l.width, name, fmt.Sprintf(format, args...))
}

// size prints a number of bytes for people, and exactly below 10 KiB.
func size[T int | int64 | uint64](n T) string {
	f := float64(n)
	for _, u := range []struct {
		name  string
		bytes float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if f >= u.bytes && f >= 10<<10 {
			return strconv.FormatFloat(f/u.bytes, 'f', 1, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(int64(n), 10) + " B"
}
