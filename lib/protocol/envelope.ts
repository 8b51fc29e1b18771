import type { MasterMessage, WorkerMessage } from './messages.js'

interface Envelope<Message> {
  readonly gracefulUpgrade: Message
}

/** The application may use the same channel for messages of its own: ours are in an envelope. */
export function wrap<Message extends WorkerMessage | MasterMessage>(message: Message): Envelope<Message> {
  return { gracefulUpgrade: message }
}

/** @returns undefined if the message isn't one of ours */
export function unwrap(message: unknown): Record<string, unknown> | undefined {
  const inner = (message as Partial<Envelope<unknown>> | null)?.gracefulUpgrade
  return typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : undefined
}

/** For the log, which the rest of a message is none of the business of. */
export function typeOf(message: unknown): unknown {
  return unwrap(message)?.type
}
