#!/bin/sh
# make start: the built handler under Azure Functions Core Tools, with Azurite
# beside it when the settings name it.
set -eu
cd "$(dirname "$0")/.."

if [ ! -f local.settings.json ]; then
	echo "local.settings.json is missing: cp local.settings.json.example local.settings.json and fill it in." >&2
	exit 78
fi
if ! grep -Eq '"FUNCTIONS_WORKER_RUNTIME"[[:space:]]*:[[:space:]]*"custom"' local.settings.json; then
	echo 'local.settings.json lacks "FUNCTIONS_WORKER_RUNTIME": "custom" among its Values.' >&2
	exit 78
fi
if ! command -v func >/dev/null 2>&1; then
	echo "func is missing: install Azure Functions Core Tools 4.5 or newer (npm i -g azure-functions-core-tools@4)." >&2
	exit 69
fi
version=$(func --version)
case "$version" in
4.[5-9] | 4.[5-9].* | 4.[1-9][0-9]*) ;;
[0-4].*)
	echo "func $version is too old for the mcp-custom-handler profile: install 4.5 or newer (npm i -g azure-functions-core-tools@4)." >&2
	exit 69
	;;
*)
	# The previews of version 5 have no custom handlers.
	echo "func $version is not known to run custom handlers: install 4.5 or newer of version 4 (npm i -g azure-functions-core-tools@4)." >&2
	exit 69
	;;
esac

if grep -Eq 'UseDevelopmentStorage=true|127\.0\.0\.1:10002|localhost:10002' local.settings.json; then
	if [ ! -x e2e/node_modules/.bin/node ]; then
		echo "The settings name Azurite: run npm ci --prefix e2e once." >&2
		exit 69
	fi
	mkdir -p .data/azurite
	e2e/node_modules/.bin/node e2e/node_modules/azurite/dist/src/table/main.js \
		--location .data/azurite --silent --disableTelemetry --skipApiVersionCheck &
	azurite=$!
	trap 'kill $azurite 2>/dev/null || true' EXIT INT TERM
fi
func start
