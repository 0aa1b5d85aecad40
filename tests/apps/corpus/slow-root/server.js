let wait = 7000
require('http').createServer((q, r) => { setTimeout(() => { wait = 0; r.setHeader('content-type', 'text/html'); r.end('<!doctype html><title>x</title><h1>HELLO ONE</h1>') }, wait) }).listen(process.env.PORT)
