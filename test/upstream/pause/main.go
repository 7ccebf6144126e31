// Command pause holds a pod's namespaces open, as the pause program of
// Kubernetes does: it sleeps until told to end, and as process 1 of a shared
// process namespace it reaps the children that others left behind.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set when the image is built: -X main.version=3.10.2.
var version = "unknown"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-v" {
		fmt.Println("pause", version)
		return
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that has ended; several may stand behind one
// SIGCHLD.
func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}
