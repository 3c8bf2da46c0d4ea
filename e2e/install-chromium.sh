#!/bin/sh
# The browser tests need a real Chromium. Where apt may install one, do; else
# say what to install.
set -eu
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium fonts-dejavu-core >/dev/null
	exit 0
fi
echo "The browser tests need Chromium: install the package 'chromium' or put 'google-chrome' on the PATH." >&2
exit 1
