import { execFileSync } from 'node:child_process'
import { renameSync } from 'node:fs'
import path from 'node:path'

/** For a server that waits for `key.pem` and `certificate.pem` in its directory. */
export function makeCertificate(directory: string): void {
  const temporary = path.join(directory, 'certificate.tmp')
  const kind = ['-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost']
  const files = ['-keyout', path.join(directory, 'key.pem'), '-out', temporary]
  execFileSync('openssl', ['req', '-x509', ...kind, ...files], { stdio: 'ignore' })
  renameSync(temporary, path.join(directory, 'certificate.pem')) // at once, with all that is in it
}
