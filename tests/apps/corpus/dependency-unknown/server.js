require('http').createServer((q, r) => r.end('x')).listen(process.env.PORT)
