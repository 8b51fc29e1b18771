import {
  type BeforeApplicationShutdown,
  Injectable,
  Logger,
  type OnApplicationShutdown,
  type OnModuleDestroy
} from '@nestjs/common'

/** Stands for a pool of connections: after `onModuleDestroy` there is none, and a request that came then would fail. */
@Injectable()
export class Database implements OnModuleDestroy, BeforeApplicationShutdown, OnApplicationShutdown {
  private readonly logger = new Logger('Database')
  private isOpen = true

  async query(): Promise<void> {
    if (!this.isOpen) throw new Error('the database is closed')
  }

  onModuleDestroy(): void {
    this.isOpen = false
    this.logger.log('onModuleDestroy')
  }

  beforeApplicationShutdown(): void {
    this.logger.log('beforeApplicationShutdown')
  }

  onApplicationShutdown(): void {
    this.logger.log('onApplicationShutdown')
  }
}
