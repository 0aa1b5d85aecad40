const express = require('express')
const app = express()
app.get('/', (req, res) => res.send(`<!doctype html><title>x</title><h1>HELLO ONE</h1>`))
app.listen(3000, () => console.log('Listening on http://localhost:3000'))
