package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/steps"
	"github.com/spf13/pflag"
)

// maxSecretFile bounds a file that holds a password, in bytes.
const maxSecretFile = 4 << 10

// runOptions are the flags that say which cluster is meant and how its hosts are reached.
type runOptions struct {
	bundle         string
	verifyKeys     []string // files; the bundle must be signed by one of their keys
	signer         string   // who signed the bundle that was opened, if anybody asked
	masters, nodes string
	cluster        string
	ssh            installer.SSH
	sshSources
	env          []string
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
	printed      bool // the command has printed what it is about; no summary follows
}

func (o *runOptions) flags(f *pflag.FlagSet) {
	o.hostFlags(f)
	o.config.flags(f)
	f.StringArrayVarP(&o.env, "env", "e", nil, "KEY=VALUE for scripts and templates (repeatable)")
	f.StringArrayVar(&o.command, "cmd", nil, "shell line to run instead of the CMD of the last image (repeatable)")
	f.StringArrayVar(&o.configFiles, "config-file", nil, "file with Config, kubeadm, kubelet or kube-proxy documents (repeatable)")
	f.StringVarP(&o.clusterfile, "file", "f", "", "Clusterfile that describes the cluster, instead of --masters and --nodes")
	f.StringSliceVar(&o.ignoreChecks, "ignore-check", nil, "checks whose problems are told and do not stop the run: "+strings.Join(steps.Checks(), ", "))
	f.BoolVar(&o.copyMode, "copy-registry", false, "send every blob to the registry hosts, even those they have")
}

// hostFlags are those that every command needs which goes to hosts.
func (o *runOptions) hostFlags(f *pflag.FlagSet) {
	f.StringVar(&o.masters, "masters", "", "addresses of the masters: 10.0.0.2,10.0.0.3:2222,10.0.0.4-10.0.0.6")
	f.StringVar(&o.nodes, "nodes", "", "addresses of the nodes, in the same form")
	f.StringVar(&o.cluster, "cluster", installer.DefaultName, "name of the cluster")
	o.sshFlags(f)
	f.IntVar(&o.jobs, "jobs", 10, "hosts worked on at once")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "longest time for one script or one kubeadm command")
	f.StringVarP(&o.output, "output", "o", "text", "form of the summary: text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show the output of scripts and commands")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
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
	}
	for _, name := range o.ignoreChecks {
		if !slices.Contains(steps.Checks(), name) {
			return usageError{fmt.Errorf("--ignore-check %q: expected names out of %s", name, strings.Join(steps.Checks(), ", "))}
		}
	}
	return nil
}

// desired reads the cluster that flags and files ask for. With neither
// --masters nor a Clusterfile it is the cluster of that name made before, and
// if there is none, this machine alone.
func (o *runOptions) desired() (*installer.Cluster, error) {
	c := &installer.Cluster{Env: map[string]string{}}
	source := o.clusterfile
	if source == "" && o.masters == "" {
		dir, err := installer.StateDir(o.cluster)
		if err != nil {
			return nil, err
		}
		recorded := filepath.Join(dir, steps.ClusterfileName)
		if _, err := os.Stat(recorded); err == nil {
			source = recorded
		}
	}
	if source != "" {
		read := o.config.readFile
		if source != o.clusterfile {
			read = readRecorded
		}
		parsed, err := read(source)
		if err != nil {
			return nil, err
		}
		c = parsed
		if len(c.Hosts) == 0 && o.masters == "" {
			return nil, usageError{fmt.Errorf("%s has no Cluster document with hosts, and no --masters are given", source)}
		}
	}
	if err := o.lay(c, source != ""); err != nil {
		return nil, err
	}
	if err := o.layUserConfig(c, source != "" && source != o.clusterfile); err != nil {
		return nil, err
	}
	if err := c.Complete(); err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// lay puts the flags over what a Clusterfile says.
func (o *runOptions) lay(c *installer.Cluster, fromFile bool) error {
	if !fromFile || c.Name == "" {
		c.Name = o.cluster
	}
	if err := o.addHosts(c); err != nil {
		return usageError{err}
	}
	if len(c.Hosts) == 0 {
		own, ok := steps.OwnAddress()
		if !ok {
			return usageError{errors.New("no --masters given, and this machine has no IPv4 address of its own")}
		}
		c.Hosts = []installer.Host{{IP: own, Master: true}}
	}
	env, err := installer.ParseEnv(o.env)
	if err != nil {
		return usageError{err}
	}
	c.Env = installer.MergeEnv(c.Env, env)
	if len(o.command) > 0 {
		c.Command = o.command
	}
	if o.clusterfile == "" && len(o.configFiles) > 0 {
		// The recorded ones came from the same flag; given again they replace, not repeat.
		c.Configs, c.Kubeadm = nil, nil
	}
	for _, name := range o.configFiles {
		extra, err := o.config.readFile(name)
		if err != nil {
			return err
		}
		if len(extra.Hosts) > 0 {
			return usageError{fmt.Errorf("%s holds a Cluster document: give it with --file", name)}
		}
		c.Configs = append(c.Configs, extra.Configs...)
		c.Kubeadm = append(c.Kubeadm, extra.Kubeadm...)
	}
	return errors.Join(o.config.lay(c), o.laySSH(&c.SSH))
}

func (o *runOptions) addHosts(c *installer.Cluster) error {
	recorded := slices.Clone(c.Hosts)
	for _, list := range []struct {
		flag, value string
		master      bool
	}{{"--masters", o.masters, true}, {"--nodes", o.nodes, false}} {
		addrs, err := installer.ParseAddresses(list.value)
		if err != nil {
			return fmt.Errorf("%s: %w", list.flag, err)
		}
		for _, a := range addrs {
			// A host that the Clusterfile has in the same role is meant, not a second one.
			if slices.ContainsFunc(recorded, func(h installer.Host) bool { return h.IP == a.IP && h.Master == list.master }) {
				continue
			}
			c.Hosts = append(c.Hosts, installer.Host{IP: a.IP, Master: list.master, SSH: installer.SSH{Port: a.Port}})
		}
	}
	return nil
}

// readRecorded reads what an earlier run wrote; it is no template.
func readRecorded(name string) (*installer.Cluster, error) { return new(configOptions).readFile(name) }

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
