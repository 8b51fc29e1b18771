import 'reflect-metadata'
import { NestFactory } from '@nestjs/core'
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify'
import { WsAdapter } from '@nestjs/platform-ws'
import gracefulUpgrade from 'fastify-graceful-upgrade'
import { AppModule } from './app.module'

async function bootstrap(): Promise<void> {
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule,
    new FastifyAdapter({ logger: true })
  )
  app.enableShutdownHooks(['SIGTERM', 'SIGINT']) // not SIGHUP, which upgrades
  app.useWebSocketAdapter(new WsAdapter(app))
  await app.register(gracefulUpgrade, { close: () => app.close() })
  await app.listen(process.env.PORT ?? 3000)
}

void bootstrap()
