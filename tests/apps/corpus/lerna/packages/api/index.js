require("http")
  .createServer((request, response) => response.end("FROM THE API"))
  .listen(process.env.PORT || 4000);
