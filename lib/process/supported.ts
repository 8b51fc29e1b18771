import cluster from 'node:cluster'
import { isMainThread } from 'node:worker_threads'

/** What decides whether this process can be a master. */
const surroundings = { platform: process.platform, isClusterWorker: cluster.isWorker, isMainThread }

/** @returns why no upgrade is possible here, and what to do; undefined where it is */
export function whyUnsupported(here = surroundings): string | undefined {
  if (here.platform === 'win32') return 'Windows cannot pass a listening socket on to another process'
  if (here.isClusterWorker)
    return "in a node:cluster worker the sockets are the primary's: run without node:cluster"
  if (!here.isMainThread) return 'in a worker thread: listen in the main thread'
  return undefined
}
