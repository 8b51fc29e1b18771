declare module 'ws-oldest' {
  export { WebSocketServer } from 'ws'
}
