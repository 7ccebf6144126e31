// sealsbom lists the packages inside one image. sealbuild runs it for every image of a bundle, and writes what it says into the
// bill of materials; nobody else needs it.
//
//	sealsbom DIRECTORY    an OCI layout that holds one image; the answer is JSON on standard output
//	sealsbom --version    which searching it does: what it says of an image depends on this and on the image alone
//
// It asks no network, and reads nothing of this machine but the layout: no module caches, no repositories.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// softMemory is where the collector of garbage begins to work for every byte. Large archives in an image may go beyond it.
const softMemory = 512 << 20

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sealsbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("it takes one argument: the directory of an OCI layout, or --version")
	}
	if args[0] == "--version" {
		_, err := fmt.Fprintln(out, version())
		return err
	}
	debug.SetMemoryLimit(softMemory)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, err := search(ctx, args[0])
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(found)
}
