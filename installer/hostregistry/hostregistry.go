// Package hostregistry is the registry on every master: its certificate, its accounts, the script that starts it, and the
// blobs that it must hold already.
package hostregistry

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/registry"
	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/storesync"
)

// Registry is the registry that every master runs: its certificate, its accounts, and the image's script that starts it.
type Registry struct {
	*site.Site
	Secrets *secrets.Secrets
	State   *installer.State

	accounts struct {
		sync.Mutex // while the account file is made
		file       []byte
		of         []registry.Account // file holds these: bcrypt takes its time to tell, and every master is asked about
	}
}

var errNoRegistry = errors.New("no image has an init-registry script: nothing would serve the images")

// How long a registry may take to answer after its script ended, and one that was started before this run.
const (
	registryPatience = 60 * time.Second
	registryMoment   = 10 * time.Second
)

// FindExpected asks the registry of every master for the blobs that the bundle leaves out because the site has them. The
// error of a host that lacks some is a *bundle.MissingError that lists them. It changes nothing anywhere. all says that the
// operator wants to send every blob, which such a bundle refuses.
func (g *Registry) FindExpected(ctx context.Context, all bool) error {
	expected := g.Payload.Bundle.Expected()
	if len(expected) == 0 {
		return nil
	}
	if all {
		return errors.New("--copy-registry sends every blob, and this bundle leaves out what the site has: run without it")
	}
	repo := catalog.Repository{Name: "expected"} // for a dry run, which makes no repository
	for _, e := range expected {
		repo.Layers = append(repo.Layers, catalog.Blob{Digest: e.Digest, Size: e.Size})
	}
	images := catalog.Catalog{Repositories: []catalog.Repository{repo}}
	return g.Each(ctx, g.Masters(), func(ctx context.Context, t *fleet.Target) error {
		lacks := &bundle.MissingError{Where: "the registry in " + g.Access().Data}
		if t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-d", g.Access().Data}, Root: true}) != nil {
			lacks.Blobs = expected
			return lacks // without a dry run, which would make the directory
		}
		err := t.Agent.RegistryReceive(ctx, g.Access().Data, func(w io.Writer, in io.Reader) error {
			source := payload.Source(g.Payload.Bundle)
			_, err := storesync.Push(ctx, w, in, images, source, storesync.PushOptions{DryRun: true, Missing: func(blobs []catalog.Blob) {
				for _, b := range blobs {
					lacks.Blobs = append(lacks.Blobs, bundle.Expected{Digest: b.Digest, Size: b.Size})
				}
			}})
			return err
		})
		if err == nil && len(lacks.Blobs) > 0 {
			err = lacks
		}
		return err
	})
}

// Start runs the image's init-registry script, unless it has run before with the same inputs, and waits until the registry
// answers with the cluster's certificate and password. shown, as [Registry.Files] gives it, stands for these two: the
// script puts new ones where the registry reads them.
func (g *Registry) Start(ctx context.Context, t *fleet.Target, shown string) (changes int, err error) {
	img, line := g.Share(t).Script("init-registry")
	if line == "" {
		return 0, errNoRegistry
	}
	inputs := journal.Inputs(line, g.Share(t).Env(img), g.Share(t).Digests(), t.Overlays[img])
	if t.Journal.Is(journal.Registry, inputs) && t.Journal.Is(journal.RegistryShown, shown) {
		err := g.wait(ctx, t, registryMoment)
		if err == nil || ctx.Err() != nil {
			return 0, err
		}
		// A run has started it before, and somebody has stopped it since.
		g.Report.Infof("%s: its registry does not answer; it is started again", t.IP)
	}
	return g.run(ctx, t, inputs, shown)
}

// run runs the init-registry script, and sets both marks once the registry shows what it has to.
func (g *Registry) run(ctx context.Context, t *fleet.Target, inputs, shown string) (changes int, err error) {
	img, line := g.Share(t).Script("init-registry")
	if line == "" {
		return 0, errNoRegistry
	}
	// Once the script has begun, what the marks say is no longer true.
	if err := t.Journal.Drop(ctx, journal.Registry, journal.RegistryShown); err != nil {
		return 0, err
	}
	_, err = t.Journal.Under(ctx, journal.Registry, inputs, func(*journal.Work) error {
		if err := g.RunRootfsScript(ctx, t, "bootstrap", img, line); err != nil {
			return err
		}
		changes = 1
		if err := g.wait(ctx, t, registryPatience); err != nil {
			return err
		}
		return t.Journal.Set(ctx, journal.RegistryShown, shown)
	})
	return changes, err
}

// wait waits until the registry of a host answers with the cluster's certificate and lets the account that pulls in.
func (g *Registry) wait(ctx context.Context, t *fleet.Target, patience time.Duration) error {
	patience = min(patience, g.Timeout)
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	argv := []string{t.Stub, "registry", "ping", "https://" + t.IP.String() + ":" + g.Access().Port, "--user", g.Access().User}
	if g.PlainRegistry(t) {
		argv[3] = strings.Replace(argv[3], "https", "http", 1)
	} else {
		argv = append(argv, "--ca", g.Etc("registry_ca.crt"), "--certificate", g.Etc("registry_tls.crt"))
	}
	err := wait.Until(bounded, 200*time.Millisecond, func(ctx context.Context) error {
		res, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: argv, Stdin: []byte(g.Passwords.Pull + "\n"), TimeoutSeconds: 10}, nil)
		switch {
		case err != nil:
			return errors.New(installer.TellAt(err, t.IP.String()))
		case res.Code != 0:
			return errors.New(cmp.Or(strings.TrimSpace(string(res.Stderr)), "no cause was told"))
		}
		return nil
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("the registry on port %s does not answer %s after its script ended: %w (look at `systemctl status registry` on the host)", g.Access().Port, patience, err)
}

// htpasswd gives the account file for a host. It is kept on this machine, since bcrypt salts: a new file would look like a
// change on every run.
func (g *Registry) htpasswd(t *fleet.Target) ([]byte, error) {
	const name = "registry_htpasswd"
	g.accounts.Lock()
	defer g.accounts.Unlock()
	old, err := os.ReadFile(g.State.Path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	want := g.Accounts(t)
	if len(old) > 0 && bytes.Equal(old, g.accounts.file) && slices.Equal(want, g.accounts.of) || registry.SameAccounts(old, want...) {
		g.accounts.file, g.accounts.of = old, want
		return old, nil
	}
	made, err := registry.Accounts(want...)
	if err != nil {
		return nil, err
	}
	g.accounts.file, g.accounts.of = made, want
	return made, g.State.Write(name, 0o600, made)
}

// Files puts the registry's CA on every host, and certificate, key and accounts on every master, where the image's scripts
// expect them. It returns what the registry of each master has to show then, see [Registry.Start].
func (g *Registry) Files(ctx context.Context) (shown map[*fleet.Target]string, changes int, err error) {
	var mu sync.Mutex
	shown = map[*fleet.Target]string{}
	changes, err = g.Count(ctx, g.Targets, func(ctx context.Context, t *fleet.Target) (int, error) {
		input, changed, err := g.FilesOf(ctx, t)
		mu.Lock()
		defer mu.Unlock()
		shown[t] = input
		return changed, err
	})
	if err == nil {
		err = g.Secrets.PasswordIsInForce()
	}
	return shown, changes, err
}

// FilesOf is [Registry.Files] for one host.
func (g *Registry) FilesOf(ctx context.Context, t *fleet.Target) (shown string, changes int, err error) {
	files := []agent.File{{Path: g.Etc("registry_ca.crt"), Mode: 0o644, Content: g.Secrets.PKI.RegistryCA()}}
	if t.Master {
		account, err := g.htpasswd(g.Master0())
		if err != nil {
			return "", 0, err
		}
		own, input, err := g.hostFiles(ctx, t, account)
		if err != nil {
			return "", 0, err
		}
		shown, files = input, append(files, own...)
	}
	changed, err := t.Agent.WriteFiles(ctx, files)
	if err != nil {
		return "", len(changed), fmt.Errorf("write the registry's certificates: %w", err)
	}
	return shown, len(changed), nil
}

// Etc is the path at which the image's scripts expect a file of the registry.
func (g *Registry) Etc(name string) string { return path.Join(g.RootfsDir(), "etc", name) }

// hostFiles are the registry's files for a master, and what its registry has to show once the script has put them in place.
func (g *Registry) hostFiles(ctx context.Context, t *fleet.Target, account []byte) (files []agent.File, shown string, err error) {
	certPath, keyPath, accountPath := g.Etc("registry_tls.crt"), g.Etc("registry_tls.key"), g.Etc("registry_htpasswd")
	has, err := t.Agent.ReadFiles(ctx, []string{certPath, keyPath, accountPath})
	if err != nil {
		return nil, "", err
	}
	if there := has[accountPath]; !bytes.Equal(there, account) && registry.SameAccounts(there, g.Accounts(t)...) {
		account = there // another machine may have made it, with another salt
	}
	cert, key, err := g.Secrets.PKI.Registry(t.IP.String(), has[certPath], has[keyPath], g.Access().Domain, t.NodeName())
	if err != nil {
		return nil, "", err
	}
	// The passwords come first: wherever the next run begins, it must know those that a registry asks for.
	return append(
		g.Secrets.PasswordFiles(t),
		agent.File{Path: certPath, Mode: 0o644, Content: cert},
		agent.File{Path: keyPath, Mode: 0o600, Content: key},
		agent.File{Path: accountPath, Mode: 0o600, Content: account},
	), g.shown(t, cert), nil
}

// RegistryCert is what operators call the certificate of a master's registry, to have it renewed.
const RegistryCert = "registry"

// shown stands for what the registry of a host shows its clients: its certificate, unless it speaks plain HTTP, and its
// accounts.
func (g *Registry) shown(t *fleet.Target, cert []byte) string {
	if g.PlainRegistry(t) {
		return journal.Inputs(g.Accounts(t))
	}
	return journal.Inputs(g.Accounts(t), cert)
}

// Renews tells whether the certificate of a master's registry is among those that renew names.
func (g *Registry) Renews(t *fleet.Target, renew []string) (bool, error) {
	named := slices.Contains(renew, RegistryCert)
	if g.PlainRegistry(t) {
		if named {
			return false, fmt.Errorf("the registry of this cluster image speaks plain HTTP: it has no certificate")
		}
		return false, nil
	}
	return named || slices.Contains(renew, "all"), nil
}

// Renew makes the certificate of a master's registry anew if renew names it, and has the image's script put it in place.
// Our registry then reads it again by itself. It returns the number of files that were written.
func (g *Registry) Renew(ctx context.Context, t *fleet.Target, renew []string) (int, error) {
	if wanted, err := g.Renews(t, renew); err != nil || !wanted {
		return 0, err
	}
	certPath, keyPath := g.Etc("registry_tls.crt"), g.Etc("registry_tls.key")
	has, err := t.Agent.ReadFiles(ctx, []string{certPath, keyPath})
	if err != nil {
		return 0, fmt.Errorf("read the registry's certificate: %w", err)
	}
	cert, key, err := g.Secrets.PKI.RenewRegistry(t.IP.String(), has[certPath], has[keyPath], g.Access().Domain, t.NodeName())
	if err != nil {
		return 0, err
	}
	changed, err := t.Agent.WriteFiles(ctx, []agent.File{{Path: certPath, Mode: 0o644, Content: cert}, {Path: keyPath, Mode: 0o600, Content: key}})
	if err != nil {
		return len(changed), fmt.Errorf("write the registry's certificate: %w", err)
	}
	// Nothing else that the script depends on has changed: its mark says afterwards what it said before.
	_, err = g.run(ctx, t, t.Journal.Of(journal.Registry), g.shown(t, cert))
	return len(changed), err
}
