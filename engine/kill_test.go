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

// killDir is set in the child process that TestKillAtRandomMoments starts from its own binary.
const killDir = "CAMBIUM_TEST_KILL_DIR"

const killWriters = 4

// TestKillAtRandomMoments kills a process with a mixed load, per-write sync, 200 times at random
// moments, and reopens: every acknowledged write is there, and nothing that was never written.
func TestKillAtRandomMoments(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		killChild(dir)
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
	total := uint64(0)
	for kill := range kills {
		a, b := runAndKill(t, dir, time.Duration(5+rng.IntN(60))*time.Millisecond)
		for w := range killWriters {
			acked[w], begun[w] = max(acked[w], a[w]), max(begun[w], b[w])
		}
		db := open(t, dir, engine.FlushOften(engine.Options{MemtableSize: 64 << 10}))
		for w := range killWriters {
			n, err := readCounter(db, w)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, acked[w], "kill %d: writer %d lost acknowledged writes", kill, w)
			require.LessOrEqual(t, n, begun[w], "kill %d: writer %d has what it never wrote", kill, w)
			require.NoError(t, checkTrail(db, w, n), "kill %d", kill)
			total += n - acked[w]
			acked[w], begun[w] = n, n
		}
		require.NoError(t, db.Close())
	}
	sum := uint64(0)
	for _, n := range acked {
		sum += n
	}
	require.NoError(t, engine.Check(dir))
	t.Logf("%d kills, %d writes by %d writers, all acknowledged ones kept; %d more had reached the device", kills, sum, killWriters, total)
}

// runAndKill starts the child on dir, kills it after d of work, and returns for each writer the last
// write that was acknowledged and the last that had begun.
func runAndKill(t *testing.T, dir string, d time.Duration) (acked, begun [killWriters]uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillAtRandomMoments$")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
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
func killChild(dir string) {
	db, err := engine.Open(dir, engine.FlushOften(engine.Options{MemtableSize: 64 << 10}))
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
				if err := killWrite(db, dir, w, n); err != nil {
					fmt.Fprintln(os.Stderr, "child:", err)
					os.Exit(3)
				}
				say("ack", w, n)
			}
		})
	}
	wg.Wait()
}

const killTrail = 50

func killWrite(db *engine.DB, dir string, w int, n uint64) error {
	value := binary.BigEndian.AppendUint64(nil, n)
	if n%17 == 0 {
		return killIngest(db, fmt.Sprintf("%s-table-%d", dir, w), w, n, value)
	}
	if n%7 == 0 {
		// A swap of the counter alone would leave the trail behind: it writes the trail first.
		if err := db.Put(trailKey(w, n), value, nil); err != nil {
			return err
		}
		var old []byte
		if n > 1 {
			old = binary.BigEndian.AppendUint64(nil, n-1)
		}
		ok, err := db.CompareAndSwap(counterKey(w), old, value, nil)
		if err == nil && !ok {
			err = fmt.Errorf("swap of writer %d to %d lost although nobody else writes", w, n)
		}
		return err
	}
	b := db.NewBatch()
	b.Put(counterKey(w), value)
	b.Put(trailKey(w, n), append(value, make([]byte, n%1500)...))
	if n > killTrail {
		if n%5 == 0 {
			b.DeleteRange(trailKey(w, 0), trailKey(w, n-killTrail))
		} else {
			b.Delete(trailKey(w, n-killTrail-1))
		}
	}
	return db.Apply(b, nil)
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
