const server = require("http").createServer((request, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><body><h1>HELLO ONE</h1></body>");
});
setTimeout(() => server.listen(8124), 60_000);
