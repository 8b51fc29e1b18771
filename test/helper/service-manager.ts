import { spawn } from 'node:child_process'
import path from 'node:path'
import type { Test } from 'tap'
import { temporaryFolder } from './folder.ts'
import { linesOf } from './program.ts'
import { python } from './python.ts'

/** What systemd does with NOTIFY_SOCKET, as far as the messages go; and when each came, in microseconds. */
const receiver = `
import json, socket, sys, time
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1].replace('@', '\\0'))
print('bound', flush=True)
while True:
    message = receiver.recv(4096).decode()
    at = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    if message != 'BARRIER=1':
        print(json.dumps([message, at]), flush=True)
`

/** A service manager with a real datagram socket, by default a file; needs python3. */
export async function startServiceManager(t: Test, address = path.join(temporaryFolder(t), 'notify')) {
  const receiving = spawn(python!, ['-c', receiver, address], { stdio: ['ignore', 'pipe', 'inherit'] })
  const line = linesOf(t, receiving)
  await line() // it is bound
  const message = async () => JSON.parse(await line()) as [text: string, at: number]
  return { address, message }
}
