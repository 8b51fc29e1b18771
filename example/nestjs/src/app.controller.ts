import { Controller, Get, ServiceUnavailableException } from '@nestjs/common'
import { Database } from './database'
import { Upgrades } from './upgrades'

@Controller()
export class AppController {
  constructor(
    private readonly upgrades: Upgrades,
    private readonly database: Database
  ) {}

  @Get()
  async hello(): Promise<string> {
    await this.database.query()
    return `generation ${this.upgrades.here.generation}, pid ${process.pid}\n`
  }

  /** For the readiness probe of an orchestrator, or a load balancer. */
  @Get('ready')
  ready(): string {
    const { isReady, state } = this.upgrades.here
    if (!isReady) throw new ServiceUnavailableException(state)
    return state
  }
}
