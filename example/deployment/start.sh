#!/bin/sh
# Starts the release that the link `current` leads to; at first that is release 1. Each release brings its own
# node_modules; those here have none, and use the project's around them.
# A new one serves beside the old one for 5 s before it takes over, which is long enough to try it. In production it is as
# long as it takes until all that it does has been asked for: 30 s, or some minutes.
# In a clone of the package: npm run build && GRACEFUL_UPGRADE=../../dist/cli.cjs ./start.sh
set -eu
cd "$(dirname "$0")"
test -e current || ln -sfn releases/1 current
PATH=$PWD/current/node_modules/.bin:$PWD/../node_modules/.bin:$PATH
exec "${GRACEFUL_UPGRADE:-graceful-upgrade}" --probation 5000 --pid-file server.pid --directory current server.mjs
