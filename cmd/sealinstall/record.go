package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/ledger"
)

// record is what this machine knows of a cluster that was made before.
type record struct {
	*installer.Cluster        // as the last run left it, or tried to
	file               string // where it stands
	// finished is the cluster as the last run that came to its end made it: its settings are those in force. nil when none did.
	finished *installer.Cluster
}

// recorded reads the record of a cluster: that of this machine or, on a master, the one that every master keeps, where that
// is newer: another machine has worked on the cluster since. nil means that there is none.
func (o *runOptions) recorded(name string) (*record, error) {
	dir, err := installer.StateDir(name)
	if err != nil {
		return nil, err
	}
	onMaster := ledger.RecordOnMaster
	if o.onMaster != nil {
		onMaster = o.onMaster
	}
	var newest *record
	for _, file := range []string{filepath.Join(dir, ledger.ClusterfileName), onMaster(name)} {
		c, err := readRecorded(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the record of cluster %s: %w", name, err)
		}
		r := &record{Cluster: c, file: file}
		if c.Finished() {
			r.finished = c
		} else {
			before, err := readRecorded(filepath.Join(filepath.Dir(file), ledger.LastClusterfileName))
			if err == nil {
				r.finished = before
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("read the record of cluster %s: %w", name, err)
			}
		}
		if newest == nil || newest.Finished() && c.Finished() && c.Status.WroteAt().After(newest.Status.WroteAt()) {
			newest = r
		}
	}
	if newest != nil && newest.finished != nil {
		newest.MarkRecorded(newest.finished)
	}
	return newest, nil
}

// readRecorded reads what an earlier run wrote; it is no template.
func readRecorded(name string) (*installer.Cluster, error) { return new(configOptions).readFile(name) }

// desired is the cluster that flags and files ask for: the hosts that they name
// are to be in it, and every host that is recorded stays in it.
func (o *runOptions) desired() (*installer.Cluster, error) {
	c, err := o.described()
	if err != nil {
		return nil, err
	}
	name := o.cluster
	if c != nil && c.Name != "" {
		name = c.Name
	}
	known, err := o.recorded(name)
	if err != nil {
		return nil, err
	}
	if known != nil && known.Status.TakenApart() {
		known = nil // what is left of it are hosts that are gone
	}
	return o.desiredOn(c, name, known)
}

// described is the cluster of the Clusterfile; nil if none is given.
func (o *runOptions) described() (*installer.Cluster, error) {
	if o.clusterfile == "" {
		return nil, nil
	}
	return o.config.readFile(o.clusterfile)
}

// again is desired with the record that was found on a master, for a machine that has none.
func (o *runOptions) again(found *installer.Cluster) (*installer.Cluster, error) {
	c, err := o.described()
	if err != nil {
		return nil, err
	}
	known := &record{Cluster: found}
	if found.Finished() {
		known.finished = found
	}
	return o.desiredOn(c, found.Name, known)
}

func (o *runOptions) desiredOn(file *installer.Cluster, name string, known *record) (*installer.Cluster, error) {
	c, base, err := o.ground(file, known)
	if err != nil {
		return nil, err
	}
	c.Name = name
	if err := o.lay(c); err != nil {
		return nil, err
	}
	if len(c.Hosts) == 0 {
		return nil, usageError{fmt.Errorf("%s has no Cluster document with hosts, and no --masters are given", o.clusterfile)}
	}
	if known != nil && c != known.Cluster {
		if err := c.Extend(known.Cluster); err != nil {
			return nil, usageError{err}
		}
	}
	return completed(c, o.layUserConfig(c, base))
}

// ground is what the flags are laid over: a Clusterfile; else the record, as it is when no masters are named, and its settings in
// force when some are. recorded tells that ssh's settings may be mere defaults of an earlier run.
func (o *runOptions) ground(file *installer.Cluster, known *record) (c *installer.Cluster, recorded bool, err error) {
	switch {
	case file != nil:
		return file, false, nil
	case known != nil && !o.masters.given:
		if err := o.localIs(known); err != nil {
			return nil, false, err
		}
		known.Kept, known.Images = known.Images, nil
		return known.Cluster, true, nil
	case known != nil && known.finished != nil:
		f := known.finished
		return &installer.Cluster{
			Env: installer.MergeEnv(f.Env), Command: f.Command, Configs: slices.Clone(f.Configs), Kubeadm: slices.Clone(f.Kubeadm),
		}, false, nil
	case o.masters.given:
		return &installer.Cluster{Env: map[string]string{}}, false, nil
	}
	own, err := o.thisMachine()
	if err != nil {
		return nil, false, err
	}
	return &installer.Cluster{Env: map[string]string{}, Hosts: []installer.Host{{IP: own, Master: true}}}, false, nil
}

// selectionAgain is selection with the record that was found on a master, for a machine that has none.
func (o *runOptions) selectionAgain(verb string) func(*installer.Cluster) (*installer.Cluster, error) {
	return func(found *installer.Cluster) (*installer.Cluster, error) {
		return completed(o.selectionOn(verb, &record{Cluster: found}))
	}
}

// selection is the recorded cluster, with the hosts that flags name to work on: all
// when they name none. With no record the hosts that are named are the cluster.
func (o *runOptions) selection(verb string) (*installer.Cluster, error) {
	known, err := o.recorded(o.cluster)
	if err != nil {
		return nil, err
	}
	return completed(o.selectionOn(verb, known))
}

// completed checks what a cluster must have before hosts are asked.
func completed(c *installer.Cluster, err error) (*installer.Cluster, error) {
	if err != nil {
		return nil, err
	}
	if err := c.Complete(); err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

func (o *runOptions) selectionOn(verb string, known *record) (*installer.Cluster, error) {
	c := &installer.Cluster{Name: o.cluster, Env: map[string]string{}}
	if known == nil {
		if len(o.masters.hosts) == 0 {
			return nil, usageError{fmt.Errorf("no cluster %q is recorded on this machine: run %s where it was made or on one of its masters, or name its hosts with --masters and --nodes", o.cluster, verb)}
		}
		if err := o.addHosts(c); err != nil {
			return nil, usageError{err}
		}
	} else {
		c = known.Cluster
		c.Name = o.cluster
		c.Kept, c.Images = c.Images, nil
		if named := slices.Concat(o.masters.hosts, o.nodes.hosts); len(named) > 0 {
			if err := c.Select(named); err != nil {
				return nil, usageError{err}
			}
		}
	}
	if err := errors.Join(o.config.lay(c), o.laySSH(&c.SSH)); err != nil {
		return nil, err
	}
	return c, o.layUserConfig(c, known != nil)
}

// lay puts the flags over what a file says.
func (o *runOptions) lay(c *installer.Cluster) error {
	if err := o.addHosts(c); err != nil {
		return usageError{err}
	}
	env, err := installer.ParseEnv(o.env)
	if err != nil {
		return usageError{err}
	}
	c.Env = installer.MergeEnv(c.Env, env)
	c.Secret = append(c.Secret, o.secretEnv...)
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

// question is answered by a person, or by --yes.
type question struct {
	in  io.Reader
	out io.Writer
}

// localIs refuses --local for a cluster that is another.
func (o *runOptions) localIs(known *record) error {
	if !o.local {
		return nil
	}
	masters := known.MasterIPs()
	if own, ok := fleet.OwnAddress(); ok && len(masters) == 1 && masters[0] == own.String() {
		return nil
	}
	return usageError{fmt.Errorf("a cluster %q is recorded in %s, with the masters %s: it is not this machine alone; leave --local out, or give a new cluster a name of its own (--cluster NAME)", known.Name, known.file, strings.Join(masters, ", "))}
}

// confirmed asks whether to go on.
func (q question) confirmed(text, answer string) bool {
	fmt.Fprint(q.out, text)
	got, err := bufio.NewReader(q.in).ReadString('\n')
	return err == nil && strings.TrimSpace(got) == answer
}

// thisMachine is the address of this machine for a cluster of which it is the
// only master. It is never taken by accident: --local or --yes says so, or a person does.
func (o *runOptions) thisMachine() (netip.Addr, error) {
	own, ok := fleet.OwnAddress()
	if !ok {
		return netip.Addr{}, usageError{errors.New("no --masters given, and this machine has no IPv4 address of its own")}
	}
	switch {
	case o.local, o.harmless:
		return own, nil
	case o.nodes.given:
		return netip.Addr{}, usageError{fmt.Errorf("--nodes without --masters: name the masters, or give --local to make this machine (%s) the only one", own)}
	case o.yes:
		return own, nil
	}
	q := question{in: os.Stdin, out: os.Stderr}
	text := fmt.Sprintf("no --masters given: install a cluster on this machine alone (%s)? Type yes to go on: ", own)
	if term.IsTerminal(int(os.Stdin.Fd())) && q.confirmed(text, "yes") {
		return own, nil
	}
	return netip.Addr{}, usageError{fmt.Errorf("no --masters given, and no cluster %q is recorded here: name the masters, or give --local to install on this machine alone (%s); nothing was done", o.cluster, own)}
}
