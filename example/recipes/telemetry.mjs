// OpenTelemetry, before anything else is loaded: node --import ./telemetry.mjs server.mjs, or supervised
// graceful-upgrade --import=./telemetry.mjs server.mjs. Each generation has an SDK of its own.
// npm install @opentelemetry/sdk-node @opentelemetry/instrumentation-http
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http'
import { NodeSDK } from '@opentelemetry/sdk-node'

export const sdk = new NodeSDK({ instrumentations: [new HttpInstrumentation()] })
sdk.start()

// In server.mjs, and not in a listener for SIGTERM, which would end it before the last requests are answered:
//   import { sdk } from './telemetry.mjs'
//   app.addHook('onClose', () => sdk.shutdown())
