package filename

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
)

var names = []struct {
	base string
	t    Type
	num  uint64
}{
	{"000007.sst", Table, 7},
	{"1000007.sst", Table, 1000007},
	{"000000.sst", Table, 0},
	{"000010.blob", Blob, 10},
	{"000004.log", Log, 4},
	{"000005.dbtmp", Temp, 5},
	{"MANIFEST-000005", Manifest, 5},
	{"MANIFEST-18446744073709551615", Manifest, 1<<64 - 1},
	{"OPTIONS-000007", Options, 7},
	{"CURRENT", Current, 0},
	{"IDENTITY", Identity, 0},
	{"LOCK", LockFile, 0},
	{"LOG", InfoLog, 0},
	{"LOG.old.1795422945", InfoLog, 1795422945},
	{"CAMBIUM-LEDGER", Ledger, 0},
	{"CAMBIUM-DEAD", Dead, 0},
}

func TestNames(t *testing.T) {
	for _, n := range names {
		require.Equal(t, n.base, Base(n.t, n.num))
		typ, num, ok := Parse(n.base)
		require.True(t, ok, n.base)
		require.Equal(t, n.t, typ, n.base)
		require.Equal(t, n.num, num, n.base)
		require.NotEmpty(t, typ.String())
	}
	require.Equal(t, "type(99)", Type(99).String())
	require.Empty(t, Base(Unknown, 3))
}

func TestPath(t *testing.T) {
	require.Equal(t, "db/000007.sst", Path("db", Table, 7))
	require.Equal(t, "/000007.sst", Path("/", Table, 7))
	require.Equal(t, "000007.sst", Path("", Table, 7))
}

// A name that Parse accepts may be removed by RocksDB and by us, under exactly that name.
func TestParseRefuses(t *testing.T) {
	for _, base := range []string{
		"", ".", "..", "sst", ".sst", "7.sst", "0000007.sst", "+00007.sst", "-00007.sst", " 000007.sst", "000007.SST", "000007.sst ",
		"000007.sst.bak", "00000x.sst", "000007.ldb", "000007", "MANIFEST", "MANIFEST-", "MANIFEST-5", "MANIFEST-00005x",
		"MANIFEST-18446744073709551616", "OPTIONS-000007.dbtmp", "current", "CURRENT.bak", "IDENTITY.1", "LOG.old", "LOG.old.", "LOG.old.0", "LOG.old.x",
		"archive", "cambium-ledger", "CAMBIUM-LEDGER.1", "db/000007.sst",
	} {
		typ, num, ok := Parse(base)
		require.False(t, ok, "%q is %s %d", base, typ, num)
		require.Equal(t, Unknown, typ)
	}
}

func FuzzParse(f *testing.F) {
	for _, n := range names {
		f.Add(n.base)
	}
	f.Fuzz(func(t *testing.T, base string) {
		if typ, num, ok := Parse(base); ok {
			require.Equal(t, base, Base(typ, num))
		}
	})
}

func TestCurrent(t *testing.T) {
	mem := newDir(t)
	_, err := ReadCurrent(mem, "db")
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, SetCurrent(mem, "db", 5))
	require.NoError(t, SetCurrent(mem, "db", 123456789))
	num, err := ReadCurrent(mem, "db")
	require.NoError(t, err)
	require.EqualValues(t, 123456789, num)
	list, err := mem.List("db")
	require.NoError(t, err)
	require.Equal(t, []string{"CURRENT"}, list)
}

func TestBadCurrent(t *testing.T) {
	for _, content := range []string{"", "\n", "MANIFEST-000005", "MANIFEST-000005\n\n", "MANIFEST-5\n", "000005.sst\n", "../MANIFEST-000005\n", string(make([]byte, 5000))} {
		mem := newDir(t)
		require.NoError(t, Publish(mem, "db", "CURRENT", 1, []byte(content)))
		_, err := ReadCurrent(mem, "db")
		ce, ok := corrupt.As(err)
		require.True(t, ok, "%q: %v", content, err)
		require.Equal(t, "db/CURRENT", ce.File)
	}
}

// Wherever the power fails, CURRENT names the old manifest or the new one, and it is the new
// one once SetCurrent has returned.
func TestPublishCrash(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := newDir(t)
		require.NoError(t, SetCurrent(mem, "db", 5))
		var crashed []*vfs.Mem
		mem.SetSyncHook(func(string, string) { crashed = append(crashed, mem.Crash(rng)) })
		require.NoError(t, SetCurrent(mem, "db", 6))
		require.Len(t, crashed, 4, "before and after the file's sync and the directory's")
		for i, after := range crashed {
			num, err := ReadCurrent(after, "db")
			require.NoError(t, err, "seed %d point %d", seed, i)
			require.Contains(t, []uint64{5, 6}, num)
		}
		num, err := ReadCurrent(mem.Crash(rng), "db")
		require.NoError(t, err)
		require.EqualValues(t, 6, num)
	}
}

// An error at any operation leaves the old content readable or the new one, and no temporary
// file unless it could not be removed.
func TestPublishErrors(t *testing.T) {
	count := vfs.NewFault(newDir(t))
	calls := count.Add(vfs.Rule{Ops: vfs.OpChange | vfs.OpClose})
	require.NoError(t, SetCurrent(count, "db", 6))
	require.Equal(t, 6, calls.Calls())
	for n := range calls.Calls() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			mem := newDir(t)
			require.NoError(t, SetCurrent(mem, "db", 5))
			fault := vfs.NewFault(mem)
			fault.Add(vfs.Rule{Ops: vfs.OpChange | vfs.OpClose, Skip: n, Err: vfs.ErrNoSpace})
			err := SetCurrent(fault, "db", 6)
			require.ErrorIs(t, err, vfs.ErrNoSpace)
			require.ErrorContains(t, err, "CURRENT")
			num, err := ReadCurrent(mem, "db")
			require.NoError(t, err)
			require.Contains(t, []uint64{5, 6}, num)
			list, err := mem.List("db")
			require.NoError(t, err)
			require.Equal(t, []string{"CURRENT"}, list)
		})
	}
	fault := vfs.NewFault(newDir(t))
	require.NoError(t, SetCurrent(fault, "db", 5))
	fault.Add(vfs.Fail(vfs.OpRead, 0))
	_, err := ReadCurrent(fault, "db")
	require.ErrorIs(t, err, vfs.ErrInjected, "an I/O error is not an empty file")
	require.False(t, errors.Is(err, fs.ErrNotExist))
}

func newDir(t *testing.T) *vfs.Mem {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("db"))
	require.NoError(t, mem.SyncDir(""))
	return mem
}
