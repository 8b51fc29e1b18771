import t from 'tap'
import { parseCommandLine } from '../../../lib/supervisor/command-line.js'

const run = { command: 'run', main: 0, isCommand: false, environment: {} }
const usage = (message: RegExp) => ({ code: 'GRACEFUL_UPGRADE_USAGE', message })

for (const [line, parsed] of Object.entries({
  'server.js': { ...run, words: ['server.js'] },
  'server.js --drain-timeout 5 -- -h': { ...run, words: ['server.js', '--drain-timeout', '5', '--', '-h'] },
  'server.js reload': { ...run, words: ['server.js', 'reload'] },
  './reload': { ...run, words: ['./reload'] },
  '--close-delay 5 --close server.js': {
    ...run,
    words: ['--close', 'server.js'],
    main: 1,
    environment: { GRACEFUL_UPGRADE_CLOSE_DELAY: '5' }
  },
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
  '--check /health --check-timeout 9 --check=/a,/b server.js': {
    ...run,
    words: ['server.js'],
    environment: { GRACEFUL_UPGRADE_CHECK: '/health,/a,/b', GRACEFUL_UPGRADE_CHECK_TIMEOUT: '9' }
  },
  '--drain-timeout 5 --drain-timeout 6 server.js': {
    ...run,
    words: ['server.js'],
    environment: { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '6' }
  },
  '--workers 4 --balance=false --max-memory 512M server.js': {
    ...run,
    words: ['server.js'],
    environment: {
      GRACEFUL_UPGRADE_WORKERS: '4',
      GRACEFUL_UPGRADE_BALANCE: 'false',
      GRACEFUL_UPGRADE_MAX_MEMORY: '512M'
    }
  },
  '--pid-file a=b.pid --directory=current/x=y server.js': {
    ...run,
    words: ['server.js'],
    pidFile: 'a=b.pid',
    directory: 'current/x=y'
  },
  '--import=tsx server.ts': { ...run, words: ['--import=tsx', 'server.ts'], main: 1 },
  '--require=./a.cjs --max-old-space-size=100 --pid-file p --inspect=0 s.js': {
    ...run,
    words: ['--require=./a.cjs', '--max-old-space-size=100', '--inspect=0', 's.js'],
    main: 3,
    pidFile: 'p'
  },
  '--enable-source-maps s.js a': { ...run, words: ['--enable-source-maps', 's.js', 'a'], main: 1 },
  '--max_old_space_size=100 s.js': { ...run, words: ['--max_old_space_size=100', 's.js'], main: 1 },
  '--handover false -- fastify start --import x app.js': {
    ...run,
    words: ['fastify', 'start', '--import', 'x', 'app.js'],
    isCommand: true,
    environment: { GRACEFUL_UPGRADE_HANDOVER: 'false' }
  },
  'rehearse --clients 9 --workers=2 --json --import=tsx --for=5s server.ts --clients 1': {
    command: 'rehearse',
    run: {
      ...run,
      words: ['--import=tsx', 'server.ts', '--clients', '1'],
      main: 1,
      environment: { GRACEFUL_UPGRADE_WORKERS: '2' }
    },
    options: [
      ['--clients', '9'],
      ['--json', ''],
      ['--for', '5s']
    ]
  },
  'rehearse --help': { command: 'help' },
  './rehearse --fresh 1': { ...run, words: ['./rehearse', '--fresh', '1'] },
  '--clients=9 server.js': { ...run, words: ['--clients=9', 'server.js'], main: 1 },
  '-- reload': { ...run, words: ['reload'], isCommand: true },
  'reload 12': { command: 'reload', target: '12', failOnCut: false, noWait: false },
  'reload --fail-on-cut 12': { command: 'reload', target: '12', failOnCut: true, noWait: false },
  'reload . --fail-on-cut': { command: 'reload', target: '.', failOnCut: true, noWait: false },
  'reload --no-wait .': { command: 'reload', target: '.', failOnCut: false, noWait: true },
  'reload . --no-wait --fail-on-cut': { command: 'reload', target: '.', failOnCut: true, noWait: true },
  'confirm .': { command: 'confirm', target: '.' },
  'metrics .': { command: 'metrics', target: '.' },
  'rollback 12': { command: 'rollback', target: '12' },
  'rollback --help': { command: 'help' },
  '-- confirm': { ...run, words: ['confirm'], isCommand: true },
  '--probation 20000 --probation-share=0.2 --probation-error-rate 0.01 server.js': {
    ...run,
    words: ['server.js'],
    environment: {
      GRACEFUL_UPGRADE_PROBATION: '20000',
      GRACEFUL_UPGRADE_PROBATION_SHARE: '0.2',
      GRACEFUL_UPGRADE_PROBATION_ERROR_RATE: '0.01'
    }
  },
  'stop /run/server.pid': { command: 'stop', target: '/run/server.pid' },
  'status 12': { command: 'status', target: '12', json: false, watch: false },
  'status --json 12': { command: 'status', target: '12', json: true, watch: false },
  'status 12 --json': { command: 'status', target: '12', json: true, watch: false },
  'status --watch 12 --json': { command: 'status', target: '12', json: true, watch: true },
  'scale . 6': { command: 'scale', target: '.', workers: '6' },
  'scale 12 +1': { command: 'scale', target: '12', workers: '+1' },
  'scale 12 -1': { command: 'scale', target: '12', workers: '-1' },
  'scale -h': { command: 'help' },
  '-h': { command: 'help' },
  '--help server.js': { command: 'help' },
  'reload --help': { command: 'help' },
  'stop -h': { command: 'help' },
  'status 12 --json --help': { command: 'help' },
  '--drain-timeout 5 --help': { command: 'help' },
  '--import=tsx -v': { command: 'version' },
  'server.js --help': { ...run, words: ['server.js', '--help'] },
  '-- node --help': { ...run, words: ['node', '--help'], isCommand: true },
  '-v': { command: 'version' }
})) {
  t.test(`graceful-upgrade ${line}`, async t => t.strictSame(parseCommandLine(line.split(' ')), parsed))
}

for (const [line, message] of Object.entries({
  '': /nothing to run;/,
  '--': /nothing to run behind --/,
  '--import=tsx': /nothing to run behind the options/,
  '--drain-timeout': /--drain-timeout needs a value/,
  '--drain-timeout= server.js': /--drain-timeout needs a value/,
  '--workers': /--workers needs a value/,
  '-r ./a.cjs server.js': /unknown option -r; options of node have two dashes: --require=.\/a.cjs/,
  '-x server.js': /unknown option -x;/,
  '- server.js': /unknown option -;/,
  '--require=./a.cjs -- fastify start': /--require=.\/a.cjs is for node, but behind -- comes a command/,
  reload: /reload needs a pid/,
  confirm: /confirm needs a pid/,
  'metrics --json 1': /metrics takes one argument/,
  'rollback 1 2': /rollback takes one argument, not 1 2/,
  'confirm --no-wait 1': /confirm takes one argument/,
  'status --no-wait 1': /status takes one argument/,
  'stop 1 2': /stop takes one argument, not 1 2/,
  'reload --json 1': /reload takes one argument/,
  'status --fail-on-cut 1': /status takes one argument/,
  'scale 12': /scale needs a pid, .* and a number of workers/,
  'scale 12 1 2': /scale needs a pid/,
  'scale 12 many': /scale takes a server, and then 6, \+1 or -1, not 12 many/,
  'scale -1 12': /scale takes a server, and then/,
  'scale --json 12': /scale takes a server, and then/,
  'status --yaml': /status takes one argument, not --yaml/
})) {
  t.test(`graceful-upgrade ${line} is refused`, async t => {
    t.throws(() => parseCommandLine(line === '' ? [] : line.split(' ')), usage(message))
  })
}
