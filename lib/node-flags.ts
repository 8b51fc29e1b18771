/** Those whose value may be the next word. */
const withValue = new Set(
  `-r --require --import --loader --experimental-loader -C --conditions --env-file --env-file-if-exists --title
  --inspect-port --debug-port --max-http-header-size --icu-data-dir --openssl-config --dns-result-order
  --unhandled-rejections --disable-warning --diagnostic-dir --report-dir --report-directory --report-filename
  --report-signal --heapsnapshot-signal --trace-event-categories --disable-proto --input-type
  --tls-cipher-list --tls-keylog --redirect-warnings --cpu-prof-dir --cpu-prof-name --cpu-prof-interval --heap-prof-dir
  --heap-prof-name --heap-prof-interval --heapsnapshot-near-heap-limit --allow-fs-read --allow-fs-write
  --experimental-default-type --inspect-publish-uid --network-family-autoselection-attempt-timeout --secure-heap
  --secure-heap-min --snapshot-blob --trace-event-file-pattern --trace-require-module --use-largepages
  --v8-pool-size`.split(/\s+/)
)
/** What Node.js takes only on its command line, and `process.allowedNodeEnvironmentFlags` leaves out. */
const alsoNode = ['--env-file', '--env-file-if-exists', '--expose-gc', '--title', '--cpu-prof', '--heap-prof']

/** Whether Node.js takes this on its command line, before the script. */
export function isNodeFlag(name: string): boolean {
  return process.allowedNodeEnvironmentFlags.has(name) || alsoNode.includes(name)
}

/** Whether the value of this flag is the next word, if it isn't behind an equals sign. */
export function takesNextWord(name: string): boolean {
  return withValue.has(name)
}

/**
 * `--inspect=HOST:PORT` on a free port, as the old generation still has the other; and without waiting for a
 * debugger (`--inspect-brk`, `--inspect-wait`), as nobody would be there to go on before `readyTimeout`.
 */
export function onFreePorts(flags: readonly string[]): string[] {
  return flags.map((flag, index) => {
    const [option = '', address = ''] = splitAtEquals(flag)
    switch (option.replaceAll('_', '-')) {
      case '--inspect':
      case '--inspect-brk':
      case '--inspect-wait': {
        const host = /^\d*$/.test(address) ? '' : address.replace(/:\d+$/, '')
        return `--inspect=${host === '' ? '' : `${host}:`}0`
      }
      case '--inspect-port':
      case '--debug-port':
        return flag.includes('=') ? '--inspect-port=0' : flag
      default:
        return isPortOf(flags[index - 1]) ? '0' : flag
    }
  })
}

/** Whether the word behind this one is the inspector's port. */
function isPortOf(flag: string | undefined): boolean {
  return flag !== undefined && /^--(?:inspect|debug)[-_]port$/.test(flag)
}

/** `--name=value` as the two; the second is missing where there is no value. */
export function splitAtEquals(flag: string): string[] {
  const equals = flag.indexOf('=')
  return equals === -1 ? [flag] : [flag.slice(0, equals), flag.slice(equals + 1)]
}
