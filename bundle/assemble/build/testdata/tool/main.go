// Command tool is what RUN instructions of tests run, as a program or as the
// image's shell: it writes the files it is given, and takes a few words more.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	text := "made by RUN\n"
	for _, arg := range os.Args[1:] {
		for _, word := range strings.Fields(arg) {
			key, value, _ := strings.Cut(word, "=")
			switch {
			case strings.HasPrefix(word, "/"): // write it
				must(os.WriteFile(word, []byte(text), 0o644))
			case key == "read": // what is written next is how long the file is, and whether it is one line
				read, err := os.ReadFile(value)
				must(err)
				text = fmt.Sprintln(len(read), "bytes,", bytes.Count(read, []byte("\n")), "lines")
			case key == "length": // of what was read
				if !strings.HasPrefix(text, value+" bytes") {
					fmt.Fprintln(os.Stderr, "read", text)
					os.Exit(4)
				}
			case key == "copy": // FROM:TO, with its directories
				from, to, _ := strings.Cut(value, ":")
				data, err := os.ReadFile(from)
				must(err)
				must(os.MkdirAll(filepath.Dir(to), 0o755))
				must(os.WriteFile(to, data, 0o644))
			case key == "dial": // a socket, whose path a variable tells
				c, err := net.Dial("unix", os.Getenv(value))
				must(err)
				must(c.Close())
			case key == "fail":
				fmt.Fprintln(os.Stderr, "said before it failed")
				os.Exit(3)
			}
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
