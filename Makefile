# One line a target; the work is in deployment/. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help demo demo-kafka cluster-demo test test-all sim verify advisories bench bench-kafka build plugins book setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
demo: ## count the words of real texts (TEXT=dir for your own) and compare with sort | uniq
	@deployment/demo.sh files
demo-kafka: ## the same through a real Kafka (KAFKA=host:port for your own)
	@deployment/demo.sh kafka
cluster-demo: ## a cluster with Kafka and MinIO: kill its nodes, cut a link, scale the job, and compare the result
	@deployment/cluster-demo.sh
test: setup ## all tests: unit, golden, contract, end to end with a real Kafka
	@deployment/test.sh
test-all: setup ## the tests and the long ones
	@deployment/test.sh all
sim: ## whole jobs in one thread under faults (SEEDS=1000; SEED=7 for one, with its trace)
	@SEEDS=$(SEEDS) SEED=$(SEED) FROM=$(FROM) deployment/sim.sh
chaos: ## kill everything again and again and count what is lost (ROUNDS=300 SEED=7 MODE=cluster|naive)
	@deployment/chaos.sh $(or $(ROUNDS),50) $(or $(SEED),1) $(MODE)
verify: setup ## format, lints, doctests, tidiness, licences
	@deployment/verify.sh
advisories: setup ## known vulnerabilities of dependencies; fetches a database
	@bash -c '. deployment/paths.sh && cargo deny check advisories'
bench: ## figures of the boundary, the state and the exchange between workers (ARGS="-- JSON" for some of them)
	@deployment/bench.sh parts $(ARGS)
bench-kafka: ## figures of whole pipelines through a real Kafka (ARGS="--rounds 1")
	@deployment/bench.sh kafka $(ARGS)
build: ## the daemon flowd and the command flowctl
	@deployment/build.sh
plugins: ## the operators under plugins/ as Wasm components
	@deployment/setup.sh build rocksdb wasm python
	@deployment/plugins.sh
book: setup ## the documentation, rendered
	@deployment/book.sh
setup: ## install what this machine lacks
	@deployment/setup.sh
clean: ## delete what was built, keep what was fetched
	@bash -c '. deployment/paths.sh && rm -rf "$$flow_cache"/{target,operators,plugins,components,book}'
