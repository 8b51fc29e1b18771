import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { startProgram } from './program.ts'

const usable = 'import os, pty, sys; os.waitstatus_to_exitcode; print(sys.executable)'
const { status, stdout } = spawnSync('python3', ['-c', usable], { encoding: 'utf8' })

/** Its own path, as a name on the PATH may be a script that looks for it each time; undefined where there is none. */
export const python = status === 0 ? stdout.trim() : undefined

/** Debian's own has what Debian's packages are for; the one on the PATH may be another. */
const withWebSockets = [python, '/usr/bin/python3'].find(
  each => each && spawnSync(each, ['-c', 'import websockets']).status === 0
)

/** Numbers what it says to the chat of test/fixture/kept.js, and expects the same of it, until its input ends. */
const talk = `
import asyncio, json, random, sys, websockets

async def main():
    async with websockets.connect(sys.argv[1]) as socket:
        asked, answered, said, newest = 0, 0, 0, 0

        async def hear():
            nonlocal answered, said, newest
            async for text in socket:
                message = json.loads(text)
                said += 1
                assert message['said'] == said, text
                if 'number' in message:
                    answered += 1
                    assert message['number'] == answered and message['right'], text
                if message['generation'] != newest:
                    newest = message['generation']
                    print(newest, flush=True)

        hearing = asyncio.create_task(hear())
        over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        while not over.done() and not hearing.done():
            asked += 1
            length = random.choice([20, 200, 5000])
            text = f'{asked} {length} '.ljust(length, random.choice('abc'))
            at = random.randrange(length)
            await socket.send(random.choice([text, [text[:at], text[at:]]]))
            await asyncio.sleep(random.random() / 50)
        while answered < asked and not hearing.done():
            await asyncio.sleep(0.01)
        await socket.close()
        await hearing
        print(f'closed with {socket.close_code} after {answered} messages')

asyncio.run(main())
`

/** A client by Debian's `python3-websockets`. */
export async function talkInPython(t: Test, port: number) {
  const child = startProgram(t, withWebSockets!, ['-c', talk, `ws://127.0.0.1:${port}/chat?name=snake`])
  let text = ''
  let complaints = ''
  child.stdout!.on('data', chunk => (text += chunk))
  child.stderr!.on('data', chunk => (complaints += chunk))
  const closed = once(child, 'close')
  await heard(1)
  return {
    heard,
    async end(): Promise<string> {
      child.stdin!.end()
      await closed
      return complaints || text.trim().split('\n').at(-1)!
    }
  }

  async function heard(generation: number): Promise<void> {
    while (!text.includes(`${generation}\n`)) {
      if (child.exitCode !== null) throw new Error(complaints)
      await sleep(5)
    }
  }
}

/** @returns why nobody can talk in Python; in CI on Linux it may not be missing */
export const noPythonWebSockets =
  withWebSockets !== undefined || (process.env.CI && process.platform === 'linux')
    ? false
    : 'python3-websockets not installed'
