package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/wanted"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/site"
)

// runOptions are the flags of a run: which cluster is wanted, from which bundle, and how it goes.
type runOptions struct {
	wanted.Options
	bundle       string
	verifyKeys   []string // files; the bundle must be signed by one of their keys
	signer       string   // who signed the bundle that was opened, if anybody asked
	output       string
	form         string // of progress
	verbose      bool
	dryRun       bool
	copyMode     bool
	caDir        string
	ignoreChecks []string
	members      memberOptions
	printed      bool // the command has printed what it is about; no summary follows
	onlyLooks    bool // the command changes nothing, so it needs no lock
}

// memberOptions are what commands say that take hosts into a cluster or out of it.
type memberOptions struct {
	absence      site.Absence
	exists       bool // the cluster must exist
	settings     settings.Wish
	prune        bool // hosts that are not in the Clusterfile leave
	drainTimeout time.Duration
	confirm      func([]leaving.Loss) error // nil: nobody is asked

	preview        bool // the run only looks
	upgrade        bool // the cluster is brought to what the bundle brings, or back
	parallelNodes  string
	confirmUpgrade func([]string) error // nil: nobody is asked
}

// flags registers the flags of commands that make a cluster.
func (o *runOptions) flags(f *pflag.FlagSet) {
	o.hostFlags(f)
	o.SettingsFlags(f)
	o.checkFlags(f)
	f.StringVar(&o.caDir, "ca-dir", "", "directory of authorities to use instead of new ones, laid out as /etc/kubernetes/pki: ca.crt, ca.key, front-proxy-ca.*, etcd/ca.*, sa.key")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, contact no host and change nothing")
	f.BoolVar(&o.copyMode, "copy-registry", false, "send every blob to the registry hosts, even those they have")
}

// checkFlags registers the flag that makes problems warnings.
func (o *runOptions) checkFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.ignoreChecks, "ignore-check", nil, "checks whose problems are told and do not stop the run: "+strings.Join(preflight.Checks(), ", "))
}

// hostFlags registers the flags of every command that goes to hosts.
func (o *runOptions) hostFlags(f *pflag.FlagSet) {
	o.ClusterFlags(f)
	f.StringVarP(&o.output, "output", "o", "text", "form of the summary: text or json")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show checks that have found nothing, and the output of scripts and commands")
	f.StringVar(&o.form, "progress", "auto", "how it is told what goes on: auto (a table on a terminal, else plain lines), plain, or json (events on the standard error)")
}

// yesFlag registers --yes, for commands that ask something.
func (o *runOptions) yesFlag(f *pflag.FlagSet, what string) {
	f.BoolVarP(&o.Yes, "yes", "y", false, what)
}

func (o *runOptions) check() error {
	if err := checkForm(o.output); err != nil {
		return err
	}
	if err := progress.CheckForm(o.form); err != nil {
		return usage.Error{Err: err}
	}
	if err := o.Check(); err != nil {
		return err
	}
	if o.caDir != "" {
		if _, err := os.Stat(filepath.Join(o.caDir, "ca.crt")); err != nil {
			return usage.Errorf("--ca-dir %s: expected a directory laid out as /etc/kubernetes/pki: %w", o.caDir, err)
		}
	}
	for _, name := range o.ignoreChecks {
		if slices.Contains(preflight.Essential(), name) {
			return usage.Errorf("--ignore-check %q: that check always counts: mend what its problem names", name)
		}
		if !slices.Contains(preflight.Checks(), name) {
			return usage.Errorf("--ignore-check %q: expected names out of %s", name, strings.Join(preflight.Checks(), ", "))
		}
	}
	return nil
}

// progress is where a command tells what it does in words: nowhere if programs read both outputs.
func (o *runOptions) progress(cmd *cobra.Command) io.Writer {
	switch {
	case o.output != "json":
		return cmd.OutOrStdout()
	case o.form == "json":
		return io.Discard
	}
	return cmd.ErrOrStderr()
}

// view shows what a command does. One that prints while it is at it has no table.
func (o *runOptions) view(cmd *cobra.Command) *progress.View {
	switch {
	case o.form == "json":
		return progress.Open(o.form, cmd.ErrOrStderr())
	case o.onlyLooks:
		return progress.Open("plain", o.progress(cmd))
	}
	return progress.Open(o.form, o.progress(cmd))
}

// onScreen is what shows the run that is under way; nil: there is none.
var onScreen atomic.Pointer[progress.View]

// say writes a line for the operator that disturbs no table.
func say(text string) {
	if v := onScreen.Load(); v == nil || !v.Say(text) {
		fmt.Fprintln(os.Stderr, "\n"+text) // behind the ^C that the terminal has shown
	}
}

// aside has a question asked while no table is drawn.
func aside[T any](v *progress.View, ask func(T) error) func(T) error {
	if ask == nil {
		return nil
	}
	return func(what T) error { return v.Aside(func() error { return ask(what) }) }
}
