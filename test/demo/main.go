// Command demo tells the install scenario as a story: `make demo`. With -record it keeps what it tells, as an asciicast and a
// picture.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealbuild/sealbuild/test/documents"
	"github.com/sealbuild/sealbuild/test/record"
	"github.com/sealbuild/sealbuild/test/scenario"
	"github.com/sealbuild/sealbuild/test/testbed"
)

func main() {
	dir := flag.String("record", "", "directory to write demo.cast and demo.svg into, once the story has come to its end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := demo(ctx, *dir); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, dir string) error {
	if dir == "" {
		return scenario.Install(ctx, os.Stdout)
	}
	root, err := documents.Root()
	if err != nil {
		return err
	}
	cache, err := testbed.CacheDir()
	if err != nil {
		return err
	}
	// What tools and pieces are built of is told every time anew, and is no part of the story.
	r := record.New("one file makes a Kubernetes cluster", "sealbuild: the cluster images", cache, "~/.cache/sealbuild-test", root+"/", "", root, ".")
	if err := scenario.Install(ctx, io.MultiWriter(os.Stdout, r)); err != nil {
		return err
	}
	return r.Save(dir, "demo")
}
