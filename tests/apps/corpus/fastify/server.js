import Fastify from 'fastify'

const app = Fastify({ logger: true })
app.get('/', (req, reply) => reply.type('text/html').send('<!doctype html><title>x</title><h1>HELLO ONE</h1>'))
await app.listen({ port: 3000 })
