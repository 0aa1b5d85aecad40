const server = require("http").createServer((request, response) => response.end("HELLO"));
server.listen("/tmp/app.sock", () => console.log("Listening on http://localhost:3000"));
