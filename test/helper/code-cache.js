// What V8 has compiled of a bundle, kept beside it: a start takes it from there instead of reading a megabyte again.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import vm from 'node:vm'

/** Each version of Node.js has its own. V8 looks for itself whether what it finds is of this source and of this V8. */
const cacheOf = file => `${file}.${process.version}`

/**
 * @param file a CommonJS bundle, of ASCII
 * @returns what it exports; and what writes down all that has been compiled until then
 */
export function loadCached(file) {
  const script = new vm.Script(`(function (exports, require, module) {${readFileSync(file, 'latin1')}\n})`, {
    filename: file,
    cachedData: read(cacheOf(file)),
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
  })
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(file), module)
  return { exports: module.exports, keep: () => writeFileSync(cacheOf(file), script.createCachedData()) }
}

function read(file) {
  try {
    return readFileSync(file)
  } catch {
    return undefined // it has been built by another version
  }
}
