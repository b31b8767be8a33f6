package perf

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes that reads and prints as people write it: 64MiB, 1.5GiB, 4096. It
// is a flag value.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40},
	{"B", 1},
}

// ParseSize reads a number of bytes with an optional unit: KiB, MiB, GiB, TiB (also K, M, G, T)
// are powers of 1024; KB, MB, GB, TB powers of 1000; case does not matter. Less than one byte,
// more than int64 holds and fractions of a byte are errors.
func ParseSize(s string) (Size, error) {
	text := strings.TrimSpace(s)
	factor := 1.0
	for _, u := range sizeUnits {
		if len(text) > len(u.name) && strings.EqualFold(text[len(text)-len(u.name):], u.name) {
			text, factor = strings.TrimSpace(text[:len(text)-len(u.name)]), u.bytes
			break
		}
	}
	bad := func(why string) (Size, error) {
		return 0, Usagef("size %q %s: write it like 4096, 64MiB or 1.5GiB", s, why)
	}
	if strings.ContainsAny(text, "eExXpP_+-") {
		return bad("is not a number of bytes")
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && factor == 1 {
		return Size(n), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return bad("is not a number of bytes")
	}
	f *= factor
	if f >= math.MaxInt64 {
		return bad("is too large")
	}
	if f != math.Trunc(f) {
		return bad("is not a whole number of bytes")
	}
	return Size(f), nil
}

// Set is flag.Value's: it parses like ParseSize.
func (s *Size) Set(text string) error {
	n, err := ParseSize(text)
	if err == nil {
		*s = n
	}
	return err
}

// Type names the kind of value in help texts.
func (s *Size) Type() string { return "size" }

// String prints the size so that ParseSize reads the same number back.
func (s Size) String() string {
	for _, u := range []struct {
		name  string
		shift uint
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if s >= 1<<u.shift && s&(1<<u.shift-1) == 0 {
			return fmt.Sprintf("%d%s", s>>u.shift, u.name)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Bytes prints a number of bytes for people, with three digits: "1.46 GiB".
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-n)
	}
	f := float64(n)
	for _, u := range []struct {
		name  string
		bytes float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if f >= u.bytes {
			return threeDigits(f/u.bytes) + " " + u.name
		}
	}
	return fmt.Sprintf("%d B", n)
}

func threeDigits(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// Count prints a whole number with thousands separated by commas.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
