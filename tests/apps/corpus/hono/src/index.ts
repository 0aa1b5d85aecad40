import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const app = new Hono()
app.get('/', c => c.html('<!doctype html><title>x</title><h1>HELLO ONE</h1>'))
serve({ fetch: app.fetch, port: 8787 }, info => console.log(`Server is running on http://localhost:${info.port}`))
