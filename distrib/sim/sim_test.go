package sim

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "what TestSeed runs")
	manySeeds = flag.Uint64("seeds", 0, "how many TestSeeds runs; 0 is 300, or 20 with -short")
	fromSeed  = flag.Uint64("from", 1, "the first that TestSeeds runs")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSeed runs one seed, and prints all that happens.
func TestSeed(t *testing.T) {
	if *oneSeed == 0 {
		t.Skip("-seed is not set")
	}
	r := Run(Options{Seed: *oneSeed, Log: os.Stdout})
	draw(t, r)
	r.Pages = nil
	t.Logf("%+v", *r)
	require.Empty(t, r.Violations)
}

// draw writes porcupine's pages; go test -artifacts -outputdir DIR keeps them.
func draw(t *testing.T, r *Result) {
	for key, page := range r.Pages {
		file := filepath.Join(t.ArtifactDir(), key+".html")
		require.NoError(t, os.WriteFile(file, page, 0o666))
		t.Logf("%s is drawn in %s", key, file)
	}
}

// TestSeeds runs many. make sim runs more of them.
func TestSeeds(t *testing.T) {
	if *manySeeds == 0 {
		*manySeeds = 300
		if testing.Short() {
			*manySeeds = 20
		}
	}
	var sum Stats
	var events uint64
	began := time.Now()
	report := func(next uint64) {
		t.Logf("%d seeds, the next is %d: %d events, %d reads, %d writes acknowledged; %d keys differed until all was compared, %d of them unnoted, %d late second copies came back; %d linearizable operations, and %d eventual writes carried out by registers, %d keys undecided; %v",
			next-*fromSeed, next, events, sum.Got, sum.Acked, sum.Different, sum.Unnoted, sum.Twice, sum.LinearDone, sum.Carried, sum.Undecided, time.Since(began).Round(time.Second))
	}
	for seed := *fromSeed; seed < *fromSeed+*manySeeds; seed++ {
		r := Run(Options{Seed: seed})
		events += r.Events
		sum.Got += r.Stats.Got
		sum.Acked += r.Stats.Acked
		sum.Different += r.Stats.Different
		sum.Unnoted += r.Stats.Unnoted
		sum.Twice += r.Stats.Twice
		sum.LinearDone += r.Stats.LinearDone
		sum.Carried += r.Stats.Carried
		sum.Undecided += r.Stats.Undecided
		if len(r.Violations) > 0 {
			draw(t, r)
			t.Fatalf("seed %d: %s\nto repeat it: go test ./distrib/sim -run 'TestSeed$' -seed %d -v -artifacts", seed, strings.Join(r.Violations, "\n"), seed)
		}
		if done := seed - *fromSeed + 1; done%1000 == 0 {
			report(seed + 1)
		}
	}
	report(*fromSeed + *manySeeds)
	require.NotZero(t, sum.Acked)
	require.NotZero(t, sum.LinearDone)
	require.NotZero(t, sum.Carried)
}

// TestSame runs seeds twice: the same happens.
func TestSame(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		a, b := Run(Options{Seed: seed}), Run(Options{Seed: seed})
		require.Equal(t, a, b, "seed %d", seed)
	}
}
