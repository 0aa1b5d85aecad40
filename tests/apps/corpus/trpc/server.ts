import http from 'node:http'
import { initTRPC } from '@trpc/server'
import { createHTTPHandler } from '@trpc/server/adapters/standalone'

const t = initTRPC.create()
const router = t.router({ hi: t.procedure.query(() => 'trpc works') })
const rpc = createHTTPHandler({ router, basePath: '/trpc/' })
http.createServer((q, r) => {
  if (q.url!.startsWith('/trpc/')) return rpc(q, r)
  r.setHeader('content-type', 'text/html')
  r.end('<!doctype html><title>x</title><h1>HELLO ONE</h1>')
}).listen(process.env.PORT)
