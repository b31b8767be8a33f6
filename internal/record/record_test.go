package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/corrupt"
)

// content returns n bytes that no shift makes equal.
func content(n, salt int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(salt)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func readAll(t *testing.T, file []byte, logNum uint64) (recs [][]byte, err error) {
	t.Helper()
	r := NewReader(bytes.NewReader(file), "f", logNum)
	for {
		rec, err := r.Next()
		if err != nil {
			_, again := r.Next()
			require.Equal(t, err, again, "the error must stick")
			return recs, err
		}
		require.LessOrEqual(t, r.Offset(), r.End())
		recs = append(recs, bytes.Clone(rec))
	}
}

// TestBytes pins the format: the checksum and the layout as RocksDB has them.
func TestBytes(t *testing.T) {
	// crc32c of "\x01" + "foo" masked, as db/log_writer.cc computes it.
	legacy := AppendRecord(nil, 0, 0, false, []byte("foo"))
	require.Equal(t, fmt.Sprintf("%08x", checksum([]byte("\x01foo")))+" 3 1 foo",
		fmt.Sprintf("%08x %d %d %s", binary.LittleEndian.Uint32(legacy), binary.LittleEndian.Uint16(legacy[4:]), legacy[6], legacy[7:]))
	recycl := AppendRecord(nil, 0, 9, true, []byte("foo"))
	require.Len(t, recycl, 14)
	require.Equal(t, []byte{3, 0, 5, 9, 0, 0, 0, 'f', 'o', 'o'}, recycl[4:])
	// The crc32c of "123456789" is e3069283 (RFC 3720); the mask is RocksDB's.
	crc := uint32(0xe3069283)
	require.Equal(t, crc>>15|crc<<17, checksum([]byte("123456789"))-0xa282ead8)
}

// TestRoundTrip frames records of interesting lengths at block offsets all over, and all of them
// at each offset near the ends.
func TestRoundTrip(t *testing.T) {
	lengths := []int{0, 1, 2, 10, 11, 12, 100, 4096, BlockSize - 22, BlockSize - 12, BlockSize - 11, BlockSize - 10,
		BlockSize - 7, BlockSize, BlockSize + 1, 2*BlockSize - 22, 2 * BlockSize, 99_999, 100_000}
	for _, recyc := range []bool{false, true} {
		for at := 0; at <= BlockSize; at++ {
			n := lengths[at%len(lengths)]
			if at < 40 || at > BlockSize-40 {
				for _, n := range lengths {
					roundTrip(t, recyc, at, n)
				}
				continue
			}
			if at%31 == 0 {
				roundTrip(t, recyc, at, n)
			}
		}
	}
}

// TestRoundTripLengths frames every length up to 100,000 at some block offset.
func TestRoundTripLengths(t *testing.T) {
	for n := 0; n <= 100_000; n += 163 {
		roundTrip(t, n%2 == 0, (n*7919)%(BlockSize+1), n)
	}
}

func roundTrip(t *testing.T, recyc bool, at, n int) {
	header := HeaderLen(recyc)
	var file []byte
	// A record before it ends exactly at at, where a record can.
	before := at - header
	if before >= 0 {
		file = AppendRecord(nil, 0, 7, recyc, bigContent[:before])
	} else if at > 0 {
		return
	}
	if len(file) != at {
		t.Fatalf("first record of %d ends at %d, want %d", before, len(file), at)
	}
	file = AppendRecord(file, at, 7, recyc, bigContent[1:1+n])
	if want := at + FramedLen(at, recyc, n); len(file) != want {
		t.Fatalf("at %d, %d bytes: FramedLen says end %d, got %d", at, n, want, len(file))
	}
	file = AppendRecord(file, len(file)%BlockSize, 7, recyc, []byte("end"))
	r := NewReader(bytes.NewReader(file), "f", 7)
	for i, want := range [][]byte{bigContent[:max(before, 0)], bigContent[1 : 1+n], []byte("end")} {
		if i == 0 && before < 0 {
			continue
		}
		rec, err := r.Next()
		if err != nil || !bytes.Equal(rec, want) {
			t.Fatalf("recyclable %v at %d, %d bytes: record %d: %d bytes, %v", recyc, at, n, i, len(rec), err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatalf("at %d, %d bytes: end %v", at, n, err)
	}
	if r.End() != int64(len(file)) {
		t.Fatalf("at %d, %d bytes: End %d, want %d", at, n, r.End(), len(file))
	}
}

var bigContent = content(100_002, 0)

func TestWriter(t *testing.T) {
	var file bytes.Buffer
	w := NewWriter(&file, 0, false)
	for i := range 50 {
		require.NoError(t, w.Write(content(i*997, i)))
	}
	require.EqualValues(t, file.Len(), w.Offset())
	recs, err := readAll(t, file.Bytes(), 0)
	require.Equal(t, io.EOF, err)
	require.Len(t, recs, 50)
	for i, rec := range recs {
		require.Equal(t, content(i*997, i), append([]byte{}, rec...))
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	n := min(f.left, len(p))
	f.left -= n
	if n < len(p) {
		return n, errors.New("disk on fire")
	}
	return n, nil
}

func TestWriterErrorSticks(t *testing.T) {
	w := NewWriter(&failing{left: 100}, 0, false)
	require.NoError(t, w.Write(make([]byte, 50)))
	require.EqualError(t, w.Write(make([]byte, 50)), "disk on fire")
	require.EqualError(t, w.Write(nil), "disk on fire")
	require.EqualValues(t, 100, w.Offset())
}

// file makes records of the given lengths and returns where each starts.
func file(recyc bool, logNum uint32, lengths ...int) (b []byte, starts []int) {
	for i, n := range lengths {
		starts = append(starts, len(b))
		b = AppendRecord(b, len(b)%BlockSize, logNum, recyc, content(n, i))
	}
	return b, starts
}

// TestTornTail cuts and damages the last record in every way: all before it must be read, and
// the end must be torn, or clean where nothing of the record is left.
func TestTornTail(t *testing.T) {
	for _, recyc := range []bool{false, true} {
		good, starts := file(recyc, 3, 100, 40_000, 700, 70_000)
		last := starts[3]
		for cut := last; cut < len(good); cut += 1009 {
			recs, err := readAll(t, good[:cut], 3)
			require.Len(t, recs, 3)
			if cut == last {
				require.Equal(t, io.EOF, err)
				continue
			}
			var torn *TornError
			require.ErrorAs(t, err, &torn, "cut at %d", cut)
			require.EqualValues(t, last, torn.Offset)
		}
		for at := last; at < len(good); at += 997 {
			bad := bytes.Clone(good)
			bad[at] ^= 0x40
			recs, err := readAll(t, bad, 3)
			require.Len(t, recs, 3)
			var torn *TornError
			require.ErrorAs(t, err, &torn, "flip at %d", at)
		}
	}
}

// TestCorruption damages a record that others follow.
func TestCorruption(t *testing.T) {
	for _, recyc := range []bool{false, true} {
		good, starts := file(recyc, 3, 100, 40_000, 700, 300)
		for at := starts[1]; at < starts[2]; at += 401 {
			bad := bytes.Clone(good)
			bad[at] ^= 0x40
			recs, err := readAll(t, bad, 3)
			require.Len(t, recs, 1)
			ce, ok := corrupt.As(err)
			require.True(t, ok, "flip at %d: %v", at, err)
			require.EqualValues(t, starts[1], ce.Offset)
		}
		clear(good[starts[1]:starts[2]])
		_, err := readAll(t, good, 3)
		_, ok := corrupt.As(err)
		require.True(t, ok, "zeros: %v", err)
	}
}

// TestZeroTail reads files whose preallocated rest is zeros.
func TestZeroTail(t *testing.T) {
	for _, recyc := range []bool{false, true} {
		for _, n := range []int{0, 100, BlockSize - 12, BlockSize - 8, BlockSize, 50_000} {
			good, _ := file(recyc, 3, n)
			recs, err := readAll(t, append(good, make([]byte, 3*BlockSize)...), 3)
			require.Equal(t, io.EOF, err)
			require.Len(t, recs, 1)
		}
	}
}

// TestStaleDetectionFires overwrites the start of a recycled file: the old log's records must
// not come back, and reading under the wrong number must give nothing at all. The control
// shows that with one number for both lives they would come back.
func TestStaleDetectionFires(t *testing.T) {
	old, starts := file(true, 3, 1000, 1000, 1000, 1000)
	young, _ := file(true, 4, 1000, 1000)
	require.Equal(t, starts[2], len(young))
	recycled := append(bytes.Clone(young), old[len(young):]...)

	recs, err := readAll(t, recycled, 4)
	require.Equal(t, io.EOF, err)
	require.Len(t, recs, 2)

	recs, err = readAll(t, old, 4)
	require.Equal(t, io.EOF, err)
	require.Empty(t, recs)

	same, _ := file(true, 3, 1000, 1000)
	recs, err = readAll(t, append(same, old[len(same):]...), 3)
	require.Equal(t, io.EOF, err)
	require.Len(t, recs, 4)
}

// TestStaleCutsRecord ends a record of the new life in the old one's fragments.
func TestStaleCutsRecord(t *testing.T) {
	old, _ := file(true, 3, 200_000)
	young, _ := file(true, 4, 100, 100_000)
	recycled := append(young[:2*BlockSize], old[2*BlockSize:]...)
	recs, err := readAll(t, recycled, 4)
	require.Len(t, recs, 1)
	var torn *TornError
	require.ErrorAs(t, err, &torn)
	require.EqualValues(t, 111, torn.Offset)
	require.Contains(t, torn.Reason, "another log")
}

// fragmentOf makes a fragment of any type.
func fragmentOf(typ byte, logNum uint32, payload []byte) []byte {
	b := []byte{0, 0, 0, 0, byte(len(payload)), byte(len(payload) >> 8), typ}
	if hasLogNum(typ) {
		b = binary.LittleEndian.AppendUint32(b, logNum)
	}
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b, checksum(b[6:]))
	return b
}

func TestOtherTypes(t *testing.T) {
	full := fragmentOf(typeFull, 0, []byte("rec"))
	t.Run("compression is refused by name", func(t *testing.T) {
		_, err := readAll(t, append(fragmentOf(9, 0, []byte{7, 0, 0, 0}), full...), 0)
		var u *UnsupportedError
		require.ErrorAs(t, err, &u)
		require.Contains(t, err.Error(), "wal_compression")
	})
	t.Run("no compression is read", func(t *testing.T) {
		recs, err := readAll(t, append(fragmentOf(9, 0, make([]byte, 4)), full...), 0)
		require.Equal(t, io.EOF, err)
		require.Len(t, recs, 1)
	})
	t.Run("timestamps are refused by name", func(t *testing.T) {
		_, err := readAll(t, append(fragmentOf(11, 0, make([]byte, 8)), full...), 0)
		require.ErrorContains(t, err, "timestamps")
	})
	t.Run("ignorable types are skipped", func(t *testing.T) {
		f := append(fragmentOf(130, 0, make([]byte, 24)), fragmentOf(131, 0, make([]byte, 24))...)
		f = append(f, fragmentOf(200, 0, nil)...)
		recs, err := readAll(t, append(f, full...), 0)
		require.Equal(t, io.EOF, err)
		require.Len(t, recs, 1)
	})
	t.Run("unknown types are damage", func(t *testing.T) {
		_, err := readAll(t, append(fragmentOf(77, 0, nil), full...), 0)
		_, ok := corrupt.As(err)
		require.True(t, ok, "%v", err)
	})
	t.Run("an empty First before a Full is an old writer's habit", func(t *testing.T) {
		recs, err := readAll(t, append(fragmentOf(typeFirst, 0, nil), full...), 0)
		require.Equal(t, io.EOF, err)
		require.Equal(t, [][]byte{[]byte("rec")}, recs)
	})
	t.Run("a First with bytes before a Full is damage", func(t *testing.T) {
		_, err := readAll(t, append(fragmentOf(typeFirst, 0, []byte("x")), full...), 0)
		_, ok := corrupt.As(err)
		require.True(t, ok, "%v", err)
	})
	t.Run("a Last alone is damage", func(t *testing.T) {
		_, err := readAll(t, append(fragmentOf(typeLast, 0, []byte("x")), full...), 0)
		_, ok := corrupt.As(err)
		require.True(t, ok, "%v", err)
	})
}

// TestReadError: an error of the device is neither an end nor damage.
func TestReadError(t *testing.T) {
	good, _ := file(true, 3, 100, 40_000, 700)
	boom := errors.New("boom")
	for n := 0; n < len(good); n += 500 {
		r := NewReader(io.MultiReader(bytes.NewReader(good[:n]), iotest.ErrReader(boom)), "f", 3)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		require.ErrorIs(t, err, boom, "after %d bytes", n)
	}
}

// TestSmallReads hands the file out in small pieces.
func TestSmallReads(t *testing.T) {
	good, _ := file(false, 0, 100, 40_000, 700)
	r := NewReader(iotest.HalfReader(bytes.NewReader(good)), "f", 0)
	for range 3 {
		_, err := r.Next()
		require.NoError(t, err)
	}
	_, err := r.Next()
	require.Equal(t, io.EOF, err)
}

// TestResyncAlign: what looks like a record inside a value is found at any byte, but not at a
// coarse alignment.
func TestResyncAlign(t *testing.T) {
	nested := AppendRecord(nil, 0, 3, true, []byte("a value that was cut out of a log"))
	outer := AppendRecord(nil, 0, 3, true, append([]byte("some bytes"), nested...))
	outer[0] ^= 1
	for align, want := range map[int]bool{1: true, 4096: false} {
		r := NewLogReader(bytes.NewReader(outer), "f", 3)
		_, err := r.Next()
		var torn *TornError
		require.ErrorAs(t, err, &torn)
		found, err := r.Resync(align)
		require.NoError(t, err)
		require.Equal(t, want, found, "align %d", align)
	}
}

func TestErrorTexts(t *testing.T) {
	good, _ := file(true, 3, 100)
	good[20] ^= 1
	_, err := readAll(t, good, 3)
	require.True(t, strings.HasPrefix(err.Error(), "f: torn at 0x0: crc32c want "), err.Error())
}

func FuzzReader(f *testing.F) {
	for _, recyc := range []bool{false, true} {
		good, _ := file(recyc, 3, 10, 40_000, 0, 700)
		f.Add(good)
		f.Add(good[:len(good)-5])
	}
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), "f", 3)
		total := 0
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			if total += len(rec); total > len(b) {
				t.Fatalf("%d bytes of records in a file of %d", total, len(b))
			}
		}
		l := NewLogReader(bytes.NewReader(b), "f", 3)
		for range len(b) + 2 {
			for {
				if _, err := l.Next(); err != nil {
					break
				}
			}
			if found, _ := l.Resync(1); !found {
				return
			}
		}
		t.Fatal("Resync does not advance")
	})
}
