package blob

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// fixture is a database that RocksDB 7.8.3 wrote: its blob files by name and its live keys.
type fixture struct {
	blobs map[string][]byte
	live  map[string]string
}

// readFixture unpacks the archive that lies beside the repository; nil when it is not there.
func readFixture(t *testing.T) *fixture {
	archive := filepath.Join("..", "..", "..", "shared", "data", "rocksdb-7.8", "blob.tar.zst")
	f, err := os.Open(archive)
	if errors.Is(err, fs.ErrNotExist) {
		t.Logf("skipped: %s is not here", archive)
		return nil
	}
	require.NoError(t, err)
	defer f.Close()
	z, err := zstd.NewReader(f)
	require.NoError(t, err)
	defer z.Close()

	fx := &fixture{blobs: map[string][]byte{}, live: map[string]string{}}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return fx
		}
		require.NoError(t, err)
		data, err := io.ReadAll(tr)
		require.NoError(t, err)
		switch base := path.Base(h.Name); {
		case strings.HasSuffix(base, ".blob"):
			fx.blobs[base] = data
		case base == "expect.txt":
			fx.live = parseExpect(t, data)
		}
	}
}

// parseExpect reads lines "hexkey hexvalue".
func parseExpect(t *testing.T, data []byte) map[string]string {
	live := map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		k, v, _ := strings.Cut(strings.ToUpper(sc.Text()), " ")
		key, err := hex.DecodeString(strings.TrimPrefix(k, "0X"))
		require.NoError(t, err)
		value, err := hex.DecodeString(strings.TrimPrefix(v, "0X"))
		require.NoError(t, err)
		live[string(key)] = string(value)
	}
	require.NoError(t, sc.Err())
	return live
}
