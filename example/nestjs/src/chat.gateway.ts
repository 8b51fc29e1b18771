import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets'
import { Upgrades } from './upgrades'

/** On an upgrade its clients are told 1012 "service restart", and connect again. */
@WebSocketGateway({ path: '/chat' })
export class ChatGateway {
  constructor(private readonly upgrades: Upgrades) {}

  @SubscribeMessage('say')
  say(@MessageBody() text: string): { event: string; data: string } {
    return { event: 'said', data: `${text}, by generation ${this.upgrades.here.generation}` }
  }
}
