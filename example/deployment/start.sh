#!/bin/sh
# Starts release 1 as the current one. In your project it is `npx graceful-upgrade` instead of the file in dist.
set -eu
cd "$(dirname "$0")"
ln -sfn releases/1 current
exec node ../../dist/cli.cjs --pid-file server.pid --directory current server.js
