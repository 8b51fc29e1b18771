/** What `graceful-upgrade --help` prints. */
export const help = `Usage: graceful-upgrade [options] [node options] server.js [arguments]
       graceful-upgrade [options] -- command [arguments]
       graceful-upgrade reload | status [--json] | stop  <pid | pid file | directory | control socket>

Runs a server that registers fastify-graceful-upgrade, and upgrades it on SIGHUP while it serves.

  --pid-file FILE        write this process's id there once the server is ready
  --directory DIR        run the server there; a symbolic link is followed anew at each upgrade
  --control-socket PATH  where reload, status and stop find this process; false for nowhere
  --ready-timeout MS     longest time until a new generation serves (60000)
  --drain-timeout MS     longest time in which the old one lets its requests finish (30000)
  --close-timeout MS     longest time of its onClose hooks (10000)
  --spread-time MS       time over which WebSockets and HTTP/2 sessions are told to end (1000)
  --idle-spread-time MS  time over which idle connections that don't move are ended; false for not at all (false)
  --claim-timeout MS     how long a new generation waits for listeners that are not asked for (5000)
  --poll-interval MS     longest pause between two looks at idle connections (500)
  --handover HOW         idle, all or false: which open connections go to the new generation (idle)
  --reload-signal NAME   the signal that upgrades (SIGHUP)
  --close-signals NAMES  the signals that drain and end everything (SIGTERM,SIGINT)
  -v, --version          -h, --help

Each option can come from the environment: GRACEFUL_UPGRADE_DRAIN_TIMEOUT=5000. They win over what the
application's code says.

Exit codes of reload, status and stop: 0, or 1 with the reason on standard error; 2 for a command line that is not
understood. The server ends with 0 when it was told to, else with the code of the generation that served last.
`
