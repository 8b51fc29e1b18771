import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common'
import { Upgrades } from './upgrades'

/** What only one process may do: it starts when the generation before has stopped it, in one of several workers. */
@Injectable()
export class ReportJob implements OnApplicationBootstrap {
  private readonly logger = new Logger('ReportJob')

  constructor(private readonly upgrades: Upgrades) {}

  onApplicationBootstrap(): void {
    const { onServe, signal, worker } = this.upgrades.here
    if (worker === 0) onServe(() => this.run(signal))
  }

  private run(signal: AbortSignal): void {
    this.logger.log('begins')
    const timer = setInterval(() => this.logger.log('reports'), 1_000)
    signal.addEventListener('abort', () => {
      clearInterval(timer)
      this.logger.log('ends')
    })
  }
}
