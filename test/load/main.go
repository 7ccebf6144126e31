// Command load asks an application and the API of a cluster at a steady pace, from the host it runs on, and tells what failed.
// Nothing is asked twice, and every request has a connection of its own: what fails here would have failed a user.
//
// The first JSON document on stdin is an [Order]; the end of stdin ends the work. stdout has a JSON line, a [Tally], for each
// second and kind of request, and one for each request that failed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	reader := json.NewDecoder(in)
	var order Order
	if err := reader.Decode(&order); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	kinds, err := order.kinds()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in) // whoever ordered it has enough, or is gone
		cancel()
	}()
	return ask(ctx, kinds, out)
}
