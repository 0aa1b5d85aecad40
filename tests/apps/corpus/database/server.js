const { Client } = require("pg");

const client = new Client({ connectionString: process.env.DATABASE_URL || "postgres://localhost:5432/shop" });
client.connect().then(() => require("http").createServer((request, response) => response.end("HELLO")).listen(3000));
