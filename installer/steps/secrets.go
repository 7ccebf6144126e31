package steps

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
	passwordFile     = "registry-password"      // of who pulls: registryUsername
	pushPasswordFile = "registry-push-password" // of who pushes and deletes
	// passwordGiven is there when the operator has given the password. Until the masters have it, it says asked: a run
	// that is cut off in between has not changed its mind.
	passwordGiven = "registry-password-given"
)

// asked is what passwordGiven says until the masters have the password, inForce what it says then.
const asked, inForce = "asked", "in force"

func (r *Run) masterPasswordFile() string     { return r.dir("etc", passwordFile) }
func (r *Run) masterPushPasswordFile() string { return r.dir("etc", pushPasswordFile) }

// passwords are those of the registry's two accounts.
type passwords struct{ pull, push string }

// passwordFiles are the registry's passwords as masters keep them.
func (r *Run) passwordFiles(t *fleet.Target) []agent.File {
	files := []agent.File{{Path: r.masterPasswordFile(), Mode: 0o600, Content: []byte(r.passwords.pull + "\n")}}
	if !r.plainRegistry(t) {
		files = append(files, agent.File{Path: r.masterPushPasswordFile(), Mode: 0o600, Content: []byte(r.passwords.push + "\n")})
	}
	return files
}

// defaultPasswords are registry passwords that everybody knows from public images.
var defaultPasswords = []string{"", "passw0rd"}

// hideGiven masks what the operator gave, before anything can repeat it.
func (r *Run) hideGiven() {
	if r.Report == nil {
		return // nobody is told anything
	}
	r.Report.HideNames(r.Cluster.SecretNames()...)
	hide := func(s installer.SSH, env map[string]string) {
		r.Report.Hide(s.Password)
		r.Report.Hide(s.KeyPassphrase)
		for _, secret := range r.Cluster.Secrets(env) {
			r.Report.Hide(secret)
		}
	}
	hide(r.Cluster.SSH, r.Cluster.Env)
	for _, h := range r.Cluster.Hosts {
		hide(h.SSH, h.Env)
	}
}

// loadSecrets settles the registry's credentials, and hides every secret of the
// images from output and log.
func (r *Run) loadSecrets(ctx context.Context) error {
	env := installer.MergeEnv(r.Payload.Rootfs().Env, r.Cluster.Env)
	if err := r.settlePasswords(ctx, env["registryPassword"]); err != nil {
		return err
	}
	r.Report.HideLogin(r.access().User, r.passwords.pull)
	r.Report.HideLogin(r.access().PushUser, r.passwords.push)
	for _, i := range r.Payload.Read() {
		for _, secret := range r.Cluster.Secrets(i.Env) {
			if !slices.Contains(defaultPasswords, secret) {
				r.Report.Hide(secret)
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
func (r *Run) settlePasswords(ctx context.Context, password string) error {
	_, byUser := r.Cluster.Env["registryPassword"]
	if byUser && slices.Contains(defaultPasswords, password) {
		r.Report.Warnf("registryPassword is one that everybody knows; it is used since you say so")
	}
	masters, err := r.passwordsInForce(ctx)
	if err != nil {
		return err
	}
	given, err := r.State.Kept(passwordGiven)
	if err != nil {
		return err
	}
	fixed := !byUser && sealos.FixedPassword(r.Payload.Images, password)
	switch {
	case byUser:
		r.passwords.pull = password
		if err := r.State.Keep(passwordGiven, asked); err != nil {
			return err
		}
	case fixed && given == "" && len(masters[passwordFile]) == 0:
		r.passwords.pull = password
	default:
		if r.passwords.pull, err = r.keptPassword(ctx, passwordFile, masters[passwordFile], given == asked); err != nil {
			return err
		}
	}
	if fixed && r.passwords.pull == password {
		r.Report.Warnf("the cluster image has the registry's password written into its files, so it stays what everybody knows; set registryPassword only together with those files")
	} else if err := r.State.Keep(passwordFile, r.passwords.pull); err != nil {
		return err
	}
	if r.passwords.push, err = r.keptPassword(ctx, pushPasswordFile, masters[pushPasswordFile], false); err != nil {
		return err
	}
	return r.State.Keep(pushPasswordFile, r.passwords.push)
}

// keptPassword is the one of this machine if any master has it or none has one;
// else another machine has changed it since, and the masters' counts.
func (r *Run) keptPassword(ctx context.Context, file string, masters []string, asked bool) (string, error) {
	here, err := r.State.Kept(file)
	if err != nil {
		return "", err
	}
	switch {
	case here != "" && asked:
		return here, nil
	case len(masters) == 0:
		return r.State.Secret(ctx, file)
	case slices.Contains(masters, here):
		return here, nil
	case here != "":
		r.Report.Infof("%s was changed from another machine; it is taken over from the masters", file)
	}
	return masters[0], nil
}

// passwordsInForce reads what the masters that this cluster was begun on keep, by the names of the files.
func (r *Run) passwordsInForce(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	for _, t := range r.Masters() {
		if !t.Looked || !t.Begun() {
			continue
		}
		found, err := t.Agent.ReadFiles(ctx, []string{r.masterPasswordFile(), r.masterPushPasswordFile()})
		if err != nil {
			return nil, &installer.HostError{Host: t.IP.String(), Err: fmt.Errorf("read the registry's passwords: %w", err)}
		}
		for file, content := range map[string][]byte{passwordFile: found[r.masterPasswordFile()], pushPasswordFile: found[r.masterPushPasswordFile()]} {
			if password := strings.TrimSuffix(string(content), "\n"); password != "" {
				out[file] = append(out[file], password)
			}
		}
	}
	return out, nil
}

// passwordIsInForce notes that the masters have the password that the operator asked for.
func (r *Run) passwordIsInForce() error {
	if given, err := r.State.Kept(passwordGiven); err != nil || given == "" {
		return err
	}
	return r.State.Keep(passwordGiven, inForce)
}

// withoutSecrets is what status tells, which repeats what programs say.
func (r *Run) withoutSecrets(s Status) Status {
	s.Waiting, s.Problems = slices.Clone(s.Waiting), slices.Clone(s.Problems)
	for i := range s.Waiting {
		s.Waiting[i] = r.Report.Mask(s.Waiting[i])
	}
	for i := range s.Problems {
		s.Problems[i].Message, s.Problems[i].Remedy = r.Report.Mask(s.Problems[i].Message), r.Report.Mask(s.Problems[i].Remedy)
	}
	return s
}
