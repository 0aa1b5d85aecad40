import { createServer } from "node:http";

createServer((request, response) => response.end("FROM THE API")).listen(Number(process.env.PORT ?? 4000));
