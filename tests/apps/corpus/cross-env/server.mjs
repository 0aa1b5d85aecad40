import http from 'node:http'
http.createServer((q, r) => { r.setHeader('content-type', 'text/html'); r.end('<!doctype html><title>x</title><h1>HELLO ONE</h1>') }).listen(process.env.PORT)
