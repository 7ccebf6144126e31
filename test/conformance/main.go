// Command conformance writes the bundle with Kubernetes' own tests: `make conformance-bundle OUT=FILE`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealbuild/sealbuild/test/scenario"
)

func main() {
	if len(os.Args) != 2 || os.Args[1] == "" {
		fmt.Fprintln(os.Stderr, "usage: conformance FILE")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := scenario.ConformanceBundle(ctx, os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "\nconformance-bundle failed: %v\n", err)
		os.Exit(1)
	}
}
