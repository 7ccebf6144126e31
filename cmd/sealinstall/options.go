package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/templates"
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
	members      memberOptions
	leaveOut     []string // hosts that a reset goes on without
	printed      bool     // the command has printed what it is about; no summary follows
	onlyLooks    bool     // the command changes nothing, so it needs no lock
}

func (o *runOptions) flags(f *pflag.FlagSet) {
	o.hostFlags(f)
	o.config.flags(f)
	f.StringArrayVarP(&o.env, "env", "e", nil, "KEY=VALUE for scripts and templates (repeatable)")
	f.StringArrayVar(&o.secretEnv, "secret-env", nil, "NAME of a variable of the environment whose value is secret, like those of names with PASSWORD, KEY or TOKEN: not recorded, not shown (repeatable)")
	f.StringArrayVar(&o.command, "cmd", nil, "shell line to run instead of the CMD of the last image (repeatable)")
	f.StringArrayVar(&o.configFiles, "config-file", nil, "file with Config, kubeadm, kubelet or kube-proxy documents (repeatable)")
	f.StringVarP(&o.clusterfile, "file", "f", "", "Clusterfile that describes the cluster, instead of --masters and --nodes")
	o.checkFlags(f)
	f.BoolVar(&o.local, "local", false, "this machine is the only master, without ssh; nodes may be given with --nodes")
	f.BoolVar(&o.copyMode, "copy-registry", false, "send every blob to the registry hosts, even those they have")
}

// checkFlags registers the flag that makes problems warnings.
func (o *runOptions) checkFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.ignoreChecks, "ignore-check", nil, "checks whose problems are told and do not stop the run: "+strings.Join(preflight.Checks(), ", "))
}

// hostFlags registers the flags of every command that goes to hosts.
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

// yesFlag registers --yes, for commands that ask something.
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

// configOptions are the flags that say how the cluster is configured, beside what a Clusterfile says.
type configOptions struct {
	valueFiles, set []string
	certSANs        []string
	certValidity    string
	caDir           string
	dryRun          bool
}

func (c *configOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.valueFiles, "values", nil, "YAML file of values for a Clusterfile that is a template (repeatable)")
	f.StringArrayVar(&c.set, "set", nil, "KEY=VALUE for a Clusterfile that is a template: a.b=1,list[0]=x (repeatable)")
	f.StringSliceVar(&c.certSANs, "cert-sans", nil, "further names and addresses of the API server's certificates")
	f.StringVar(&c.certValidity, "cert-validity", "", "how long new certificates are valid: 100y, 365d or 8760h (default 100y)")
	f.StringVar(&c.caDir, "ca-dir", "", "directory of authorities to use instead of new ones, laid out as /etc/kubernetes/pki: ca.crt, ca.key, front-proxy-ca.*, etcd/ca.*, sa.key")
	f.BoolVar(&c.dryRun, "dry-run", false, "show what would be done, contact no host and change nothing")
}

// lay puts the flags over what files say.
func (c *configOptions) lay(cluster *installer.Cluster) error {
	var validity time.Duration
	if c.certValidity != "" {
		var err error
		if validity, err = parseValidity(c.certValidity); err != nil {
			return usageError{fmt.Errorf("--cert-validity %q: %w", c.certValidity, err)}
		}
	}
	docs, err := kubeadm.WithCertificates(cluster.Kubeadm, c.certSANs, validity)
	if err != nil {
		return usageError{err}
	}
	cluster.Kubeadm = docs
	return nil
}

// parseValidity reads a duration that may also be in days or years of 365 days.
func parseValidity(s string) (time.Duration, error) {
	day := 24 * time.Hour
	for unit, length := range map[string]time.Duration{"d": day, "y": 365 * day} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > int(290*365*day/length) {
				return 0, errors.New("expected a number of days or years before the unit, at most 290y")
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Hour {
		return 0, errors.New("expected at least an hour: 100y, 365d or 8760h")
	}
	return d, nil
}

// readFile reads a file of documents. One that is a template is rendered first.
func (c *configOptions) readFile(name string) (*installer.Cluster, error) {
	data, err := readBounded(name, 8<<20)
	if err != nil {
		return nil, err
	}
	if len(c.valueFiles)+len(c.set) > 0 {
		if data, err = c.render(name, data); err != nil {
			return nil, usageError{err}
		}
	}
	return parseClusterfile(name, data)
}

func (c *configOptions) render(name string, data []byte) ([]byte, error) {
	values := templates.Values{}
	for _, file := range c.valueFiles {
		content, err := readBounded(file, 8<<20)
		if err != nil {
			return nil, err
		}
		if err := values.AddFile(file, content); err != nil {
			return nil, err
		}
	}
	for _, s := range c.set {
		if err := values.Set(s); err != nil {
			return nil, fmt.Errorf("--set %w", err)
		}
	}
	return templates.RenderClusterfile(name, data, values)
}

// parseClusterfile reads documents, and looks for slips in those that kubeadm would pass over.
func parseClusterfile(name string, data []byte) (*installer.Cluster, error) {
	c, err := installer.ParseClusterfile(name, data)
	if c != nil {
		for _, doc := range c.Kubeadm {
			err = errors.Join(err, kubeadm.CheckFields(name, doc, installer.DidYouMean))
		}
	}
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// hostList is the value of --masters or --nodes. That it was given matters as
// much as what it holds: an unset variable of a script must not mean something else.
type hostList struct {
	text  string
	given bool
	hosts []installer.Address
}

func (l *hostList) String() string { return l.text }

// Type is how --help names the value.
func (l *hostList) Type() string { return "addresses" }

// Set reads the list.
func (l *hostList) Set(text string) error {
	hosts, err := installer.ParseAddresses(text)
	if err == nil && len(hosts) == 0 {
		err = errors.New("it is empty (an unset variable?); leave the flag out if no host is meant")
	}
	l.text, l.given, l.hosts = text, true, hosts
	return err
}

// addHosts adds the hosts of the flags to those of a file.
func (o *runOptions) addHosts(c *installer.Cluster) error {
	known := slices.Clone(c.Hosts)
	for _, list := range []struct {
		flag   string
		hosts  []installer.Address
		master bool
	}{{"--masters", o.masters.hosts, true}, {"--nodes", o.nodes.hosts, false}} {
		for _, a := range list.hosts {
			i := slices.IndexFunc(known, func(h installer.Host) bool { return h.IP == a.IP })
			if i >= 0 && known[i].Master != list.master {
				return fmt.Errorf("%s: host %s has the other role in the cluster, and keeps it", list.flag, a.IP)
			}
			if i >= 0 { // meant, not a second one
				if a.Port != 0 {
					c.Hosts[i].SSH.Port, c.Hosts[i].Tunnel = a.Port, a.Tunnel()
				}
				c.Hosts[i].Recorded = time.Time{} // it must be in, whatever another machine has done since
				continue
			}
			c.Hosts = append(c.Hosts, installer.Host{IP: a.IP, Master: list.master, SSH: installer.SSH{Port: a.Port}, Tunnel: a.Tunnel()})
		}
	}
	return nil
}
