package engine_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// killDir and killCase are set in the child process that TestKillAtRandomMoments starts from its own binary.
const (
	killDir  = "CAMBIUM_TEST_KILL_DIR"
	killCase = "CAMBIUM_TEST_KILL_CASE"
)

// killCases is how many cases there are: each policy of compaction with each of syncing the log.
const killCases = 9

// killSync is how the writes of a case are synced, but for every killMark-th.
func killSync(n int) *engine.WriteOptions {
	return &engine.WriteOptions{Sync: []engine.Sync{engine.SyncPerWrite, engine.SyncPerSecond, engine.SyncNone}[n/3%3]}
}

// killMark is how often a writer syncs a write of its own, which makes all before it durable.
const killMark = 10

// killOptions are small, and such that half of the trail's values stand in blob files.
func killOptions(n int) *engine.Options {
	policy := []engine.Compaction{engine.Leveled, engine.Tiered, engine.LazyLeveled}[n%3]
	return engine.FlushOften(engine.Options{MemtableSize: 64 << 10, ValueThreshold: 700, Compaction: policy})
}

const killWriters = 4

// TestKillAtRandomMoments kills a process with a mixed load 200 times at random moments, with one policy of
// compaction and of syncing after the other on the same directory, and reopens: each writer's writes are there up to
// some, with none missing before it; that is at or behind the last one that was acknowledged and synced, since
// whoever does not sync may lose the end; and nothing is there that was never written.
func TestKillAtRandomMoments(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		n, err := strconv.Atoi(os.Getenv(killCase))
		require.NoError(t, err)
		killChild(dir, n)
		return
	}
	kills := 200
	if testing.Short() {
		kills = 15
	}
	if os.Getenv("CAMBIUM_SOAK") != "" {
		kills = 2000
	}
	dir := filepath.Join(t.TempDir(), "db") // tables lie beside it
	rng := rand.New(rand.NewPCG(11, 11))
	var acked, begun [killWriters]uint64
	total, blobs := uint64(0), 0
	for kill := range kills {
		a, b := runAndKill(t, dir, kill%killCases, time.Duration(5+rng.IntN(60))*time.Millisecond)
		for w := range killWriters {
			acked[w], begun[w] = max(acked[w], a[w]), max(begun[w], b[w])
		}
		db := open(t, dir, killOptions(kill%killCases))
		for w := range killWriters {
			n, err := readCounter(db, w)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, acked[w], "kill %d: writer %d lost synced writes", kill, w)
			require.LessOrEqual(t, n, begun[w], "kill %d: writer %d has what it never wrote", kill, w)
			require.NoError(t, checkTrail(db, w, n), "kill %d", kill)
			total += n - acked[w]
			acked[w], begun[w] = n, n
		}
		require.NoError(t, db.Close())
		names, err := filepath.Glob(filepath.Join(dir, "*.blob"))
		require.NoError(t, err)
		blobs = max(blobs, len(names))
	}
	require.NotZero(t, blobs, "some values stood in blob files")
	sum := uint64(0)
	for _, n := range acked {
		sum += n
	}
	require.NoError(t, engine.Check(dir))
	t.Logf("%d kills, %d writes by %d writers, all synced ones kept; %d more had reached the kernel", kills, sum, killWriters, total)
}

// runAndKill starts the child on dir, kills it after d of work, and returns for each writer the last
// write that was acknowledged and synced and the last that had begun.
func runAndKill(t *testing.T, dir string, n int, d time.Duration) (acked, begun [killWriters]uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillAtRandomMoments$")
	cmd.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprintf("%s=%d", killCase, n))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	sc := bufio.NewScanner(out)
	var timer *time.Timer
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) == 1 && f[0] == "ready" {
			timer = time.AfterFunc(d, func() { cmd.Process.Kill() })
			continue
		}
		if len(f) != 3 {
			continue // a line that the kill cut short
		}
		w, err1 := strconv.Atoi(f[1])
		n, err2 := strconv.ParseUint(f[2], 10, 64)
		if err1 != nil || err2 != nil || w >= killWriters {
			continue
		}
		switch f[0] {
		case "begin":
			begun[w] = max(begun[w], n)
		case "ack":
			acked[w] = max(acked[w], n)
		}
	}
	if timer == nil {
		cmd.Process.Kill()
	}
	err = cmd.Wait()
	require.NotNil(t, timer, "the child ended before it was ready: %v", err)
	timer.Stop()
	require.ErrorContains(t, err, "killed")
	return acked, begun
}

// killChild writes until it is killed. Write i of a writer puts the counter, adds a trail of
// recent numbers and removes old ones, in one batch; some writes delete ranges or swap, some are
// tables that are ingested.
func killChild(dir string, which int) {
	db, err := engine.Open(dir, killOptions(which))
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
	var mu sync.Mutex
	say := func(what string, w int, n uint64) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, "%s %d %d\n", what, w, n)
	}
	fmt.Fprintln(os.Stdout, "ready")
	var wg sync.WaitGroup
	for w := range killWriters {
		n, err := readCounter(db, w)
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(3)
		}
		wg.Go(func() {
			for {
				n++
				say("begin", w, n)
				sync := killSync(which)
				if n%killMark == 0 {
					sync.Sync = engine.SyncPerWrite
				}
				if err := killWrite(db, dir, w, n, sync); err != nil {
					fmt.Fprintln(os.Stderr, "child:", err)
					os.Exit(3)
				}
				if sync.Sync == engine.SyncPerWrite || n%killTables == 0 {
					say("ack", w, n)
				}
			}
		})
	}
	wg.Wait()
}

const killTrail = 50

// killTables is how often a writer ingests a table, which is durable.
const killTables = 17

func killWrite(db *engine.DB, dir string, w int, n uint64, sync *engine.WriteOptions) error {
	value := binary.BigEndian.AppendUint64(nil, n)
	if n%killTables == 0 {
		return killIngest(db, fmt.Sprintf("%s-table-%d", dir, w), w, n, value)
	}
	if n%7 == 0 {
		// A swap of the counter alone would leave the trail behind: it writes the trail first.
		if err := db.Put(trailKey(w, n), value, sync); err != nil {
			return err
		}
		var old []byte
		if n > 1 {
			old = binary.BigEndian.AppendUint64(nil, n-1)
		}
		ok, err := db.CompareAndSwap(counterKey(w), old, value, sync)
		if err == nil && !ok {
			err = fmt.Errorf("swap of writer %d to %d lost although nobody else writes", w, n)
		}
		return err
	}
	b := db.NewBatch()
	b.Put(counterKey(w), value)
	b.Put(trailKey(w, n), append(value, make([]byte, n*37%1500)...))
	if n > killTrail {
		if n%5 == 0 {
			b.DeleteRange(trailKey(w, 0), trailKey(w, n-killTrail))
		} else {
			b.Delete(trailKey(w, n-killTrail-1))
		}
	}
	return db.Apply(b, sync)
}

func killIngest(db *engine.DB, path string, w int, n uint64, value []byte) error {
	table, err := engine.NewTableWriter(path, nil)
	if err != nil {
		return err
	}
	table.Put(counterKey(w), value)
	if n > killTrail {
		table.Delete(trailKey(w, n-killTrail-1))
	}
	table.Put(trailKey(w, n), value)
	if err := table.Close(); err != nil { // tells of the others too
		return err
	}
	return db.Ingest(path)
}

func counterKey(w int) []byte         { return fmt.Appendf(nil, "counter-%d", w) }
func trailKey(w int, n uint64) []byte { return fmt.Appendf(nil, "trail-%d-%012d", w, n) }

func readCounter(db *engine.DB, w int) (uint64, error) {
	v, err := db.Get(counterKey(w))
	if err != nil {
		if strings.Contains(err.Error(), engine.ErrNotFound.Error()) {
			return 0, nil
		}
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// checkTrail verifies that the last killTrail numbers up to n are all there and right.
func checkTrail(db *engine.DB, w int, n uint64) error {
	from := uint64(1)
	if n > killTrail {
		from = n - killTrail + 1
	}
	for i := from; i <= n; i++ {
		v, err := db.Get(trailKey(w, i))
		if err != nil {
			return fmt.Errorf("writer %d: trail %d of %d: %w", w, i, n, err)
		}
		if got := binary.BigEndian.Uint64(v); got != i {
			return fmt.Errorf("writer %d: trail %d holds %d", w, i, got)
		}
	}
	return nil
}
