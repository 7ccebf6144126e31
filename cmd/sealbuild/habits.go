package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// habits answer what users of sealos, docker and podman type out of habit.
var habits = map[string]string{
	"save":    "sealbuild bundle IMAGE -o FILE writes cluster images as one file",
	"load":    "sealbuild pull brings cluster images from a registry; a bundle needs no loading: run it at the site",
	"run":     "a cluster is made by the bundle: ./sealinstall --masters IPS --nodes IPS",
	"create":  "sealbuild inspect IMAGE shows what is in a cluster image; the bundle unpacks it at the site",
	"merge":   "sealbuild bundle IMAGE IMAGE... writes several cluster images as one file, and --with puts them under the one that is built",
	"history": "sealbuild inspect IMAGE shows what a cluster image is made of",
	"list":    "sealbuild images lists what is in the store",
	"ls":      "sealbuild images lists what is in the store",
	"ps":      "nothing runs here; ./sealinstall status tells how a cluster is",
	"reset":   "a cluster is reset by its bundle: ./sealinstall reset",
}

// otherFlags answer flags of other builders, as they are typed.
var otherFlags = map[string]string{
	"--masters": "hosts are given to the bundle: ./sealinstall --masters ADDRESSES --nodes ADDRESSES", "--nodes": "hosts are given to the bundle: ./sealinstall --nodes ADDRESSES",
	"--push":       "an image is pushed once it is stored: sealbuild push NAME",
	"--load":       "every image is stored: sealbuild images lists them",
	"--insecure":   "a registry without HTTPS, or with a certificate that nobody knows: --tls-verify=false",
	"--creds":      "log in first: sealbuild login REGISTRY",
	"--force":      "nothing asks here",
	"--dockerfile": "a Kubefile is named with -f",
}

// meant answers a first word that is no command and no directory. It is nil where the word may be a context, which stands alone.
func meant(c *cobra.Command, word string, alone bool) error {
	if _, err := os.Stat(word); err == nil && alone {
		return nil
	}
	if strings.Contains(word, "://") || strings.HasPrefix(word, "git@") {
		return usagef("CONTEXT is a directory of this machine, and %s is none: fetch it first, as by git clone", word)
	}
	if strings.ContainsAny(word, "/.") {
		return nil
	}
	answer := habits[word]
	if near := c.Root().SuggestionsFor(word); answer == "" && len(near) > 0 {
		answer = "did you mean sealbuild " + near[0] + "?"
	}
	if answer == "" {
		if alone && c.Flags().Changed("tag") {
			return nil // a context, then
		}
		answer = "see sealbuild --help"
	}
	return usagef("%q is neither a command nor a directory: %s", word, answer)
}

// onlyFiles refuses the - that stands for standard input or output elsewhere.
func onlyFiles(output, file string) error {
	var why string
	switch {
	case output == "-":
		why = "-o -: a bundle is checked once it is written, and gets its name when it is whole: give a FILE"
	case file == "-":
		why = "-f -: the Kubefile is read once for each platform: give a FILE"
	default:
		return nil
	}
	return &usageError{fmt.Errorf("%s (see sealbuild --help)", why)}
}
