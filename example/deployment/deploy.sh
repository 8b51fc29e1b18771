#!/bin/sh
# deploy.sh RELEASE: makes releases/RELEASE the current one while the server serves. If it does not come up, or is
# taken back from its probation, the old one serves on, the link points to it again, and this script fails.
set -eu
cd "$(dirname "$0")"
old=$(readlink current)
test -d "releases/$1"
PATH=$PWD/$old/node_modules/.bin:$PWD/../node_modules/.bin:$PATH # as in start.sh

flip() {
  ln -sfn "$1" current.next
  node -e "fs.renameSync('current.next', 'current')" # at once: nobody ever finds no link; mv would follow it
}

flip "releases/$1"
"${GRACEFUL_UPGRADE:-graceful-upgrade}" reload server.pid || {
  code=$?
  test $code -eq 130 || flip "$old" # that is Ctrl-C, and the upgrade goes on
  exit $code
}
