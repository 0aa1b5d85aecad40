const Koa = require('koa')
const app = new Koa()
app.use(ctx => { ctx.body = '<!doctype html><title>x</title><h1>HELLO ONE</h1>' })
app.listen(process.env.PORT || 4000)
