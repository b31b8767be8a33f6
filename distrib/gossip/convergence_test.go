package gossip

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConvergence counts the rounds until all nodes know news that one has, by the rule alone: each round, every
// node that knows tells two others at random, as long as it has told it fewer times than memberlist repeats
// a message, 4 * ceil(log10(n+1)). It is a model in rounds, not memberlist itself.
func TestConvergence(t *testing.T) {
	const seeds = 50
	for _, n := range []int{10, 100, 1000} {
		worst, sum := 0, 0
		for seed := range uint64(seeds) {
			rounds := spread(n, rand.New(rand.NewPCG(seed, uint64(n))))
			worst, sum = max(worst, rounds), sum+rounds
		}
		log2 := math.Log2(float64(n))
		t.Logf("%4d nodes: %.1f rounds on average, %d at worst of %d; log2 N is %.1f", n, float64(sum)/seeds, worst, seeds, log2)
		require.LessOrEqual(t, float64(worst), 2*log2+3)
		require.GreaterOrEqual(t, float64(sum)/seeds, log2/math.Log2(3), "no round more than triples who knows")
	}
}

func spread(n int, rng *rand.Rand) (rounds int) {
	limit := 4 * int(math.Ceil(math.Log10(float64(n+1)))) // messages, two a round
	told := make([]int, n)
	knows := make([]bool, n)
	knows[0] = true
	for known := 1; known < n; rounds++ {
		var news []int
		for node := range n {
			if !knows[node] || told[node] >= limit {
				continue
			}
			first := rng.IntN(n - 1)
			for _, to := range []int{first, (first + 1 + rng.IntN(n-2)) % (n - 1)} {
				if to >= node {
					to++ // not itself
				}
				news = append(news, to)
			}
			told[node] += 2
		}
		if len(news) == 0 {
			return math.MaxInt // it died out
		}
		for _, to := range news {
			if !knows[to] {
				knows[to] = true
				known++
			}
		}
	}
	return rounds
}
