import t from 'tap'
import { parseCommandLine } from '../../lib/command-line.js'

const run = { command: 'run', main: 0, isCommand: false, environment: {} }
const usage = (message: RegExp) => ({ code: 'GRACEFUL_UPGRADE_USAGE', message })

for (const [line, parsed] of Object.entries({
  'server.js': { ...run, words: ['server.js'] },
  'server.js --drain-timeout 5 -- -h': { ...run, words: ['server.js', '--drain-timeout', '5', '--', '-h'] },
  'server.js reload': { ...run, words: ['server.js', 'reload'] },
  './reload': { ...run, words: ['./reload'] },
  '--drain-timeout 5 server.js': {
    ...run,
    words: ['server.js'],
    environment: { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '5' }
  },
  '--close-signals=SIGTERM,SIGQUIT --poll-interval=9 server.js': {
    ...run,
    words: ['server.js'],
    environment: { GRACEFUL_UPGRADE_CLOSE_SIGNALS: 'SIGTERM,SIGQUIT', GRACEFUL_UPGRADE_POLL_INTERVAL: '9' }
  },
  '--pid-file a=b.pid --directory=current/x=y server.js': {
    ...run,
    words: ['server.js'],
    pidFile: 'a=b.pid',
    directory: 'current/x=y'
  },
  '--import tsx server.ts': { ...run, words: ['--import', 'tsx', 'server.ts'], main: 2 },
  '--import=tsx server.ts': { ...run, words: ['--import=tsx', 'server.ts'], main: 1 },
  '-r ./a.cjs --max-old-space-size=100 --pid-file p --inspect=0 s.js': {
    ...run,
    words: ['-r', './a.cjs', '--max-old-space-size=100', '--inspect=0', 's.js'],
    main: 4,
    pidFile: 'p'
  },
  '--env-file .env --enable-source-maps s.js': {
    ...run,
    words: ['--env-file', '.env', '--enable-source-maps', 's.js'],
    main: 3
  },
  '--v8-pool-size 2 --secure-heap=65536 s.js': {
    ...run,
    words: ['--v8-pool-size', '2', '--secure-heap=65536', 's.js'],
    main: 3
  },
  '--max_old_space_size=100 s.js': { ...run, words: ['--max_old_space_size=100', 's.js'], main: 1 },
  '--handover false -- fastify start --import x app.js': {
    ...run,
    words: ['fastify', 'start', '--import', 'x', 'app.js'],
    isCommand: true,
    environment: { GRACEFUL_UPGRADE_HANDOVER: 'false' }
  },
  '-- reload': { ...run, words: ['reload'], isCommand: true },
  'reload 12': { command: 'reload', target: '12' },
  'stop /run/server.pid': { command: 'stop', target: '/run/server.pid' },
  'status 12': { command: 'status', target: '12', json: false },
  'status --json 12': { command: 'status', target: '12', json: true },
  'status 12 --json': { command: 'status', target: '12', json: true },
  '-h': { command: 'help' },
  '--help server.js': { command: 'help' },
  '-v': { command: 'version' }
})) {
  t.test(`graceful-upgrade ${line}`, async t => t.strictSame(parseCommandLine(line.split(' ')), parsed))
}

for (const [line, message] of Object.entries({
  '': /nothing to run;/,
  '--': /nothing to run behind --/,
  '--import tsx': /nothing to run behind the options/,
  '--drain-timeout': /--drain-timeout needs a value/,
  '--drain-timeout= server.js': /--drain-timeout needs a value/,
  '--drainTimeout 5 server.js': /unknown option --drainTimeout/,
  '--drain-timeuot=5 server.js': /unknown option --drain-timeuot;/,
  '-x server.js': /unknown option -x/,
  '- server.js': /unknown option -/,
  '-r ./a.cjs -- fastify start': /-r is for node, but behind -- comes a command/,
  reload: /reload needs a pid/,
  'stop 1 2': /stop takes one argument, not 1 2/,
  'reload --json 1': /reload takes one argument/,
  'status --yaml': /status takes one argument, not --yaml/
})) {
  t.test(`graceful-upgrade ${line} is refused`, async t => {
    t.throws(() => parseCommandLine(line === '' ? [] : line.split(' ')), usage(message))
  })
}
