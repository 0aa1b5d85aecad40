const server = require("http").createServer((request, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end("<!doctype html><body><h1>HELLO ONE</h1></body>");
});
server.listen(process.env.PORT);
setInterval(() => process.stdout.write(Buffer.alloc(64 * 1024, 0xe9)), 20);
setInterval(() => process.stdout.write(`${"line ".repeat(200)}\n`), 20);
