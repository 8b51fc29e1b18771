#!/usr/bin/env node

import { GracefulUpgradeError } from './errors.js'
import { parseCommandLine } from './supervisor/command-line.js'
import { run } from './supervisor/run.js'
import { version } from './version.js'

void main().catch(error => {
  if (!(error instanceof GracefulUpgradeError)) throw error
  process.stderr.write(`graceful-upgrade: ${error.message} (${error.code})\n`)
  process.exit(error.code === 'GRACEFUL_UPGRADE_USAGE' ? 2 : 1)
})

async function main(): Promise<void> {
  const line = parseCommandLine(process.argv.slice(2))
  switch (line.command) {
    case 'help':
      return void process.stdout.write((await import('./supervisor/help.js')).help)
    case 'version':
      return void process.stdout.write(`${version()}\n`)
    case 'run':
      return run(line)
    case 'rehearse':
      // A file of its own in dist/, too.
      process.exitCode = await (await import('./rehearsal/rehearse.js')).runRehearsal(
        line,
        process.argv[1] ?? '',
        process
      )
      return
  }
  // Loaded only now: a master that runs for months has no use for it.
  const { runJudge, runMetrics, runReload, runScale, runStatus, runStop } = await import(
    './client/commands.js'
  )
  switch (line.command) {
    case 'reload':
      process.exitCode = await runReload(line.target, line, process)
      return
    case 'status':
      process.exitCode = await runStatus(line.target, line, process)
      return
    case 'metrics':
      process.exitCode = await runMetrics(line.target, process)
      return
    case 'confirm':
    case 'rollback':
      process.exitCode = await runJudge(line.target, line.command, process)
      return
    case 'scale':
      process.exitCode = await runScale(line.target, line, process)
      return
    case 'stop':
      process.exitCode = await runStop(line.target, process)
  }
}
