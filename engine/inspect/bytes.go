package inspect

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Key is a user key in a report: Plain where it is UTF-8, else Base64.
type Key struct {
	Plain  *string `json:"key,omitempty"`
	Base64 []byte  `json:"key64,omitempty"`
}

// NewKey copies b into a Key.
func NewKey(b []byte) Key {
	plain, raw := split(b)
	return Key{plain, raw}
}

// Bytes returns the key's bytes.
func (k Key) Bytes() []byte { return join(k.Plain, k.Base64) }

// Value is a value in a report: Plain where it is UTF-8, else Base64.
type Value struct {
	Plain  *string `json:"value,omitempty"`
	Base64 []byte  `json:"value64,omitempty"`
}

// NewValue copies b into a Value.
func NewValue(b []byte) Value {
	plain, raw := split(b)
	return Value{plain, raw}
}

// Bytes returns the value's bytes; nil for the zero Value, which stands for no value.
func (v Value) Bytes() []byte { return join(v.Plain, v.Base64) }

// None reports whether v is the zero Value: an empty value is not.
func (v Value) None() bool { return v.Plain == nil && v.Base64 == nil }

func split(b []byte) (plain *string, raw []byte) {
	s := string(b)
	if utf8.ValidString(s) {
		return &s, nil
	}
	return nil, []byte(s)
}

func join(plain *string, raw []byte) []byte {
	if plain != nil {
		return []byte(*plain)
	}
	return raw
}

// Bound is an internal key: an edge of a table.
type Bound struct {
	Key
	Seq  uint64 `json:"seq"`
	Kind string `json:"kind"`
	// Exclusive is true for the end of a range tombstone: the table holds nothing at the key.
	Exclusive bool `json:"exclusive,omitempty"`
}

func newBound(k ikey.Key) Bound {
	return Bound{Key: NewKey(k.User), Seq: k.Seq(), Kind: k.Kind().String(), Exclusive: k.IsExclusiveBound()}
}

func (b Bound) text(s Style) string {
	if b.Exclusive {
		return s.Bytes(b.Bytes()) + " (exclusive)"
	}
	return fmt.Sprintf("%s#%d,%s", s.Bytes(b.Bytes()), b.Seq, b.Kind)
}

// Escape returns b as one line of printable text. Printable UTF-8 stands for itself; a
// backslash is doubled; newline, tab and carriage return are \n, \t, \r; every other byte is
// \xNN. Different bytes give different texts.
func Escape(b []byte) string {
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\\':
			out.WriteString(`\\`)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == utf8.RuneError && n <= 1, !strconv.IsPrint(r):
			for _, c := range b[:n] {
				fmt.Fprintf(&out, `\x%02x`, c)
			}
		default:
			out.WriteRune(r)
		}
		b = b[n:]
	}
	return out.String()
}

// Bytes formats a key as the style says.
func (s Style) Bytes(b []byte) string {
	if s.Hex {
		return hex.EncodeToString(b)
	}
	return Escape(b)
}

// shortValue is how many bytes of a value are shown unless Style.Full is set.
const shortValue = 64

// value formats a value, cut unless the style wants all of it.
func (s Style) value(b []byte) string {
	if s.Full || len(b) <= shortValue {
		return s.Bytes(b)
	}
	cut := shortValue
	for i := range utf8.UTFMax { // keep a character whole
		if utf8.RuneStart(b[shortValue-i]) {
			cut = shortValue - i
			break
		}
	}
	return fmt.Sprintf("%s… (%d bytes)", s.Bytes(b[:cut]), len(b))
}
