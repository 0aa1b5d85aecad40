import express from 'express'

const app = express()
const title: string = 'HELLO ONE'
app.get('/', (req, res) => { res.send(`<!doctype html><title>x</title><h1>${title}</h1>`) })
app.listen(Number(process.env.PORT ?? 5000))
