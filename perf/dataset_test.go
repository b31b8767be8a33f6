package perf

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o666))
	return path
}

func readAll(s PairSource) (pairs []Pair, err error) {
	for {
		p, err := s.Next()
		if errors.Is(err, io.EOF) {
			return pairs, nil
		}
		if err != nil {
			return pairs, err
		}
		pairs = append(pairs, p)
	}
}

const sample = `{"key": "a", "value": "one"}

{"key64": "AP8=", "value64": ""}
{"key": "ü�", "value": "\ud83d\ude00 \ufffd", "more": [1]}`

func TestOpenPairs(t *testing.T) {
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	require.NoError(t, err)
	_, err = io.WriteString(z, sample)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	for _, path := range []string{writeFile(t, "s.jsonl", sample), writeFile(t, "s.jsonl.zst", packed.String())} {
		s, err := OpenPairs(path)
		require.NoError(t, err)
		pairs, err := readAll(s)
		require.NoError(t, err)
		require.Equal(t, []Pair{
			{[]byte("a"), []byte("one")},
			{[]byte{0, 255}, []byte{}},
			{[]byte("ü�"), []byte("😀 �")},
		}, pairs)
		done, total := s.Position()
		require.Equal(t, total, done)
		require.NoError(t, s.Close())
	}
}

func TestOpenPairsErrorsNameFileAndLine(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`{"key": "a"}`, `has neither "value" nor "value64"`},
		{`{"value": "a"}`, `has neither "key" nor "key64"`},
		{`{"key": "a", "key64": "YQ==", "value": ""}`, `has both "key" and "key64"`},
		{`{"key": "", "value": ""}`, "the key is empty"},
		{`{"key64": "?", "value": ""}`, "illegal base64"},
		{`{"key": 1, "value": ""}`, "cannot unmarshal number"},
		{`{"key": "a", "value": "b"} x`, "invalid character 'x'"},
		{`["a", "b"]`, "cannot unmarshal array"},
		{`{"key": "a", "value": "b`, "unexpected end of JSON"},
		{"{\"key\": \"a\xff\", \"value\": \"b\"}", "not UTF-8"},
		{`{"key": "a", "value": "\ud83d"}`, "half of a surrogate pair"},
		{`null`, "has neither"},
	} {
		s, err := OpenPairs(writeFile(t, "bad.jsonl", sample+"\n"+c.line+"\n"))
		require.NoError(t, err)
		pairs, err := readAll(s)
		require.Len(t, pairs, 3)
		require.ErrorContains(t, err, "bad.jsonl: line 5: ", c.line)
		require.ErrorContains(t, err, c.want, c.line)
		require.NoError(t, s.Close())
	}
}

func TestOpenPairsRefusesBadFiles(t *testing.T) {
	_, err := OpenPairs(filepath.Join(t.TempDir(), "absent.jsonl"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = OpenPairs(t.TempDir())
	require.ErrorContains(t, err, "is a directory")

	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed)
	require.NoError(t, err)
	// Lines that hardly repeat, so that half of the file is half of the blocks.
	for g := GeneratePairs(2000, 1); ; {
		p, err := g.Next()
		if err != nil {
			break
		}
		_, err = io.WriteString(z, `{"key":"`+string(p.Key)+`","value":"`+strings.ReplaceAll(string(p.Value), "\n", " ")+"\"}\n")
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	for name, content := range map[string]string{
		"cut.zst":   packed.String()[:packed.Len()/2],
		"noise.zst": "this is not compressed",
		"flip.zst":  packed.String()[:packed.Len()/2] + "\xff\xff\xff\xff" + packed.String()[packed.Len()/2+4:],
	} {
		s, err := OpenPairs(writeFile(t, name, content))
		require.NoError(t, err)
		pairs, err := readAll(s)
		require.ErrorContains(t, err, name+": ", "%d pairs", len(pairs))
		s.Close()
	}
}

func TestGeneratePairs(t *testing.T) {
	a, err := readAll(GeneratePairs(3000, 5))
	require.NoError(t, err)
	b, err := readAll(GeneratePairs(3000, 5))
	require.NoError(t, err)
	require.Equal(t, a, b)
	keys := map[string]bool{}
	var size int
	for _, p := range a {
		keys[string(p.Key)] = true
		size += len(p.Value)
		require.True(t, len(p.Value) >= 200 && len(p.Value) <= 2000, "%d bytes", len(p.Value))
	}
	require.Len(t, keys, 3000)
	c, err := readAll(GeneratePairs(3000, 6))
	require.NoError(t, err)
	require.NotEqual(t, a[0], c[0])
	require.Contains(t, string(a[0].Value), "Package: ")
	none, err := readAll(GeneratePairs(0, 5))
	require.NoError(t, err)
	require.Empty(t, none)
}
