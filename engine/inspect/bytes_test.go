package inspect

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                 "",
		"plain text":       "plain text",
		"tab\tnl\ncr\r":    `tab\tnl\ncr\r`,
		`back\slash`:       `back\\slash`,
		"\x00\x1b[31m\x7f": `\x00\x1b[31m\x7f`,
		"naïve 漢字":         "naïve 漢字",
		"cut \xe6\xbc":     `cut \xe6\xbc`,
		"\u2028\ufeff":     `\xe2\x80\xa8\xef\xbb\xbf`,
		"\ufffd":           "\ufffd",
	} {
		require.Equal(t, want, Escape([]byte(in)), "%q", in)
	}
}

// unescape reads what Escape wrote: nothing is lost.
func unescape(t require.TestingT, s string) []byte {
	var out []byte
	for len(s) > 0 {
		if s[0] != '\\' {
			out, s = append(out, s[0]), s[1:]
			continue
		}
		switch s[1] {
		case 'x':
			n, err := strconv.ParseUint(s[2:4], 16, 8)
			require.NoError(t, err)
			out, s = append(out, byte(n)), s[4:]
			continue
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case '\\':
			out = append(out, '\\')
		default:
			require.Fail(t, "unknown escape", "%q", s)
		}
		s = s[2:]
	}
	return out
}

func TestEscapeLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBytes(t)
		text := Escape(b)
		require.Equal(t, string(b), string(unescape(t, text)))
		require.True(t, utf8.ValidString(text))
		require.False(t, strings.ContainsAny(text, "\t\n\r\x00\x1b"), "%q", text)
	})
}

// drawBytes draws text, bytes, or both.
func drawBytes(t *rapid.T) []byte {
	if rapid.Bool().Draw(t, "text") {
		return []byte(rapid.String().Draw(t, "string"))
	}
	return append([]byte(rapid.String().Draw(t, "head")), rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "tail")...)
}

func TestPairThroughJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, value := drawBytes(t), drawBytes(t)
		var out bytes.Buffer
		p := NewPrinter(&out, Lines, Style{})
		require.NoError(t, p.Report(NewPair(key, value)))
		var back Pair
		require.NoError(t, json.Unmarshal(out.Bytes(), &back))
		require.Equal(t, string(key), string(back.Key.Bytes()))
		require.Equal(t, string(value), string(back.Value.Bytes()))
		require.Equal(t, 1, bytes.Count(out.Bytes(), []byte("\n")))
		require.Equal(t, utf8.Valid(value), strings.Contains(out.String(), `"value":`))
	})
}

func TestNoValueIsNotEmptyValue(t *testing.T) {
	none, err := json.Marshal(NewPair([]byte("k"), nil))
	require.NoError(t, err)
	require.JSONEq(t, `{"key":"k"}`, string(none))
	empty, err := json.Marshal(NewPair([]byte("k"), []byte{}))
	require.NoError(t, err)
	require.JSONEq(t, `{"key":"k","value":""}`, string(empty))
}

func TestLongValuesAreCut(t *testing.T) {
	long := bytes.Repeat([]byte("é"), 100)
	require.Equal(t, strings.Repeat("é", 32)+"… (200 bytes)", Style{}.value(long))
	require.Equal(t, strings.Repeat("é", 100), Style{Full: true}.value(long))
	odd := append([]byte("x"), long...)
	require.Equal(t, "x"+strings.Repeat("é", 31)+"… (201 bytes)", Style{}.value(odd), "a character is kept whole")
	binary := bytes.Repeat([]byte{0x80}, 70)
	require.Equal(t, strings.Repeat(`\x80`, 64)+"… (70 bytes)", Style{}.value(binary))
	require.Equal(t, strings.Repeat("80", 64)+"… (70 bytes)", Style{Hex: true}.value(binary))
}
