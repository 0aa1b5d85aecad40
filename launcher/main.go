// The launcher is PID 1 of the app container. It runs the commands that the agent names, streams what they print, and ends all of
// one when told.
//
// It is one static program that the gate puts on a read-only volume, so it needs nothing of the app's image. It holds no secret
// and trusts nobody; the agent, another container of the pod, decides.
//
// Guarantees:
//
//   - The app never waits for the agent. Its pipes are always read; what the buffer cannot hold is dropped, the oldest of the
//     loudest run first, and counted.
//   - "exited" is said only when nothing of the run is left, however it forked or escaped into sessions of its own.
//   - The app outlives the agent. On reconnection "hello" tells what runs, and what happened meanwhile follows in order.
//   - Nothing here waits for anything that the app could hold up.
//   - Nothing that the app, the runner's env or the image brings decides how this program starts: it is linked statically, takes
//     its settings from its command line, and drops its environment before it does anything else (prepare.go).
package main

import (
	"fmt"
	"os"
)

const usage = `usage: launcher launcher [--agent-port=N] [--processes=N] [--open-files=N] [--scratch=DIRECTORY] [--workspace=DIRECTORY]
                         [--no-new-privileges] [--landlock]
       launcher enter COMMAND [ARGUMENT…]
`

// The first word says which of its parts a process plays. The last three are started by the launcher itself.
func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	words := os.Args[2:]
	switch os.Args[1] {
	case "launcher":
		os.Exit(prepare(words))
	case "enter":
		os.Exit(enter(words))
	case "serve":
		os.Exit(serve(words))
	case "keeper":
		os.Exit(keep())
	case "become":
		os.Exit(become())
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}
