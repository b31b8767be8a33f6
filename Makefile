# Everything a newcomer needs: `make run` and `make test`. `make help` lists the rest.

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.7.0
FUZZTIME    ?= 30s
SEEDS       ?= 10000
FROM        ?= 1
DATASET     ?= ../shared/data/real/debian-packages.jsonl.zst
RACE        := ./engine/... ./memtable/... ./wal/... ./internal/cache/... ./internal/manifest/... ./internal/vfs/... ./compaction/... ./distrib/...

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: check-tools
check-tools:
	@.ci/tools build

.PHONY: build
build: check-tools ## bin/kvnode, bin/kvctl and bin/kvbench
	$(GO) build -buildvcs=auto -o bin/ ./cmd/...

.PHONY: run
run: build ## a cluster of three nodes: a shell to play with, or without a terminal a guided tour
	@bin/kvnode demo

.PHONY: load
load: build ## load a real data set, read it back, verify it, print the write-amplification report
	@if [ -f "$(DATASET)" ]; then bin/kvbench load --verify "$(DATASET)"; \
	else echo "$(DATASET) is not here: generating a data set instead"; bin/kvbench load --verify --generate 60000; fi

.PHONY: test
test: ## everything a change must not break
	@.ci/tools test
	$(MAKE) lint unit controls race nocgo fuzz-short peers-test

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt-ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

.PHONY: unit
unit: ## unit, script, model, crash and interchange tests
	$(GO) test -timeout 20m ./...

.PHONY: race
race: ## the concurrent packages under the race detector
	@if [ "$$($(GO) env CGO_ENABLED)" = 0 ]; then echo "skipped: the race detector needs cgo and a C compiler"; \
	else set -ex; $(GO) test -race -short -timeout 20m $(RACE); $(GO) test -race -timeout 20m -run ConcurrentUse ./engine; fi

.PHONY: peers
peers: ## bin/kvbench-peers and bin/etcd-peer: Pebble, Badger, RocksDB, etcd and Redis beside this
	@.ci/tools peers
	cd perf/peers && $(GO) build $$(../../.ci/tools peers-tags) -o ../../bin/kvbench-peers ./kvbench-peers
	cd perf/peers && $(GO) build -o ../../bin/etcd-peer ./etcd-peer

.PHONY: peers-test
peers-test: ## RocksDB's library reads what we write, and we what it writes
	@.ci/tools peers
	cd perf/peers && $(GO) vet $$(../../.ci/tools peers-tags) ./... && $(GO) test $$(../../.ci/tools peers-tags) -timeout 10m ./...

.PHONY: nocgo
nocgo: ## build and test without a C compiler
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 $(GO) test -short -timeout 20m ./engine/... ./sstable/... ./perf/...

.PHONY: fuzz-short
fuzz-short: ## each fuzz target for 5 s, or 15 s with CI=true
	FUZZTIME=$$([ "$$CI" = true ] && echo 15s || echo 5s) .ci/fuzz

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (30s)
	FUZZTIME=$(FUZZTIME) .ci/fuzz

.PHONY: soak
soak: ## crash, model and race tests for a long time, real nodes that fail, and docs/soak.md; STEPS="chaos-3 topology" for some of it
	.ci/soak $(STEPS)

.PHONY: sim
sim: ## SEEDS simulated clusters from seed FROM on; it prints the next seed, and how to repeat one that fails
	$(GO) test -count=1 -timeout 0 ./distrib/sim -run 'TestSeeds$$' -from $(FROM) -seeds $(SEEDS) -v

.PHONY: controls
controls: ## known bugs are brought back: the simulator and the explorations find each
	$(GO) vet -tags bugs ./distrib/... ./internal/bugs
	$(GO) test -count=1 -tags bugs ./distrib/sim ./distrib/register -run Controls -v

.PHONY: bench
bench: build peers ## measure beside the peers and write docs/benchmarks.md; STEPS="deep ycsb" for some of it (takes an hour)
	.ci/bench $(STEPS)

.PHONY: microbench
microbench: ## benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchmem ./memtable ./sstable/... ./wal ./internal/cache ./compaction

.PHONY: memtable-bench
memtable-bench: ## the memtable beside Pebble's arenaskl, on one and two cores
	.ci/memtable-bench
