package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/onhosts"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/installer/status"
)

// What package onhosts is given for its commands.

// HostFlags registers the flags that say which hosts are meant, and how they are reached.
func (o *runOptions) HostFlags(f *pflag.FlagSet) {
	o.hostFlags(f)
	o.SelectFlags(f)
}

// State is where this machine keeps what it knows of the cluster.
func (o *runOptions) State() (*installer.State, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return installer.ReadState(o.Cluster)
}

// Open finds the hosts that a command goes to. It contacts none.
func (o *runOptions) Open(verb string) (*onhosts.Site, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	cluster, err := o.Chosen(verb)
	if err != nil {
		return nil, err
	}
	login, err := o.Login(cluster)
	if err != nil {
		return nil, err
	}
	state, err := installer.ReadState(cluster.Name)
	if err != nil {
		return nil, err
	}
	login.Cluster, login.Report, login.KnownHosts = cluster.Name, installer.Silent(), cmp.Or(login.KnownHosts, state.Path("known_hosts"))
	return &onhosts.Site{Fleet: fleet.New(login, cluster.Hosts, nil), Cluster: cluster, State: state}, nil
}

// Stubs finds the program that hosts run: that of the bundle, or this one where it has none behind it.
func (o *runOptions) Stubs() (stubs *payload.Payload, closeBundle func(), err error) {
	if o.bundle == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, nil, fmt.Errorf("find this program's own file: %w", err)
		}
		f, err := bundle.OpenFile(own)
		if errors.Is(err, bundle.ErrNotBundle) {
			program, err := os.ReadFile(own)
			if err != nil {
				return nil, nil, fmt.Errorf("read this program: %w", err)
			}
			return payload.OfStub(program), func() {}, nil
		}
		if err == nil {
			_ = f.Close() // it is opened again below, and its signature is checked
		}
	}
	file, err := o.openBundle()
	if err != nil {
		return nil, nil, err
	}
	return payload.New(file.Reader), func() { _ = file.Close() }, nil
}

// Status asks hosts of a site, and its cluster, how they are.
func (o *runOptions) Status(ctx context.Context, s *onhosts.Site) (status.Status, error) {
	file, err := o.openBundle()
	if err != nil {
		return status.Status{}, err
	}
	defer file.Close()
	cluster := *s.Cluster
	options := s.Options
	options.Report = installer.Silent()
	room := status.Room{Site: site.New(&cluster, file.Reader, options), State: s.State}
	room.Dial = s.Dial
	defer func() { _ = room.Close() }() // nothing was left to send
	return room.Ask(ctx)
}

// Version is that of this program.
func (o *runOptions) Version() string { return version }
