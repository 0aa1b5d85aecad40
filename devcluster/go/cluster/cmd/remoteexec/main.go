// Command remoteexec runs a command by any `exec` subresource of a Kubernetes API with the code that `kubectl exec` itself uses
// (WebSocket first, SPDY when that fails), for tests of subresources that kubectl has no command for.
//
//	remoteexec [-stdin] [-tty COLUMNSxROWS,COLUMNSxROWS...] PATH COMMAND [ARGUMENT...]
//
// PATH is that of the subresource. KUBECONFIG says where the server is and who asks. With -tty the sizes follow each other in
// steps of half a second. The exit code is the command's, 125 when it could not be run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	kubectl "k8s.io/kubectl/pkg/cmd/exec"
)

// sizes is a remotecommand.TerminalSizeQueue.
type sizes struct {
	left  []remotecommand.TerminalSize
	begun bool
}

func (s *sizes) Next() *remotecommand.TerminalSize {
	if len(s.left) == 0 {
		return nil
	}
	if s.begun {
		time.Sleep(500 * time.Millisecond)
	}
	s.begun = true
	next := s.left[0]
	s.left = s.left[1:]
	return &next
}

func parse(text string) (*sizes, error) {
	parsed := &sizes{}
	for _, word := range strings.Split(text, ",") {
		var size remotecommand.TerminalSize
		if _, err := fmt.Sscanf(word, "%dx%d", &size.Width, &size.Height); err != nil {
			return nil, fmt.Errorf("-tty %q: %w", word, err)
		}
		parsed.left = append(parsed.left, size)
	}
	return parsed, nil
}

func run() error {
	stdin := flag.Bool("stdin", false, "pass standard input")
	tty := flag.String("tty", "", "ask for a terminal, with these sizes")
	flag.Parse()
	if flag.NArg() < 2 {
		return errors.New("usage: remoteexec [-stdin] [-tty COLUMNSxROWS,...] PATH COMMAND [ARGUMENT...]")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	target, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return err
	}
	target = target.JoinPath(flag.Arg(0))
	query := url.Values{"command": flag.Args()[1:], "stdout": {"true"}}
	var in io.Reader
	if *stdin {
		in = os.Stdin
		query.Set("stdin", "true")
	}
	var out, stderr io.Writer = os.Stdout, os.Stderr
	var queue remotecommand.TerminalSizeQueue
	if *tty != "" {
		if queue, err = parse(*tty); err != nil {
			return err
		}
		query.Set("tty", "true")
		stderr = nil
	} else {
		query.Set("stderr", "true")
	}
	target.RawQuery = query.Encode()
	return (&kubectl.DefaultRemoteExecutor{}).Execute(target, config, in, out, stderr, *tty != "", queue)
}

func main() {
	err := run()
	var exited exec.CodeExitError
	switch {
	case errors.As(err, &exited):
		os.Exit(exited.Code)
	case err != nil:
		fmt.Fprintln(os.Stderr, "remoteexec:", err)
		os.Exit(125)
	}
}
