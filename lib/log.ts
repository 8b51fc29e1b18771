import type { FastifyBaseLogger } from 'fastify'

/** What a master needs of a logger: the application's own, or the one of `supervisor.ts`. */
export type Log = Pick<FastifyBaseLogger, 'info' | 'warn' | 'error' | 'fatal'>
