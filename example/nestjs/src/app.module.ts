import { Module } from '@nestjs/common'
import { AppController } from './app.controller'
import { ChatGateway } from './chat.gateway'
import { Database } from './database'
import { ReportJob } from './report.job'
import { Upgrades } from './upgrades'

@Module({ controllers: [AppController], providers: [ChatGateway, Database, ReportJob, Upgrades] })
export class AppModule {}
