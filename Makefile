# Everything here works with Go, git and make, but where a target says otherwise.
SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
GOBIN   := $(CURDIR)/bin
# Every Go module of the repository, this one first.
MODULES := $(sort $(patsubst ./%,%,$(patsubst %/,%,$(dir $(shell find . -name go.mod -not -path '*/node_modules/*' -not -path '*/testdata/*')))))
# More flags for go test, such as TESTFLAGS='-run Echo'.
TESTFLAGS ?=
FUZZTIME  ?= 10s
SEEDS     ?= 20000
FROM      ?= 1
SOAK      ?= 30m

# 2026.2.2
STATICCHECK_VERSION := v0.8.2
# Later ones build rpms with a module that the module proxy does not have.
NFPM_VERSION := v2.43.0

# go_test runs the tests of modules $(1) with flags $(2) and sums them up as $(3).
define go_test
	@for m in $(1); do (cd $$m && $(GO) test -json $(2) $(TESTFLAGS) ./...) || echo '{"Action":"exit"}'; done \
	| $(GO) run ./.ci/summary.go -label '$(3)' $(if $(TOTALS),-append '$(TOTALS)')
endef

##@ Every day

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## the demo on http://127.0.0.1:8080
	$(GO) run . demo

.PHONY: build
build: ## the binary, ./weir
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o weir .

.PHONY: test
test: ## every test of every module; names what it skips for want of a tool
	$(call go_test,$(MODULES),,test)

.PHONY: race
race: ## the tests under the race detector (needs a C compiler)
	$(call go_test,.,-race,race)

.PHONY: soak
soak: ## good clients and random faults for SOAK (30m), then the simulator for SEEDS (20000) seeds from FROM (1) on
	WEIR_SOAK=$(SOAK) $(GO) test ./chaos -run TestSoak -count=1 -timeout 3h -v
	WEIR_SIM_SEEDS=$(SEEDS) WEIR_SIM_FROM=$(FROM) $(GO) test ./internal/sim -run TestRandomSeeds -count=1 -timeout 2h -v

.PHONY: test-heap
test-heap: ## guest memory as on systems without mmap
	@$(GO) test -json -tags guestheap -run 'Memor|Guests|Recycled' ./runtime | $(GO) run ./.ci/summary.go -label test-heap $(if $(TOTALS),-append '$(TOTALS)')

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@GO='$(GO)' .ci/fuzz '$(FUZZTIME)' $(MODULES)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and vet for the other systems (needs make tools)
	@GO='$(GO)' STATICCHECK='$(GOBIN)/staticcheck' .ci/lint $(MODULES)

# C; JavaScript's engine; Rust; tests of hostile modules; the browser test; tests of TLS and of a failing system.
DEBIAN_TOOLS := clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32 rustc libstd-rust-dev-wasm32 cargo wabt chromium openssl strace iproute2 util-linux
# promtool is taken out of the package prometheus: to install that would start a server.

.PHONY: tools
tools: ## what the five languages, lint, release and the browser test need (Debian, as root)
	@command -v apt-get >/dev/null || { echo 'make tools installs with apt-get (Debian, Ubuntu).'; \
	  echo 'Elsewhere see what `weir doctor` says, and install wabt and chromium.'; exit 1; }
	@missing=(); for p in $(DEBIAN_TOOLS); do dpkg -s $$p >/dev/null 2>&1 || missing+=($$p); done; \
	command -v node >/dev/null || missing+=(nodejs npm); command -v gcc >/dev/null || missing+=(gcc libc6-dev); \
	if [ $${#missing[@]} -gt 0 ]; then set -x; apt-get update -q; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$${missing[@]}"; fi
	@test -x $(GOBIN)/promtool || { folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; set -x; cd "$$folder"; \
	  apt-get download -q prometheus || { apt-get update -q; apt-get download -q prometheus; }; \
	  dpkg -x prometheus_*.deb .; install -D usr/bin/promtool $(GOBIN)/promtool; }
	GOBIN=$(GOBIN) $(GO) install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	GOBIN=$(GOBIN) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@for folder in $(NPM_FOLDERS); do \
	  cmp -s $$folder/package-lock.json $$folder/node_modules/.installed && continue; \
	  (set -x; cd $$folder && npm ci --no-audit --no-fund && cp package-lock.json node_modules/.installed); done
	@$(MAKE) --no-print-directory js-engine

.PHONY: js-engine
js-engine: ## the engine for JavaScript, half a minute (needs make tools); `make build` puts it into weir
	@guest-sdk/js/engine/build || [ $$? -eq 3 ] # 3: it has said why it is skipped

# Folders whose packages the tests need.
NPM_FOLDERS := . test/browser

.PHONY: release
release: ## archives, deb and rpm of every system in dist/ (needs make tools); the same commit gives the same bytes
	GO='$(GO)' NFPM='$(GOBIN)/nfpm' deploy/release dist

.PHONY: clean
clean: ## remove what the other targets leave here
	rm -rf weir dist bin node_modules test/browser/node_modules guest-sdk/js/engine/built/*.wasm

##@ Generated files

.PHONY: abi
abi: ## the ABI's tables and bindings, from guest-sdk/abi.toml, and the SDK that weir new writes
	$(GO) run ./guest-sdk/gen
	$(GO) generate ./guest-sdk

.PHONY: abi-check
abi-check: ## fail if they have drifted from it
	$(GO) run ./guest-sdk/gen -check

.PHONY: docs
docs: ## docs/config.md, from the structs; docs/metrics.md, deploy and openapi.json, from the tables of internal/admin
	$(GO) test ./internal/config -run TestGenerated -update
	$(GO) test ./internal/admin -run TestGenerated -update

.PHONY: faults
faults: ## docs/faults.md, from a run of the tests in chaos, a minute and a half
	WEIR_FAULTS_OUT='$(CURDIR)/docs/faults.md' $(GO) test ./chaos -count=1 -skip TestTheListOfFaultsNamesEveryOne
	$(GO) test ./chaos -count=1 -run TestTheListOfFaultsNamesEveryOne

##@ Guests

# The C guests are small and committed: a clone serves them with only Go at hand, and guests-check holds them to their
# source, byte for byte. The Go guests are large and are not committed.
CLANG         ?= clang-14
GUEST_CFLAGS  := --target=wasm32 -std=c11 -O2 -nostdlib -fno-ident -Wall -Wextra -Werror -I guest-sdk/c \
                 -Wl,--no-entry -Wl,-z,stack-size=65536 -Wl,--stack-first -Wl,--strip-debug -Wl,--compress-relocations
GUEST_HEADERS := guest-sdk/c/weir.h guest-sdk/c/weir_abi.h guest-sdk/c/weir_json.h
C_GUESTS      := examples/echo-c/echo.wasm examples/publish-c/publish.wasm internal/cli/demo/chat.wasm host/testdata/puppet.wasm \
                 host/testdata/metrics.wasm \
                 internal/wasm/testdata/kernels/kernels.wasm
GO_GUESTS     := examples/echo-go/echo.wasm examples/chat-go/chat.wasm examples/ticker-go/ticker.wasm examples/auth-go/auth.wasm \
                 examples/room-go/room.wasm

.PHONY: guests
guests: $(C_GUESTS) ## build the C guests that are committed (needs make tools)

examples/echo-c/echo.wasm: examples/echo-c/echo.c
examples/publish-c/publish.wasm: examples/publish-c/publish.c
internal/cli/demo/chat.wasm: examples/chat-c/chat.c
host/testdata/puppet.wasm: host/testdata/puppet.c
host/testdata/metrics.wasm: host/testdata/metrics.c
internal/wasm/testdata/kernels/kernels.wasm: internal/wasm/testdata/kernels/kernels.c
$(C_GUESTS): $(GUEST_HEADERS)
	$(CLANG) $(GUEST_CFLAGS) -o $@ $(filter %.c,$^)
	@chmod 644 $@

.PHONY: guests-check
guests-check: ## fail if they are not what their source builds
	@kept=$$(mktemp -d); trap 'rm -rf "$$kept"' EXIT; cp --parents $(C_GUESTS) $$kept; \
	$(MAKE) --no-print-directory -s -B guests; \
	for guest in $(C_GUESTS); do \
	  cmp $$guest $$kept/$$guest || { cp -a $$kept/. .; echo "$$guest is not what its source builds; make -B guests"; exit 1; }; \
	done

.PHONY: guests-go
guests-go: $(GO_GUESTS) ## build the Go guests

.PHONY: $(GO_GUESTS) # go build knows better than make what is up to date
$(GO_GUESTS):
	cd $(@D) && GOOS=wasip1 GOARCH=wasm $(GO) build -buildmode=c-shared -ldflags='-s -w' -o $(@F) .

.PHONY: guests-all
guests-all: guests guests-go guests-rust guests-assemblyscript guests-ts ## build the examples in every language (needs make tools)

.PHONY: guests-rust guests-assemblyscript guests-ts
guests-rust guests-assemblyscript guests-ts: guests-%: build
	@for folder in examples/*-$*; do ./weir build $$folder -o $$folder/$$(basename $$folder -$*).wasm; done

.PHONY: conformance
conformance: ## every language against every scenario, as a table
	@table=$$(mktemp); trap 'rm -f $$table' EXIT; \
	CONFORMANCE_TABLE=$$table $(GO) test ./guest-sdk/conformance -count=1 -run 'TestEveryLanguagePassesEveryScenario' || failed=1; \
	cat $$table; exit $${failed:-0}

##@ Benchmarks

.PHONY: bench
bench: build bench-tools ## compare weir with its peers, less than 10 minutes; writes docs/bench
	cd bench && ../bin/bench -weir ../weir -peer ../bin/peer -out ../docs/bench $(BENCHFLAGS)

.PHONY: bench-quick
bench-quick: build bench-tools ## the same in less than a minute; decides nothing, writes nothing
	cd bench && ../bin/bench -weir ../weir -peer ../bin/peer -quick $(BENCHFLAGS)

.PHONY: bench-meter
bench-meter: build bench-tools ## what metering costs, some four minutes (needs make tools); writes docs/bench
	cd bench && ../bin/meter -weir ../weir -out ../docs/bench -clang '$(CLANG)' $(METERFLAGS)

# More flags for meter, such as METERFLAGS='-only mandelbrot-C -rounds 3'.
METERFLAGS ?=

# More flags for bench, such as BENCHFLAGS='-only echo-1000x128 -servers weir,raw,gws'.
BENCHFLAGS ?=

.PHONY: bench-swap
bench-swap: build bench-tools ## replace a module under load, ten times in half a minute (needs make tools); writes docs/bench/swap.md
	cd bench && ../bin/swap -weir ../weir -out ../docs/bench -clang '$(CLANG)' $(SWAPFLAGS)

# More flags for swap, such as SWAPFLAGS='-conns 200 -rate 2000 -swaps 3'.
SWAPFLAGS ?=

.PHONY: bench-overload
bench-overload: build bench-tools ## offer twice as much as the server can do, less than two minutes (needs make tools); writes docs/bench/overload.md
	cd bench && ../bin/overload -weir ../weir -out ../docs/bench -clang '$(CLANG)' $(OVERLOADFLAGS)

# More flags for overload, such as OVERLOADFLAGS='-only waiting -rounds 5 -over 10s'.
OVERLOADFLAGS ?=

.PHONY: bench-tls
bench-tls: build bench-tools ## compare weir with gorilla where both speak TLS, a minute
	cd bench && ../bin/secure -weir ../weir -peer ../bin/peer $(TLSFLAGS)

# More flags for secure, such as TLSFLAGS='-rounds 9 -idle 0'.
TLSFLAGS ?=

.PHONY: bench-languages
bench-languages: ## what a message costs in each language, two minutes; writes docs/bench/languages.md
	$(GO) test ./guest-sdk/conformance -count=1 -timeout 20m -run TestMeasure -measure ../../docs/bench/languages.md

.PHONY: bench-tools
bench-tools:
	cd bench && CGO_ENABLED=0 $(GO) build -trimpath -o $(GOBIN)/ ./cmd/...
