import express from 'express'

const app = express()
app.get('/api', (req, res) => res.send('From the api'))
app.listen(4000)
