package main

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/cli"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
)

// synonyms are words that users of sealos, kubeadm, kubectl, docker and other installers type for one of our commands.
var synonyms = map[string][]string{
	"run":     {"install", "create", "init", "deploy", "up", "bootstrap"},
	"add":     {"join", "scale", "scale-out"},
	"delete":  {"remove", "rm", "drain", "scale-in", "leave"},
	"reset":   {"uninstall", "destroy", "clean", "teardown", "down"},
	"cert":    {"certs", "certificates", "renew"},
	"status":  {"get", "health", "info", "describe", "ps", "top"},
	"list":    {"images", "ls"},
	"scp":     {"cp", "copy", "rsync"},
	"exec":    {"ssh", "sh", "shell"},
	"gen":     {"generate", "config", "template"},
	"plan":    {"diff", "preview", "dry-run"},
	"upgrade": {"update"},

	"support-bundle": {"support", "sos", "sosreport", "must-gather", "dump", "diagnose", "doctor"},
}

const (
	makesCluster = "the images lie in this file already: ./sealinstall --masters ADDRESSES --nodes ADDRESSES makes the cluster"
	needsNoLoad  = "a bundle needs no loading: a run fills the registry on every master by itself"
	isBuilt      = "images are made where there is a network: sealbuild --help"
	hostFlags    = "hosts are given with --masters and --nodes"
)

// otherWords answer words that are no other name of one of our commands.
var otherWords = map[string]string{
	"load": needsNoLoad, "push": needsNoLoad, "import": needsNoLoad,
	"save": isBuilt, "build": isBuilt, "pull": isBuilt, "merge": isBuilt, "tag": isBuilt, "rmi": isBuilt, "login": isBuilt,
	"check": "every run checks all hosts before it changes one; sealinstall verify checks this file", "preflight": "every run checks all hosts before it changes one",
}

// otherFlags answer flags that other programs have, as they are typed.
var otherFlags = map[string]string{
	"--ips":    hostFlags,
	"--hosts":  hostFlags,
	"--single": "this machine alone is --local",
	"--force":  "what asks goes on without an answer with --yes",
	"-f":       "what asks goes on without an answer with --yes; a Clusterfile is given to sealinstall apply",
	"--json":   "the form of the output is -o json",
	"--debug":  "more is told with -v",
	"--key":    "a private key is given with -i", "--ssh-key": "a private key is given with -i", "--identity-file": "a private key is given with -i",
	"--username": "the user to log in as is given with -u",
	"--name":     "the name of a cluster is given with --cluster",
	"--values":   "values are given to sealinstall apply and to a run",
}

// meant tells what the operator may have meant by a word after cmd that is no command.
func meant(cmd *cobra.Command, word string) string {
	if _, err := installer.ParseAddresses(word); err == nil {
		return hostFlags
	}
	switch cmd.Name() {
	case "apply":
		return "did you mean " + cmd.CommandPath() + " -f " + word + "?"
	case "run", "gen":
		return makesCluster
	case "upgrade", "verify", "list", "inspect", "extract", "inventory":
		return "a bundle is named with --bundle " + word + ", or is run itself: ./" + strings.TrimPrefix(word, "./") + " " + cmd.Name()
	}
	if cmd.HasParent() && !cmd.HasSubCommands() {
		return "see " + cmd.CommandPath() + " --help"
	}
	if answer := otherWords[word]; answer != "" && !cmd.HasParent() {
		return answer
	}
	if info, err := os.Stat(word); err == nil && !info.IsDir() {
		return "a bundle is named with --bundle, a Clusterfile with apply -f"
	}
	return near(cmd, word)
}

// near gives the command that the word is another name of, or that is spelled nearly so, under any of its names.
func near(cmd *cobra.Command, word string) string {
	commands := map[string]string{} // by each word that means them
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		commands[c.Name()] = c.Name()
		for _, other := range synonyms[c.Name()] {
			commands[other] = c.Name()
		}
	}
	if name := commands[word]; name != "" {
		return described(cmd, name)
	}
	var found []string
	for _, name := range cli.Near(word, slices.Sorted(maps.Keys(commands))) {
		if !slices.Contains(found, commands[name]) {
			found = append(found, commands[name])
		}
	}
	switch len(found) {
	case 0:
		return hostFlags + " (see " + cmd.CommandPath() + " --help)"
	case 1:
		return described(cmd, found[0])
	}
	return cli.DidYouMean(cmd.CommandPath()+" ", found)
}

// described asks whether one command was meant, and says what that does.
func described(cmd *cobra.Command, name string) string {
	for _, c := range cmd.Commands() {
		if c.Name() == name {
			return "did you mean " + c.CommandPath() + "? (" + c.Short + ")"
		}
	}
	return ""
}

// noArgs refuses arguments that are no command, and tells what may be meant.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage.Errorf("unknown command or argument %q for %q: %s; nothing was done", args[0], cmd.CommandPath(), meant(cmd, args[0]))
}

// unknownFlag is an error about flags. Behind a word that is no command, the word is what is wrong.
func unknownFlag(cmd *cobra.Command, err error) error {
	if word := cmd.Flags().Arg(0); word != "" && cmd.HasSubCommands() {
		return noArgs(cmd, []string{word})
	}
	if hint := cli.NearFlag(cmd, err, otherFlags); hint != "" {
		return usage.Errorf("%w: %s; nothing was done", err, hint)
	}
	return usage.Error{Err: cli.FlagError(err)}
}
