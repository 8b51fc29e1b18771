/**
 * Loaded into each process of an application that is rehearsed, before its own code: it says where the process listens, and whether
 * it has this plugin. So one without it can be compared with, and is told at once that it can't be upgraded.
 */
import { subscribe } from 'node:diagnostics_channel'
import { appendFileSync } from 'node:fs'
import type { Server } from 'node:net'
import { boundAddress } from '../listeners/listener-key.js'
import { registration } from '../registration.js'
import { type Announcement, announcementsVariable } from './announcement.js'

const file = process.env[announcementsVariable]
if (file !== undefined) {
  subscribe('tracing:net.server.listen:asyncEnd', message => {
    const { server, error } = message as { server: Server; error?: unknown }
    if (error === undefined) say(file, { pid: process.pid, listens: boundAddress(server) })
  })
  subscribe(registration, () => say(file, { pid: process.pid, registered: true }))
}

function say(file: string, announcement: Announcement): void {
  try {
    appendFileSync(file, `${JSON.stringify(announcement)}\n`)
  } catch {} // the rehearsal is over
}
