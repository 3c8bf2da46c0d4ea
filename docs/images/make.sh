#!/bin/sh
# Makes the pictures of the README: the home page and the consent page of
# the server that make run starts, as Chromium shows them. Run it from a clone;
# nothing else may use ports 7071 and 7072.
set -eu
cd "$(dirname "$0")/../.."
data=$(mktemp -d)
DATA_DIR=$data make run >"$data/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || :; rm -rf "$data"' EXIT
until curl -sf http://localhost:7071/readyz >/dev/null; do
	kill -0 $server || { cat "$data/log"; exit 1; }
	sleep 1
done
client=$(curl -sf http://localhost:7071/register -H 'Content-Type: application/json' \
	-d '{"client_name":"Claude Code","redirect_uris":["http://localhost:3118/callback"],"token_endpoint_auth_method":"none"}' |
	sed 's/.*"client_id":"\([^"]*\)".*/\1/')
# The challenge is that of RFC 7636 appendix B.
consent="http://localhost:7071/authorize?response_type=code&client_id=$client&redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcallback&state=s&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
browser=$(command -v chromium || command -v google-chrome)
picture() { # file width height url
	"$browser" --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync \
		--user-data-dir="$data/browser" --hide-scrollbars --window-size="$2,$3" --screenshot="docs/images/$1" "$4" 2>/dev/null
}
picture home.png 820 900 http://localhost:7071/
picture consent.png 820 760 "$consent"
