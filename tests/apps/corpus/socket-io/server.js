import http from 'node:http'
import { Server } from 'socket.io'

const page = `<!doctype html><title>x</title><h1>HELLO ONE</h1><p id="s"></p>
<script src="/socket.io/socket.io.js"></script><script>io().on('hi', text => { document.querySelector('#s').textContent = text })</script>`
const server = http.createServer((q, r) => { r.setHeader('content-type', 'text/html'); r.end(page) })
new Server(server).on('connection', socket => socket.emit('hi', 'socket works'))
server.listen(process.env.PORT)
