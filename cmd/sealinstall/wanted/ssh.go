package wanted

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
)

// sshSources is where settings for ssh come from beside the flags that hold them.
type sshSources struct {
	passwordFile   string
	askPassword    bool
	passphraseFile string
	userConfigFile string
	userConfig     *host.UserConfig
}

func (o *Options) sshFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.ssh.User, "user", "u", "", "user to log in as: root, or one who may use sudo (default root)")
	f.StringVarP(&o.ssh.Password, "passwd", "p", "", "password of the login, and of sudo where it asks; better: "+PasswordVariable+", --passwd-file or --ask-passwd")
	f.StringVar(&o.passwordFile, "passwd-file", "", "file that holds the password")
	f.BoolVar(&o.askPassword, "ask-passwd", false, "ask for the password on the terminal")
	f.StringVarP(&o.ssh.KeyFile, "pk", "i", "", "private key file (default: those of ~/.ssh); keys of an ssh agent are tried too")
	f.StringVar(&o.ssh.KeyPassphrase, "pk-passwd", "", "passphrase of the private key; better: "+passphraseVariable+", --pk-passwd-file or the question on the terminal")
	f.StringVar(&o.passphraseFile, "pk-passwd-file", "", "file that holds the passphrase of the private key")
	f.IntVar(&o.ssh.Port, "port", 0, "port of ssh (default 22)")
	f.StringVar(&o.ssh.Jump, "jump", "", "host to go through: [USER@]HOST[:PORT], several with commas; none for none at all")
	f.StringVar(&o.userConfigFile, "ssh-config", "", "file in the form of ssh_config, of which Host, Match, HostName, User, Port, IdentityFile, CertificateFile, ProxyJump and Include are read; none for none (default ~/.ssh/config)")
	f.StringVar(&o.hostKey, "host-key", "accept-new", "unknown or changed ssh host keys: strict, accept-new or off")
	f.StringVar(&o.knownHosts, "known-hosts", "", "file of known host keys (default: in the cluster's state directory)")
}

func (o *Options) hostKeyPolicy() (host.HostKeyPolicy, error) {
	policy, err := host.ParseHostKeyPolicy(o.hostKey)
	if err != nil {
		return 0, usage.Errorf("--host-key %q: expected strict, accept-new or off", o.hostKey)
	}
	return policy, nil
}

// Login asks for the passphrases that the cluster's hosts need, and says how they are reached. KnownHosts is empty where flags name
// no file; then the caller has one in the cluster's state directory.
func (o *Options) Login(c *installer.Cluster) (fleet.Options, error) {
	policy, err := o.hostKeyPolicy()
	if err != nil {
		return fleet.Options{}, err
	}
	if err := askPassphrases(c); err != nil {
		return fleet.Options{}, err
	}
	return fleet.Options{
		Jobs: o.jobs, Timeout: o.Timeout, HostKey: policy, KnownHosts: o.knownHosts, AgentSocket: os.Getenv(agentVariable), UserConfig: o.userConfig,
	}, nil
}

// laySSH puts the flags over what a Clusterfile says.
func (o *Options) laySSH(s *installer.SSH) error {
	s.User, s.Port, s.KeyFile = cmp.Or(o.ssh.User, s.User), cmp.Or(o.ssh.Port, s.Port), cmp.Or(o.ssh.KeyFile, s.KeyFile)
	if o.ssh.KeyFile != "" { // the one that is typed; a recorded one may be of another machine
		if _, err := readBounded(o.ssh.KeyFile, maxFile); err != nil {
			return usage.Errorf("--pk: %w", err)
		}
	}
	if o.ssh.Jump != "" {
		if _, err := host.ParseJump(o.ssh.Jump); err != nil {
			return usage.Errorf("--jump: %w", err)
		}
		s.Jump = o.ssh.Jump
	}
	password, err := o.password()
	if err != nil {
		return err
	}
	s.Password = cmp.Or(password, s.Password)
	passphrase, err := secret(o.ssh.KeyPassphrase, o.passphraseFile, environmentPassphrase)
	s.KeyPassphrase = cmp.Or(passphrase, s.KeyPassphrase)
	return err
}

// layUserConfig takes from the operator's ssh configuration what neither flags nor Clusterfile say. The rest of it is
// asked for when a host is dialled. recorded tells that the cluster's own settings may be mere defaults of the run before.
func (o *Options) layUserConfig(c *installer.Cluster, recorded bool) error {
	if err := o.readUserConfig(); err != nil {
		return err
	}
	explicit := c.SSH
	if recorded && o.ssh.User == "" && explicit.User == installer.DefaultUser {
		explicit.User = ""
	}
	if recorded && o.ssh.Port == 0 && explicit.Port == installer.DefaultSSHPort {
		explicit.Port = 0
	}
	for i := range c.Hosts {
		h := &c.Hosts[i]
		named := h.SSH.User
		if named == "" {
			named = explicit.User
		}
		said, err := o.userConfig.For(h.IP.String(), named)
		if err != nil {
			return usage.Error{Err: err}
		}
		if h.SSH.Jump == "" && c.SSH.Jump == "" {
			// Only to see what is said about jump hosts: they are made when hosts are dialled.
			_, _, _ = o.userConfig.Jumps(said.Jump, host.SSHConfig{})
		}
		if h.SSH.User == "" && explicit.User == "" {
			h.SSH.User = said.User
		}
		if h.SSH.Port == 0 && explicit.Port == 0 {
			h.SSH.Port = said.Port
		}
	}
	for _, warning := range o.userConfig.Warnings() {
		fmt.Fprintln(os.Stderr, "warning: "+warning)
	}
	return nil
}

func (o *Options) readUserConfig() error {
	name := o.userConfigFile
	switch name {
	case "none":
		return nil
	case "":
		home, err := os.UserHomeDir()
		if err != nil {
			return nil // then there is no file of the user's either
		}
		name = filepath.Join(home, ".ssh", "config")
	default:
		if _, err := os.Stat(name); err != nil {
			return usage.Error{Err: err}
		}
	}
	config, err := host.ReadUserConfig(name)
	if err != nil {
		return usage.Errorf("%w (give another file with --ssh-config, or none)", err)
	}
	o.userConfig = config
	return nil
}
