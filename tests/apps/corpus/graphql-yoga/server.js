import http from 'node:http'
import { createSchema, createYoga } from 'graphql-yoga'

const yoga = createYoga({ schema: createSchema({ typeDefs: 'type Query { hi: String }', resolvers: { Query: { hi: () => 'yoga works' } } }) })
http.createServer((q, r) => {
  if (q.url.startsWith('/graphql')) return yoga(q, r)
  r.setHeader('content-type', 'text/html')
  r.end('<!doctype html><title>x</title><h1>HELLO ONE</h1>')
}).listen(4000)
