import { spawn } from "node:child_process";

function serve() {
  let server;
  return {
    writeBundle() {
      server ??= spawn("npm", ["run", "start", "--", "--dev"], { stdio: ["ignore", "inherit", "inherit"], shell: true });
    },
  };
}

export default {
  input: "src/main.js",
  output: { file: "public/build/bundle.js", format: "iife" },
  plugins: [process.env.ROLLUP_WATCH && serve()],
  watch: { clearScreen: false },
};
