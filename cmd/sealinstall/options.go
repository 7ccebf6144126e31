package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/spf13/pflag"
)

// maxSecretFile bounds a file that holds a password, in bytes.
const maxSecretFile = 4 << 10

// runOptions are the flags that say which cluster is meant and how its hosts are reached.
type runOptions struct {
	bundle         string
	verifyKeys     []string // files; the bundle must be signed by one of their keys
	signer         string   // who signed the bundle that was opened, if anybody asked
	masters, nodes hostList
	cluster        string
	ssh            installer.SSH
	sshSources
	env          []string
	secretEnv    []string // names of variables whose values are secret though their names do not say so
	command      []string
	configFiles  []string
	clusterfile  string
	hostKey      string
	knownHosts   string
	jobs         int
	timeout      time.Duration
	output       string
	verbose      bool
	yes          bool
	copyMode     bool
	ignoreChecks []string
	config       configOptions
	onMaster     func(cluster string) string // where a master keeps the record of a cluster, if not in its usual place
	harmless     bool                        // nothing is done, so nothing is asked
	local        bool                        // this machine alone
	leaveOut     []string                    // hosts that a reset goes on without
	printed      bool                        // the command has printed what it is about; no summary follows
	onlyLooks    bool                        // the command changes nothing, so it needs no lock
}

func (o *runOptions) flags(f *pflag.FlagSet) {
	o.hostFlags(f)
	o.config.flags(f)
	f.StringArrayVarP(&o.env, "env", "e", nil, "KEY=VALUE for scripts and templates (repeatable)")
	f.StringArrayVar(&o.secretEnv, "secret-env", nil, "NAME of a variable of the environment whose value is secret, like those of names with PASSWORD, KEY or TOKEN: not recorded, not shown (repeatable)")
	f.StringArrayVar(&o.command, "cmd", nil, "shell line to run instead of the CMD of the last image (repeatable)")
	f.StringArrayVar(&o.configFiles, "config-file", nil, "file with Config, kubeadm, kubelet or kube-proxy documents (repeatable)")
	f.StringVarP(&o.clusterfile, "file", "f", "", "Clusterfile that describes the cluster, instead of --masters and --nodes")
	f.StringSliceVar(&o.ignoreChecks, "ignore-check", nil, "checks whose problems are told and do not stop the run: "+strings.Join(preflight.Checks(), ", "))
	f.BoolVar(&o.local, "local", false, "this machine is the only master, without ssh; nodes may be given with --nodes")
	f.BoolVar(&o.copyMode, "copy-registry", false, "send every blob to the registry hosts, even those they have")
}

// hostFlags are those that every command needs which goes to hosts.
func (o *runOptions) hostFlags(f *pflag.FlagSet) {
	f.Var(&o.masters, "masters", "addresses of the masters: 10.0.0.2,10.0.0.3:2222,10.0.0.4-10.0.0.6")
	f.Var(&o.nodes, "nodes", "addresses of the nodes, in the same form")
	f.StringVar(&o.cluster, "cluster", installer.DefaultName, "name of the cluster")
	o.sshFlags(f)
	f.IntVar(&o.jobs, "jobs", 10, "hosts worked on at once")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "longest time for one script or one kubeadm command")
	f.StringVarP(&o.output, "output", "o", "text", "form of the summary: text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show the output of scripts and commands")
}

// yesFlag is for commands that ask something.
func (o *runOptions) yesFlag(f *pflag.FlagSet, what string) {
	f.BoolVarP(&o.yes, "yes", "y", false, what)
}

func (o *runOptions) check() error {
	if err := checkForm(o.output); err != nil {
		return err
	}
	switch {
	case o.ssh.Port < 0 || o.ssh.Port > 65535:
		return usageError{fmt.Errorf("--port %d: expected 1 to 65535", o.ssh.Port)}
	case o.jobs < 1:
		return usageError{fmt.Errorf("--jobs %d: expected at least 1", o.jobs)}
	case o.timeout < time.Second:
		return usageError{fmt.Errorf("--timeout %s: expected at least 1s", o.timeout)}
	case o.local && o.masters.given:
		return usageError{errors.New("--local is this machine as the only master: give that or --masters, not both")}
	}
	for _, name := range o.ignoreChecks {
		if !slices.Contains(preflight.Checks(), name) {
			return usageError{fmt.Errorf("--ignore-check %q: expected names out of %s", name, strings.Join(preflight.Checks(), ", "))}
		}
	}
	return nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return data, err
}
