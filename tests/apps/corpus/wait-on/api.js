import { createServer } from "node:http";

createServer((request, response) => response.end("FROM THE API")).listen(4000);
