/** The channel of node:diagnostics_channel on which each server that registers the plugin is published. */
export const registration = 'fastify-graceful-upgrade.registered'
