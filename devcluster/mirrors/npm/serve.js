// Verdaccio on a socket that the starting process made and hands over as file descriptor 3; its own command line cannot take one.
const { runServer } = require("verdaccio");

runServer(process.argv[2]).then((server) => {
  server.listen({ fd: 3 }, () => console.log("listening on the socket handed over"));
});
process.on("SIGTERM", () => process.exit(0));
