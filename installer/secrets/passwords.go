package secrets

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/sealos"
)

// The files of the state that hold the passwords of the registry's two accounts.
// Masters have them too, so that any machine can go on when this one is gone.
const (
	PasswordFile     = "registry-password"      // of who pulls: registryUsername
	PushPasswordFile = "registry-push-password" // of who pushes and deletes
	// passwordGiven is there when the operator has given the password. Until the masters have it, it says asked: a run
	// that is cut off in between has not changed its mind.
	passwordGiven = "registry-password-given"
)

// StateFiles are the files and directories of the state that hold secrets, or what was made of them.
func StateFiles() []string {
	return []string{"pki", PasswordFile, PushPasswordFile, passwordGiven, "registry_htpasswd"}
}

// asked is what passwordGiven says until the masters have the password, inForce what it says then.
const asked, inForce = "asked", "in force"

// defaultPasswords are registry passwords that everybody knows from public images.
var defaultPasswords = []string{"", "passw0rd"}

// AdoptAndSettle brings together what this machine knows about the cluster and
// what its masters know, and settles the secrets.
func (s *Secrets) AdoptAndSettle(ctx context.Context) error {
	if err := s.Adopt(ctx); err != nil {
		return err
	}
	return s.Settle(ctx)
}

func (s *Secrets) masterPasswordFile() string { return s.Dir("etc", PasswordFile) }

func (s *Secrets) masterPushPasswordFile() string { return s.Dir("etc", PushPasswordFile) }

// PasswordFiles are the registry's passwords as masters keep them.
func (s *Secrets) PasswordFiles(t *fleet.Target) []agent.File {
	files := []agent.File{{Path: s.masterPasswordFile(), Mode: 0o600, Content: []byte(s.Passwords.Pull + "\n")}}
	if !s.PlainRegistry(t) {
		files = append(files, agent.File{Path: s.masterPushPasswordFile(), Mode: 0o600, Content: []byte(s.Passwords.Push + "\n")})
	}
	return files
}

// HideGiven masks what the operator gave, before anything can repeat it.
func (s *Secrets) HideGiven() {
	if s.Report == nil {
		return // nobody is told anything
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

// Settle settles the registry's credentials, and hides every secret of the
// images from output and log.
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

// settlePasswords finds the passwords of the registry. One that the operator
// gives is taken as it is, and kept, so that later runs without it do not change
// it. Else it is the one in force, whichever machine set it; else one that the
// images have written into their files; and only where there is none a new one is
// made.
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
	case fixed && given == "" && len(masters[PasswordFile]) == 0:
		s.Passwords.Pull = password
	default:
		if s.Passwords.Pull, err = s.keptPassword(ctx, PasswordFile, masters[PasswordFile], given == asked); err != nil {
			return err
		}
	}
	if fixed && s.Passwords.Pull == password {
		s.Report.Warnf("the cluster image has the registry's password written into its files, so it stays what everybody knows; set registryPassword only together with those files")
	} else if err := s.State.Keep(PasswordFile, s.Passwords.Pull); err != nil {
		return err
	}
	if s.Passwords.Push, err = s.keptPassword(ctx, PushPasswordFile, masters[PushPasswordFile], false); err != nil {
		return err
	}
	return s.State.Keep(PushPasswordFile, s.Passwords.Push)
}

// keptPassword is the one of this machine if any master has it or none has one;
// else another machine has changed it since, and the masters' counts.
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

// passwordsInForce reads what the masters that this cluster was begun on keep, by the names of the files.
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
		for file, content := range map[string][]byte{PasswordFile: found[s.masterPasswordFile()], PushPasswordFile: found[s.masterPushPasswordFile()]} {
			if password := strings.TrimSuffix(string(content), "\n"); password != "" {
				out[file] = append(out[file], password)
			}
		}
	}
	return out, nil
}

// PasswordIsInForce notes that the masters have the password that the operator asked for.
func (s *Secrets) PasswordIsInForce() error {
	if given, err := s.State.Kept(passwordGiven); err != nil || given == "" {
		return err
	}
	return s.State.Keep(passwordGiven, inForce)
}
