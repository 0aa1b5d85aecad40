import { readFileSync } from 'node:fs'
import express from 'express'

const app = express()
const home = readFileSync('views/home.html', 'utf8')
app.get('/', (req, res) => res.send(home.replace('{}', 'From the server')))
app.listen(process.env.PORT)
