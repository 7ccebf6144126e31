package secrets

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/sealos"
)

// The files of the state that hold the passwords of the registry's two accounts. Masters have them, too, so that any
// machine can go on if this one is lost.
const (
	// passwordFile has that of the account that pulls: registryUsername.
	passwordFile = "registry-password" //docs:file here ~/.sealos/<cluster>/registry-password: password of the account that pulls (0600)
	// pushPasswordFile has that of the account that pushes and deletes.
	pushPasswordFile = "registry-push-password" //docs:file here ~/.sealos/<cluster>/registry-push-password: password of the account `push` (0600)
	// passwordGiven exists once the operator has given the password. Until the masters have that, it says asked: a run that
	// goes on after one that was cut off uses the same password.
	passwordGiven = "registry-password-given"
)

// StateFiles are the files and directories of the state that hold secrets, or what was made from them.
func StateFiles() []string {
	return []string{"pki", passwordFile, pushPasswordFile, passwordGiven, "registry_htpasswd"}
}

// PasswordFiles are the files in which a directory holds the registry's passwords: that of the state, or Dir("etc") of a master.
func PasswordFiles(dir string) []string {
	return []string{filepath.Join(dir, passwordFile), filepath.Join(dir, pushPasswordFile)}
}

// passwordGiven says asked until the masters have the password, and inForce after that.
const asked, inForce = "asked", "in force"

// defaultPasswords are registry passwords that everybody knows from public images.
var defaultPasswords = []string{"", "passw0rd"}

// AdoptAndSettle takes over from the masters what this machine lacks of the cluster's secrets, and settles them.
func (s *Secrets) AdoptAndSettle(ctx context.Context) error {
	if err := s.adopt(ctx); err != nil {
		return err
	}
	return s.Settle(ctx)
}

func (s *Secrets) masterPasswordFile() string {
	return s.Dir("etc", passwordFile) //docs:file masters /var/lib/sealos/data/<cluster>/etc/registry-password: password of the account that pulls (0600)
}

func (s *Secrets) masterPushPasswordFile() string {
	return s.Dir("etc", pushPasswordFile) //docs:file masters /var/lib/sealos/data/<cluster>/etc/registry-push-password: password of the account `push` (0600)
}

// PasswordFiles are the registry's passwords as files of a master.
func (s *Secrets) PasswordFiles(t *fleet.Target) []agent.File {
	files := []agent.File{{Path: s.masterPasswordFile(), Mode: 0o600, Content: []byte(s.Passwords.Pull + "\n")}}
	if !s.PlainRegistry(t) {
		files = append(files, agent.File{Path: s.masterPushPasswordFile(), Mode: 0o600, Content: []byte(s.Passwords.Push + "\n")})
	}
	return files
}

// HideGiven hides the secrets that the operator gave from output and log, before anything can repeat them.
func (s *Secrets) HideGiven() {
	if s.Report == nil {
		return // then nothing is reported
	}
	s.Report.HideNames(s.Cluster.SecretNames()...)
	hide := func(login installer.SSH, env map[string]string) {
		s.Report.Hide(login.Password)
		s.Report.Hide(login.KeyPassphrase)
		for _, secret := range s.Cluster.Secrets(env) {
			s.Report.Hide(secret)
		}
	}
	hide(s.Cluster.SSH, s.Cluster.Env)
	for _, h := range s.Cluster.Hosts {
		hide(h.SSH, h.Env)
	}
}

// Settle settles the registry's passwords, and hides every secret of the images from output and log.
func (s *Secrets) Settle(ctx context.Context) error {
	env := installer.MergeEnv(s.Payload.Rootfs().Env, s.Cluster.Env)
	if err := s.settlePasswords(ctx, env["registryPassword"]); err != nil {
		return err
	}
	s.Report.HideLogin(s.Access().User, s.Passwords.Pull)
	s.Report.HideLogin(s.Access().PushUser, s.Passwords.Push)
	for _, i := range s.Payload.Read() {
		for _, secret := range s.Cluster.Secrets(i.Env) {
			if !slices.Contains(defaultPasswords, secret) {
				s.Report.Hide(secret)
			}
		}
	}
	return nil
}

// settlePasswords settles the passwords of the registry. password is what the environment says. If the operator gave it, it
// is taken, and kept for later runs that do not give one. Otherwise the password in force counts, whichever machine has set
// it; then one that the images have written into their files. Only if there is none, a new one is made.
func (s *Secrets) settlePasswords(ctx context.Context, password string) error {
	_, byUser := s.Cluster.Env["registryPassword"]
	if byUser && slices.Contains(defaultPasswords, password) {
		s.Report.Warnf("registryPassword is one that everybody knows; it is used since you say so")
	}
	masters, err := s.passwordsInForce(ctx)
	if err != nil {
		return err
	}
	given, err := s.State.Kept(passwordGiven)
	if err != nil {
		return err
	}
	fixed := !byUser && sealos.FixedPassword(s.Payload.Images, password)
	switch {
	case byUser:
		s.Passwords.Pull = password
		if err := s.State.Keep(passwordGiven, asked); err != nil {
			return err
		}
	case fixed && given == "" && len(masters[passwordFile]) == 0:
		s.Passwords.Pull = password
	default:
		if s.Passwords.Pull, err = s.keptPassword(ctx, passwordFile, masters[passwordFile], given == asked); err != nil {
			return err
		}
	}
	if fixed && s.Passwords.Pull == password {
		s.Report.Warnf("the cluster image has the registry's password written into its files, so it stays what everybody knows; set registryPassword only together with those files")
	} else if err := s.State.Keep(passwordFile, s.Passwords.Pull); err != nil {
		return err
	}
	if s.Passwords.Push, err = s.keptPassword(ctx, pushPasswordFile, masters[pushPasswordFile], false); err != nil {
		return err
	}
	return s.State.Keep(pushPasswordFile, s.Passwords.Push)
}

// keptPassword gives this machine's password if a master has the same or none has any, or if the operator has just asked
// for it. Otherwise another machine has changed it since, and that of the masters counts.
func (s *Secrets) keptPassword(ctx context.Context, file string, masters []string, asked bool) (string, error) {
	here, err := s.State.Kept(file)
	if err != nil {
		return "", err
	}
	switch {
	case here != "" && asked:
		return here, nil
	case len(masters) == 0:
		return s.State.Secret(ctx, file)
	case slices.Contains(masters, here):
		return here, nil
	case here != "":
		s.Report.Infof("%s was changed from another machine; it is taken over from the masters", file)
	}
	return masters[0], nil
}

// passwordsInForce reads the passwords that the masters keep on which this cluster was begun, by the names of their files.
func (s *Secrets) passwordsInForce(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	for _, t := range s.Masters() {
		if !t.Looked || !t.Begun() {
			continue
		}
		found, err := t.Agent.ReadFiles(ctx, []string{s.masterPasswordFile(), s.masterPushPasswordFile()})
		if err != nil {
			return nil, t.Failed(fmt.Errorf("read the registry's passwords: %w", err))
		}
		for file, content := range map[string][]byte{passwordFile: found[s.masterPasswordFile()], pushPasswordFile: found[s.masterPushPasswordFile()]} {
			if password := strings.TrimSuffix(string(content), "\n"); password != "" {
				out[file] = append(out[file], password)
			}
		}
	}
	return out, nil
}

// PasswordIsInForce notes that the masters have the password that the operator gave.
func (s *Secrets) PasswordIsInForce() error {
	if given, err := s.State.Kept(passwordGiven); err != nil || given == "" {
		return err
	}
	return s.State.Keep(passwordGiven, inForce)
}
