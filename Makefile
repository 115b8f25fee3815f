# Everything that is done to this repository. CI calls `.ci/run`, which calls `make check`.
#
# There is one dev profile and one target directory: what one part compiled, the next one finds.

.PHONY: help check fmt clippy doc sqlx test crash bench prepare openapi demo deny

help: ## what can be made
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

check: ## everything that must hold before a change is merged, each part once, with its seconds
	@scripts/parts fmt clippy doc sqlx test

fmt: ## the code is formatted
	cargo fmt --all -- --check

clippy: ## no lint has anything to say
	cargo clippy --locked --all-targets -- -D warnings

doc: ## the documentation builds and its links lead somewhere
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# A fresh copy is made against a throw-away server and compared: a query whose metadata is missing or
# stale would only fail for whoever builds without a database.
sqlx: ## .sqlx is what the queries and migrations say
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	  scripts/prepare "$$fresh" && diff -r .sqlx "$$fresh" || \
	  { echo "the query metadata is stale: run make prepare and commit .sqlx" >&2; exit 1; }

test: ## all tests (openapi.yaml and the rules of the house are among them)
	cargo test --locked

# The same test as in `make check`, for longer. Say more with CREMA_CRASH_ORDERS=… CREMA_CRASH_SECONDS=…
CREMA_CRASH_ORDERS ?= 2000
CREMA_CRASH_SECONDS ?= 300
crash: ## SIGKILL at random for some minutes, then an audit of books and ledgers
	CREMA_CRASH_ORDERS=$(CREMA_CRASH_ORDERS) CREMA_CRASH_SECONDS=$(CREMA_CRASH_SECONDS) \
	  cargo test --locked --test crash -- --nocapture

bench: ## throughput and latency, as ratios within one run
	cargo bench --locked --benches

prepare: ## write .sqlx anew, after a change to a query or a migration
	scripts/prepare

openapi: ## write openapi.yaml anew, after a change to the API
	@cargo run --locked --quiet -- openapi > openapi.yaml.new && mv openapi.yaml.new openapi.yaml

demo: ## four orders against a server of their own: completed, declined, refunded, cancelled
	cargo build --locked
	@scripts/demo

deny: ## licences, advisories and sources of the dependencies (needs cargo-deny)
	cargo deny --locked check
