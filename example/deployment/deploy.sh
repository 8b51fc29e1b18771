#!/bin/sh
# deploy.sh RELEASE: makes releases/RELEASE the current one while the server serves. If it does not come up, the old
# one serves on, the link points to it again, and this script fails.
set -eu
cd "$(dirname "$0")"
old=$(readlink current)
test -d "releases/$1"

flip() {
  ln -sfn "$1" current.next
  mv -T current.next current # at once: nobody ever finds no link. On macOS: mv -h
}

flip "releases/$1"
if ! node ../../dist/cli.cjs reload server.pid; then
  flip "$old"
  exit 1
fi
