const express = require("express");

const app = express();
app.get("/", (request, response) => response.send("<h1>HELLO ONE</h1>"));
app.listen(process.env.PORT || 3000);
