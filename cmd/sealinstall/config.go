package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/templates"
)

// configOptions are the flags that say how the cluster is configured, beside
// what a Clusterfile says.
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
