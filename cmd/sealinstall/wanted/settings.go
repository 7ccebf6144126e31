package wanted

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

// lay puts the flags over what a file says.
func (o *Options) lay(c *installer.Cluster) error {
	if err := o.addHosts(c); err != nil {
		return usage.Error{Err: err}
	}
	env, err := installer.ParseEnv(o.env)
	if err != nil {
		return usage.Error{Err: err}
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
		extra, err := o.files.read(name)
		if err != nil {
			return err
		}
		if len(extra.Hosts) > 0 {
			return usage.Errorf("%s holds a Cluster document: give it with --file", name)
		}
		c.Configs = append(c.Configs, extra.Configs...)
		c.Kubeadm = append(c.Kubeadm, extra.Kubeadm...)
	}
	return errors.Join(o.layCertificates(c), o.laySSH(&c.SSH))
}

// layCertificates puts the flags about certificates over what files say.
func (o *Options) layCertificates(cluster *installer.Cluster) error {
	var validity time.Duration
	if o.certValidity != "" {
		var err error
		if validity, err = parseValidity(o.certValidity); err != nil {
			return usage.Errorf("--cert-validity %q: %w", o.certValidity, err)
		}
	}
	docs, err := kubeadm.WithCertificates(cluster.Kubeadm, o.CertSANs, validity)
	if err != nil {
		return usage.Error{Err: err}
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
