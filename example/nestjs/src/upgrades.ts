import { Injectable } from '@nestjs/common'
import { HttpAdapterHost } from '@nestjs/core'
import type { GracefulUpgrade } from 'fastify-graceful-upgrade'

/** `app.gracefulUpgrade` of the Fastify below, for whoever injects it. */
@Injectable()
export class Upgrades {
  constructor(private readonly host: HttpAdapterHost) {}

  get here(): GracefulUpgrade {
    return this.host.httpAdapter.getInstance().gracefulUpgrade
  }
}
