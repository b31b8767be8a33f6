package inspect

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// grid prints cells in columns, two spaces apart, headed by the first row. Columns named in
// left are aligned to the left, the others to the right.
type grid struct {
	left   map[int]bool
	rows   [][]string
	indent string
}

func newGrid(left ...int) *grid {
	g := &grid{left: map[int]bool{}}
	for _, i := range left {
		g.left[i] = true
	}
	return g
}

func (g *grid) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	g.rows = append(g.rows, row)
}

func (g *grid) print(w io.Writer, s Style) {
	var widths []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range g.rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if g.left[i] {
				b.WriteString(cell + pad)
			} else {
				b.WriteString(pad + cell)
			}
		}
		line := strings.TrimRight(b.String(), " ")
		if n == 0 {
			line = s.heading(line)
		}
		fmt.Fprintf(w, "%s%s\n", g.indent, line)
	}
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
