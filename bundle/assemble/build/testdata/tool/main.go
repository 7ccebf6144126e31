// Command tool is what a RUN instruction of a test runs: it writes the file it is given.
package main

import "os"

func main() {
	if err := os.WriteFile(os.Args[1], []byte("made by RUN\n"), 0o644); err != nil {
		panic(err)
	}
}
