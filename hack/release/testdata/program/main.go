// Command program stands for the programs of a release in tests: it answers what hack/release asks of them.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"example.com/own"
	"github.com/spf13/pflag"
)

var version = "dev"

const commands = `{"use": "%s CONTEXT", "short": "does it", "long": "reads <chart>.values.yaml and *_test of every CONTEXT", "runnable": true,
 "flags": [{"name": "root", "shorthand": "r", "usage": "a store", "type": "string", "default": "/r_x", "persistent": true}],
 "commands": [{"use": "plan [flags] CONTEXT", "short": "shows it", "example": "  plan <x>", "runnable": true}]}
`

func main() {
	name := filepath.Base(os.Args[0])
	pflag.Parse()
	switch pflag.Arg(0) {
	case "version":
		fmt.Println(name, version)
	case "completion":
		fmt.Println("completion of", name, "for", pflag.Arg(1))
	case "__commands":
		fmt.Printf(commands, "sealbuild")
	default:
		os.Exit(own.Exit)
	}
}
