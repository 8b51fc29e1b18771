/** What `graceful-upgrade --help` prints. */
export const help = `Usage: graceful-upgrade [options] [node options] server.js [arguments]
       graceful-upgrade [options] -- command [arguments]
       graceful-upgrade reload [--fail-on-cut] [--no-wait] | status [--json] [--watch]  TARGET
       graceful-upgrade metrics | confirm | rollback | stop  TARGET
       graceful-upgrade scale  TARGET  6 | +1 | -1
       graceful-upgrade rehearse [options of both kinds] server.js [arguments]

TARGET is the running server: its pid, pid file, directory or control socket.

Runs a server that registers fastify-graceful-upgrade, and upgrades it on SIGHUP while it serves.

  --workers N            so many processes serve; auto for as many as the cores that may be used (1)
  --balance true|false   move open connections from busy workers to others (true, unless --handover false)
  --max-memory SIZE      replace a worker that takes more, as 512M or 2G
  --pid-file FILE        write this process's id there once the server is ready
  --directory DIR        run the server there; a symbolic link is followed anew at each upgrade
  --control-socket PATH  where reload, status and the others find this process; false for nowhere
  --ready-timeout MS     longest time until a new generation serves (60000)
  --drain-timeout MS     longest time in which the old one lets its requests finish (30000)
  --close-timeout MS     longest time of its onClose hooks (10000)
  --close-delay MS       for how long it serves on after SIGTERM before it lets them finish (0)
  --spread-time MS       time over which WebSockets and HTTP/2 sessions are told to end (1000)
  --idle-spread-time MS  time over which idle connections that don't move are ended; false for not at all (false)
  --claim-timeout MS     how long a new generation waits for listeners that are not asked for (5000)
  --check PATH           what a new generation asks itself before it serves, as /health; more than once, too (false)
  --check-timeout MS     longest time of such an answer (5000)
  --probation MS         for how long a new generation serves beside the old one before it takes over (0)
  --probation-share N    its share of the connections meanwhile, from 0.01 to 1 (0.1)
  --probation-error-rate N  its share of 5xx at which it is taken back whatever the old one does (false)
  --poll-interval MS     longest pause between two looks at idle connections (500)
  --handover HOW         idle, all or false: which open connections go to the new generation (idle)
  --reload-signal NAME   the signal that upgrades (SIGHUP)
  --close-signals NAMES  the signals that drain and end everything (SIGTERM,SIGINT)
  --retire-signal NAME   what the application's listeners hear in a worker that retires; false for nothing (SIGTERM)
  -v, --version          -h, --help

  reload --fail-on-cut   fails if requests, WebSockets or others were cut when the drain timeout was over
  reload --no-wait       does not wait for the end of a probation
  confirm, rollback      end a probation: the new generation takes over, or is taken back
  status --json          for programs
  status --watch         again each second, until Ctrl-C; with --json a line each
  metrics                the same for Prometheus, in the text format of OpenMetrics
  scale                  to so many workers, or so many more or less; as do SIGTTIN (+1) and SIGTTOU (-1)

rehearse starts the server, loads it, upgrades it again and again, says what its clients saw, and ends it. A TIME is
100ms, 20s or 2m.

  --clients N            clients that keep their connection, and send nothing twice (50)
  --pause TIME           of a client before each request; 0-100ms for between these two (0-100ms)
  --for TIME             how long there is load (20s)
  --every TIME           from one upgrade to the next; the first such time is calm (3s)
  --request 'GET /'      or 'POST /path BODY', JSON {"method", "path", "headers", "body", "weight", "expect"}, or @FILE
                         with an array of these; may be given several times (GET /)
  --fresh N              clients beside them with a connection for each request (0)
  --websocket PATH       10 clients keep a WebSocket open; may be given several times
  --events PATH          10 clients keep a stream of server-sent events open; may be given several times
  --latency TIME         of a network: a request is lost if the server closes while it is on its way (1ms)
  --timeout TIME         how long an answer is waited for (10s)
  --expect STATUS        of all answers (what they had before the first upgrade)
  --compare HOW          restart (killed, and started again), close (SIGTERM, and started again), or restart,close: the
                         same with these in the place of upgrades
  --max-failures N       so many are forgiven (0)
  --max-p999 TIME        the 99.9th percentile around upgrades may not be longer
  --json                 the report, for programs
  --html FILE            the report, with pictures, in one file

Options of node are --option or --option=value: --import=tsx server.ts.

Each option can come from the environment: GRACEFUL_UPGRADE_DRAIN_TIMEOUT=5000. They win over what the
application's code says.

Exit codes of rehearse: 0 if nothing failed, 1 if something did, 2 with the reason if it could not be run.
Exit codes of the others: 0, or 1 with the reason on standard error; 2 for a command line that is
not understood. The server ends with 0 when it was told to, else with the code of the generation that served last.
`
