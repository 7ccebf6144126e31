// Command keepenv stands in for sh and env in the images of Kubernetes' tests.
// The shell of Debian's busybox drops variables of its environment whose names
// no shell could set; that of the busybox which upstream's images hold hands
// them on, and tests look for them with `sh -c env`. As sh it puts such
// variables into one with a plain name and becomes busybox's shell; as env it
// takes them out again and becomes busybox's env. The shell would take its own
// env before ours, so a script with such variables begins with a function.
package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

const (
	busybox = "/bin/busybox"
	carrier = "KEEPENV_VARIABLES"
)

var shellName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func main() {
	environment, args := pack(os.Environ()), os.Args
	if filepath.Base(os.Args[0]) == "env" {
		environment = unpack(os.Environ())
	} else {
		args = withOurEnv(args, environment)
	}
	// busybox does what its name says.
	fmt.Fprintln(os.Stderr, "keepenv: run busybox:", syscall.Exec(busybox, args, environment))
	os.Exit(126)
}

// withOurEnv lets the script of `sh -c` find our env where it matters.
func withOurEnv(args, environment []string) []string {
	carries := slices.ContainsFunc(environment, func(v string) bool { return strings.HasPrefix(v, carrier+"=") })
	if i := slices.Index(args, "-c"); carries && i > 0 && i+1 < len(args) {
		args = slices.Clone(args)
		args[i+1] = `env() { /bin/env "$@"; }; ` + args[i+1]
	}
	return args
}

// pack puts the variables that a shell would drop into one that it keeps.
func pack(environment []string) []string {
	var out, dropped []string
	for _, v := range environment {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case name == carrier: // a shell within a shell
			dropped = append(dropped, decode(v)...)
		case shellName.MatchString(name):
			out = append(out, v)
		default:
			dropped = append(dropped, v)
		}
	}
	if len(dropped) == 0 {
		return out
	}
	return append(out, carrier+"="+base64.StdEncoding.EncodeToString([]byte(strings.Join(dropped, "\x00"))))
}

// unpack gives back what pack was given.
func unpack(environment []string) []string {
	var out []string
	for _, v := range environment {
		if name, _, _ := strings.Cut(v, "="); name == carrier {
			out = append(out, decode(v)...)
			continue
		}
		out = append(out, v)
	}
	return out
}

func decode(variable string) []string {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(variable, carrier+"="))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return strings.Split(string(raw), "\x00")
}
