import { mkdirSync } from 'node:fs'
import { userInfo } from 'node:os'
import path from 'node:path'
import type { Place, ProxyKind } from './proxy.ts'

/** nginx, which keeps its connections to the server open. It logs the client's status, then the server's. */
export const nginx: ProxyKind = {
  name: 'nginx',
  arguments: config => ['-p', path.dirname(config), '-e', 'stderr', '-c', config],
  configure,
  stopSignal: 'SIGQUIT'
}

function configure({ directory, address, upstream }: Place): string {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  mkdirSync(path.join(directory, 'temp'))
  return `
daemon off;
worker_processes 1;
${process.getuid?.() === 0 ? `user ${userInfo().username};` : ''}
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  log_format exchange 'exchange $status $upstream_status';
  access_log /dev/stdout exchange;
  ${kinds.map(kind => `${kind}_temp_path ${directory}/temp/${kind};`).join('\n  ')}
  map $http_upgrade $connection_upgrade {
    default upgrade;
    '' '';
  }
  upstream app {
    server ${'path' in upstream ? `unix:${upstream.path}` : `127.0.0.1:${upstream.port}`};
    keepalive 32;
  }
  server {
    listen ${address.host}:${address.port};
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_next_upstream off;
    }
  }
}
`
}
