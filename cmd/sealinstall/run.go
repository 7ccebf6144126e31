package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/reports"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps"
)

func newRunCommand(o *runOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use: "run", Short: "Install or complete a cluster (the same as no command)", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags(cmd.Flags())
	o.installFlags(cmd.Flags())
	return cmd
}

// installFlags registers the flags of commands that may install on this machine alone.
func (o *runOptions) installFlags(f *pflag.FlagSet) {
	o.yesFlag(f, "do not ask before a cluster is installed on this machine alone")
}

func (o *runOptions) run(cmd *cobra.Command) error {
	if o.dryRun {
		return o.plan(cmd)
	}
	if err := o.check(); err != nil {
		return err
	}
	cluster, err := o.Desired()
	if err != nil {
		return err
	}
	return o.pipeline(cmd, cluster, o.DesiredAgain, steps.Install(), recorded)
}

// recorded finishes a pipeline whose outcome is recorded, whether it came to its end or not.
func recorded(ctx context.Context, r *steps.Run, timings []installer.Timing, err error) error {
	return r.Ledger.Record(context.WithoutCancel(ctx), err, installer.Changes(timings))
}

// pipeline opens what a run needs, runs the steps, lets finish record the outcome, and prints the summary. again makes the cluster
// anew when the record of it is found on a master only.
func (o *runOptions) pipeline(
	cmd *cobra.Command, cluster *installer.Cluster, again func(*installer.Cluster) (*installer.Cluster, error), list []steps.Step,
	finish func(context.Context, *steps.Run, []installer.Timing, error) error,
) (err error) {
	start := time.Now()
	if err := o.check(); err != nil {
		return err
	}
	login, err := o.Login(cluster)
	if err != nil {
		return err
	}
	file, err := o.openBundle()
	if err != nil {
		return err
	}
	defer file.Close()
	openState := installer.OpenState
	if o.onlyLooks {
		openState = installer.ReadState
	}
	state, err := openState(cluster.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	logPath, logFile, err := openLog(state, start)
	if err != nil {
		return err
	}
	defer logFile.Close()
	view := o.view(cmd)
	onScreen.Store(view)
	defer onScreen.Store(nil)
	defer view.Close()
	kept := &reports.Run{To: view, State: state, Start: start}
	var told progress.Sink = kept
	if o.onlyLooks || o.members.preview {
		told = view
	}
	rep := installer.ReportTo(told, logFile, o.verbose)
	kept.Mask = rep.Mask
	login.Report, login.KnownHosts = rep, cmp.Or(login.KnownHosts, state.Path("known_hosts"))
	r := steps.New(cluster, file.Reader, steps.Options{
		Again: again, LeaveOut: o.LeaveOut, State: state,
		Absence: o.members.absence, Exists: o.members.exists, DrainTimeout: o.members.drainTimeout, Settings: o.members.settings,
		Confirm: aside(view, o.members.confirm), ConfirmUpgrade: aside(view, o.members.confirmUpgrade),
		Preview: o.members.preview, Upgrade: o.members.upgrade, ParallelNodes: o.members.parallelNodes,
		IgnoreChecks: o.ignoreChecks, Copy: o.copyMode, CADir: o.caDir,
	}, login)
	defer r.Close()
	rep.Asked(reports.Asked(cmd, cluster, file.Reader, version, o.signer)) // secrets are known now
	for _, w := range cluster.Warnings() {
		rep.Warnf("%s", w)
	}
	timings, err := installer.RunSteps(r.Held(cmd.Context()), list, r, rep)
	view.Close() // what follows is printed
	err = errors.Join(err, finish(cmd.Context(), r, timings, err))
	s := summary{Cluster: cluster.Name, Seconds: time.Since(start).Seconds(), Changes: installer.Changes(timings), Log: logPath}
	if slices.ContainsFunc(list, func(step steps.Step) bool { return step.Name == "verify" }) {
		s.masters = r.Cluster.MasterIPs()
	}
	for _, t := range timings {
		s.Steps = append(s.Steps, stepSummary{t.Step, t.Duration.Seconds(), t.Changes})
	}
	remedy := ""
	if err != nil {
		remedy = nextStep(err)
	}
	steps.TellEnd(cmd.Context(), r, time.Since(start), s.Changes, s.Log, err, remedy)
	s.Report = kept.Page
	if err != nil && o.output == "json" && !o.printed {
		err = errors.Join(err, s.printFailure(cmd.OutOrStdout(), rep, err))
	}
	if err != nil {
		return &runError{err: err, text: rep.Mask(installer.Tell(err)), log: logPath, report: s.Report, told: o.form == "json"}
	}
	if o.printed {
		return nil
	}
	return s.print(cmd.OutOrStdout(), o.output)
}

func openLog(state *installer.State, start time.Time) (string, *os.File, error) {
	name := state.Path("logs", start.UTC().Format(reports.Stamp)+".log")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return "", nil, fmt.Errorf("make the log directory: %w", err)
	}
	//docs:file here ~/.sealos/<cluster>/logs/: a log of each run, with all output, secrets masked
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("open the log: %w", err)
	}
	return name, f, nil
}

// runError adds to a failure what the operator does next.
type runError struct {
	err  error
	text string // of err, without secrets
	log  string
	// report is the page about the run; empty where there is none.
	report string
	told   bool // as an event, to a program
}

func (e *runError) Error() string {
	files := "log: " + e.log
	if e.report != "" {
		files += "\n  report: " + e.report
	}
	return fmt.Sprintf("%v\n  %s\n  next: %s", e.text, files, nextStep(e.err))
}
func (e *runError) Unwrap() error { return e.err }

type stepSummary struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
	Changes int     `json:"changes"`
}

type summary struct {
	Cluster string        `json:"cluster"`
	Seconds float64       `json:"seconds"`
	Changes int           `json:"changes"`
	Steps   []stepSummary `json:"steps"`
	Log     string        `json:"log"`
	Report  string        `json:"report,omitempty"` // the page about the run

	Error    string              `json:"error,omitempty"`    // of a run that failed
	Problems []preflight.Problem `json:"problems,omitempty"` // what stands in the way; then the exit status is 3

	masters []string // addresses of those of the cluster that the run has left behind; none if it has not
}

// printFailure writes the summary of a run that failed, with every problem of every host if it is about them.
func (s summary) printFailure(w io.Writer, rep *installer.Reporter, err error) error {
	s.Error = installer.Tell(err)
	var pre *preflight.Error
	if errors.As(err, &pre) {
		s.Problems = slices.Concat(pre.Problems, pre.Warnings)
	}
	return rep.EncodeJSON(w, s)
}

func (s summary) print(w io.Writer, form string) error {
	if form == "json" {
		return json.NewEncoder(w).Encode(s)
	}
	verdict := count.Of(s.Changes, "change")
	if s.Changes == 0 {
		verdict = "all was as asked, nothing changed"
	}
	if s.Log == "" { // no host was asked
		_, err := fmt.Fprintf(w, "cluster %s: %s\n", s.Cluster, verdict)
		return err
	}
	files := "log: " + s.Log
	if s.Report != "" {
		files += ", report: " + s.Report
	}
	_, err := fmt.Fprintf(w, "cluster %s: done in %s, %s (%s)\n", s.Cluster, progress.Took(s.Seconds), verdict, files)
	if err == nil && s.Changes > 0 && len(s.masters) > 0 {
		_, err = fmt.Fprintf(w, "  reach it: kubectl, as root on %s\n  next: `%[2]s status`, `%[2]s add --nodes ADDRESS`\n", installer.NameSome(s.masters), os.Args[0])
	}
	return err
}

func isUpgrade(p preflight.Problem) bool { return p.Verb == "upgrade" }

// nextStep is what the operator does about a failure. The same command again is only named where it can help.
func nextStep(err error) string {
	var called usage.Error
	var preflight *preflight.Error
	var corrupt *bundle.CorruptError
	var truncated *bundle.TruncatedError
	var answered *agent.Error
	switch {
	case errors.Is(err, errNotReady):
		return "mend what is named above; the same command tells when it is mended"
	case errors.Is(err, fleet.ErrLockLost):
		return "wait for the other sealinstall, look at what it made with `sealinstall status`, then decide"
	case errors.Is(err, installer.ErrInterrupted):
		return "run the same command again: it goes on where it stopped"
	case errors.As(err, &called):
		return "correct the command; the same one will be refused again"
	case errors.As(err, &preflight) && slices.ContainsFunc(preflight.Problems, isUpgrade):
		return "look at what it would do with `" + os.Args[0] + " upgrade --dry-run`; no host was changed"
	case errors.As(err, &preflight):
		return "mend the cause and run the same command again, or the command that a remedy names; no host was changed"
	case errors.As(err, &corrupt), errors.As(err, &truncated):
		return "copy the bundle here again from where it was built, check it with `sealinstall verify`, then run the command"
	case errors.Is(err, host.ErrAuth), errors.Is(err, host.ErrHostKey), errors.Is(err, host.ErrSudo):
		return "give access to the host as named above, then run the same command again"
	case errors.Is(err, kube.ErrNotReady):
		return "mend the cause; `sealinstall status` tells what is still missing, and the same command finishes the rest"
	case errors.As(err, &answered) && answered.Code == agent.CodeRefused:
		return "the host's agent will refuse this again: change what was asked for as the message says"
	}
	return "mend the cause and run the same command again: it goes on where it stopped"
}
