const express = require("express");

const app = express();
app.get("/", (request, response) => response.send(`<h1>HELLO ONE</h1><p>${process.env.GREETING}</p>`));
app.listen(8080);
