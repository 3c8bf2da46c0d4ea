SHELL := /bin/sh
.DEFAULT_GOAL := help

# Set in the environment of a build to check what is shipped:
# azd builds with GOOS=linux GOARCH=amd64 CGO_ENABLED=0 and no other flag.
BUILD := CGO_ENABLED=0 go build -trimpath

# The linter is a tool of a module of its own, so that go.mod names what the server
# uses and nothing else.
LINT := go tool -modfile tools/lint/go.mod golangci-lint

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What run and dev build: with EXAMPLES=on, the examples are served as well.
MAIN = $(if $(filter on,$(EXAMPLES)),./examples/server,.)
export MAIN

.PHONY: run
run: .bin/dev ## Start the server with a simulated tenant: no Azure account, nothing but Go; EXAMPLES=on: with the examples
	@exec .bin/dev .bin/app

.PHONY: dev
dev: .bin/dev ## The same, built and started again whenever a source changes
	@exec .bin/dev -watch .bin/app

# Built every time: Go knows what has changed. The first time takes a minute.
.PHONY: .bin/dev
.bin/dev:
	@mkdir -p .bin
	@if [ -x .bin/app ]; then exec env $(BUILD) -o .bin/app $(MAIN); fi; \
	printf 'Compiling, which takes a minute or two the first time '; \
	$(BUILD) -o .bin/app $(MAIN) & build=$$!; \
	while kill -0 $$build 2>/dev/null; do printf .; sleep 1; done; echo; wait $$build
	@$(BUILD) -o .bin/dev ./dev

# Whose token: USER=bob for this server's own; APP=robot ROLES=Mcp.Invoke or
# AGENT=researcher, with or without USER, for one of the simulated tenant. Shells
# set USER, so only what is written on the command line counts.
TOKEN_USER = $(if $(filter command line,$(origin USER)),$(USER))
token call: export DEV_APP = $(APP)
token call: export DEV_AGENT = $(AGENT)
token call: export DEV_ROLES = $(ROLES)
token call: export DEV_SCOPES = $(SCOPES)
token call: export DEV_USER = $(TOKEN_USER)
call: export DEV_TOOL = $(TOOL)
call: export DEV_ARGS = $(ARGS)

.PHONY: token
token: ## Print a token of the server that make run runs: USER=, or APP= ROLES=, or AGENT=
	@go run ./dev token

.PHONY: call
call: ## Call a tool of that server and print the result: TOOL= ARGS='{...}' USER=
	@go run ./dev call

.PHONY: rename
rename: ## Make this clone a module of your own: MODULE=example.com/you/name
	@go run ./dev/rename $(MODULE)

.PHONY: build
build: ## Build the handler as it is deployed: ./app
	$(BUILD) -ldflags='-s -w' -o app .

.PHONY: start
start: build ## Start under the real Functions host (needs func 4.5 or newer)
	@exec ./dev/func-start.sh

.PHONY: doctor
doctor: ## Check the settings in the environment and all that they name
	@go run . doctor

.PHONY: smoke
smoke: ## Walk a deployed server once, in your browser: make smoke URL=https://<host>/mcp
	@go run ./e2e/smoke $(URL)

.PHONY: check
check: e2e/node_modules/.installed ## The inner loop, in a minute: vet, and the tests without Chromium, with little of Azurite and fewer random steps
	go vet ./...
	go test -short -vet off -p 4 . ./handler/... ./dev/... ./infra/...

.PHONY: test
test: deps ## Everything: vet, linters, race detector, real clients, browser, conformance, some seconds of each fuzz
	go vet ./...
	$(LINT) run ./...
	go test -race -timeout 18m ./...
	@for module in $(MODULES); do echo "$$module"; (cd $$module && go vet ./... && go test ./...) || exit 1; done
	go test -skip '$(SDK_RACE)' $(SDK)/internal/... $(SDK)/mcp
	@$(MAKE) --no-print-directory fuzz FUZZTIME=10000x

# The other modules of the repository.
MODULES = $(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path '*/node_modules/*' -not -path './tools/*'))

# The SDK's own tests, on the JSON decoder that go.mod puts in the place of its
# dependency. The one left out counts sessions that the SDK ends a moment later;
# it fails now and then with the original decoder as well.
SDK = github.com/modelcontextprotocol/go-sdk
SDK_RACE = ^TestStreamableStateful_DiscoverDoesNotLeakSession$$

# Each package that has Fuzz functions, in whatever module, and in it each that
# go test lists: go test fuzzes one function at a time. It counts inputs: before
# Go 1.27 a function that is fuzzed for a time fails now and then at its end with
# "context deadline exceeded" although nothing was found (https://go.dev/issue/75804).
FUZZTIME ?= 50000x
.PHONY: fuzz
fuzz: ## Fuzz every Fuzz function for a while: FUZZTIME=50000x inputs each
	@failed=0; \
	for dir in $$(grep -rl --include='*_test.go' --exclude-dir=node_modules '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		names=$$(cd $$dir && go test -list '^Fuzz' .) || exit 1; \
		for name in $$(echo "$$names" | grep '^Fuzz'); do \
			echo "$$dir $$name"; \
			(cd $$dir && go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .) || failed=1; \
		done; \
	done; exit $$failed

# The packages that security rests on.
MUTATED = $(addprefix handler/,authserver clients entra grants keyring oauth resource store/embedded toolkit)
MUTANTS ?= 20
.PHONY: mutate
mutate: ## Change the code in places chosen by SEED= and see which changes no test notices: MUTANTS=20 per package
	go run ./bench/mutate -n $(MUTANTS) $(if $(SEED),-seed $(SEED)) $(MUTATED)

CHAOS ?= 10m
.PHONY: chaos
chaos: e2e/node_modules/.installed ## Kill, pause and cut off instances whose clocks are apart: CHAOS=10m; make test does it for 20 s
	CHAOS=$(CHAOS) go test -count 1 -v -timeout 0 -run '^TestChaos$$' ./e2e/resilience

.PHONY: deps
deps: e2e/node_modules/.installed .bin/python-1/.installed .bin/python-2/.installed chromium ## Install what the tests need

# A checkout gives the lock file a new time; what counts is whether it says
# something else than what was installed.
e2e/node_modules/.installed: e2e/package-lock.json
	@cmp -s $< $@ || npm ci --prefix e2e
	@cp $< $@

# An environment for each version of the Python SDK.
.bin/python-%/.installed: e2e/clients/python/requirements-%.txt
	python3 -m venv --clear .bin/python-$*
	.bin/python-$*/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || ./e2e/install-chromium.sh

.PHONY: bench
bench: e2e/node_modules/.installed ## Measure this server beside others, as ratios, and write docs/performance.md
	go test -run '^$$' -bench 'Compare|StorageLatency' -benchtime 1x -timeout 40m ./bench -args -report ../docs/performance.md

.PHONY: bench-history
bench-history: ## Measure what requests, starts and sweeps cost beside a million grants
	go test -run '^$$' -bench History -benchtime 1x -timeout 40m ./bench

.PHONY: clean
clean: ## Remove what was built, not the data
	rm -rf .bin app
