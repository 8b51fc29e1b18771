import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync } from 'node:fs'
import path from 'node:path'

/** The files of a certificate, as options of a server. */
export interface Certificate {
  readonly key: string
  readonly cert: string
}

/** `key.pem` and `certificate.pem` in this directory, which is made if need be: whoever finds the latter finds both whole. */
export function makeCertificate(directory: string, subject = 'localhost'): Certificate {
  mkdirSync(directory, { recursive: true })
  const [key, cert] = [path.join(directory, 'key.pem'), path.join(directory, 'certificate.pem')]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const files = ['-subj', `/CN=${subject}`, '-keyout', key, '-out', `${cert}.new`]
  execFileSync('openssl', ['req', '-x509', ...kind, ...files], { stdio: 'ignore' })
  renameSync(`${cert}.new`, cert) // behind the key: a server may wait for the certificate
  return { key, cert }
}
