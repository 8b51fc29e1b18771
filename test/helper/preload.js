// What tap loads before each test file: TypeScript as it stands, in a tenth of the time that a whole compiler for it
// takes to start, and children without what tap puts into their environment.
import * as nodeModule from 'node:module'
import processOnSpawn from 'process-on-spawn'
import * as hooks from './typescript.js'

// Only for the coverage of children, of which there is none here; it would take longer than most of them do.
processOnSpawn.removeAllListeners()
delete process.env.NODE_OPTIONS

const [major] = process.versions.node.split('.')
if (Number(major) >= 25) nodeModule.registerHooks(hooks)
else nodeModule.register('./typescript.js', import.meta.url) // as tap does: before, the two ways don't go together
