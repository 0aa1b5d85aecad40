require("http")
  .createServer((request, response) => {
    response.writeHead(500, { "Content-Type": "text/html" });
    response.end("<!doctype html><body><h1>HELLO ONE</h1></body>");
  })
  .listen(process.env.PORT);
