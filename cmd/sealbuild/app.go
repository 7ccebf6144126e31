package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/containers/image/v5/types"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/bundle/assemble"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/cmd/cli"
	"github.com/sealbuild/sealbuild/ground/count"
	show "github.com/sealbuild/sealbuild/ground/progress"
)

// app is one run of the program: where it writes, and the flags that every verb shares.
type app struct {
	out, err io.Writer

	root      string
	output    string   // of the bundle, once it is known
	full      []string // what libraries said of a full disk
	jobs      int
	verbose   bool
	quiet     bool
	form      string // of progress
	tlsVerify bool
	authFile  string
	certDir   string

	progress *progress
}

// command builds the tree of verbs.
func (a *app) command() *cobra.Command {
	root := a.buildCommand()
	root.SilenceErrors, root.SilenceUsage, root.SuggestionsMinimumDistance = true, true, 2
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if word := c.Flags().Arg(0); !c.HasParent() && word != "" {
			if habit := meant(c, word, c.Flags().NArg() == 1); habit != nil {
				return habit
			}
		}
		hint := cli.NearFlag(c, err, otherFlags)
		if hint == "" {
			hint = "see " + c.CommandPath() + " --help"
		}
		return usagef("%w (%s)", cli.FlagError(err), hint)
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.prepare() }
	f := root.PersistentFlags()
	f.StringVar(&a.root, "root", "", "image store (default $SEALBUILD_ROOT, /var/lib/sealbuild, or $XDG_DATA_HOME/sealbuild when not root)")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "tell more of what the libraries do")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "errors and warnings only")
	f.StringVar(&a.form, "progress", "auto", "how it is told what goes on: auto (on a terminal in place, else plain lines), plain, or json (events on the standard error)")
	build := a.buildCommand() // as other builders have it
	build.Use, build.Short = "build -t NAME:TAG [flags] CONTEXT", "The same as sealbuild without a command"
	root.AddCommand(a.initCommand(), build, a.bundleCommand(), a.planCommand(), a.imagesCommand(), a.rmiCommand(), a.tagCommand(),
		a.pullCommand(), a.pushCommand(), a.loginCommand(), a.logoutCommand(),
		a.inspectCommand(), a.verifyCommand(), a.diffCommand(), a.versionCommand(), cli.TreeCommand())
	return root
}

// registryFlags are for the verbs that talk to registries.
func (a *app) registryFlags(c *cobra.Command) {
	f := c.Flags()
	f.IntVarP(&a.jobs, "jobs", "j", 0, "downloads at a time (default 8)")
	f.BoolVar(&a.tlsVerify, "tls-verify", true, "require HTTPS and check certificates; false also allows plain HTTP")
	f.StringVar(&a.authFile, "authfile", "", "credentials file (default $REGISTRY_AUTH_FILE, then where podman and docker keep theirs)")
	f.StringVar(&a.certDir, "cert-dir", "", "certificates for the registries (default /etc/containers/certs.d/HOST:PORT)")
}

// prepare makes the libraries speak with the program's voice.
func (a *app) prepare() error {
	if err := show.CheckForm(a.form); err != nil {
		return &usageError{err}
	}
	a.progress = newProgress(a.form, a.err, a.quiet)
	logrus.SetOutput(libraries{a.progress})
	logrus.SetFormatter(plainFormatter{&a.full})
	logrus.SetLevel(logrus.WarnLevel)
	if a.verbose {
		logrus.SetLevel(logrus.DebugLevel)
	} else {
		// Helm tells here of every value that a parent chart overrides.
		slog.SetDefault(slog.New(slog.DiscardHandler))
		log.SetOutput(io.Discard)
	}
	return nil
}

func (a *app) finish(err error) {
	if a.progress != nil {
		a.progress.end(err)
	}
}

// tell prints the last line of a run, or tells it a program.
func (a *app) tell(text string) {
	if a.progress == nil || !a.progress.ends(text) {
		fmt.Fprintln(a.err, text)
	}
}

// plainFormatter prints a library's log entry as one line. What it says of a full disk is kept: if that ends the program, the last
// line says it.
type plainFormatter struct{ full *[]string }

func (f plainFormatter) Format(e *logrus.Entry) ([]byte, error) {
	line := fmt.Sprintf("%s: %s\n", e.Level, e.Message)
	if saysFull(line) {
		*f.full = append(*f.full, line) // logrus formats one entry at a time
		return nil, nil
	}
	return []byte(line), nil
}

// openStore opens the image store; the caller closes it.
func (a *app) openStore() (*store.Store, error) {
	root := a.root
	if root == "" {
		var err error
		if root, err = store.DefaultRoot(); err != nil {
			return nil, err
		}
	}
	return store.Open(root)
}

// withStore opens the image store for as long as do takes.
func (a *app) withStore(do func(*store.Store) error) error {
	s, err := a.openStore()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	return do(s)
}

// builder is set up from the flags and the environment.
func (a *app) builder(s *store.Store) (*assemble.Builder, error) {
	epoch, err := sourceDateEpoch()
	if err != nil {
		return nil, err
	}
	if a.jobs < 0 {
		return nil, usagef("--jobs %d: at least 1", a.jobs)
	}
	sys, err := a.system()
	if err != nil {
		return nil, err
	}
	b := &assemble.Builder{Store: s, System: sys, Jobs: a.jobs, Epoch: epoch, Report: a.progress}
	if !a.quiet {
		b.Log = a.progress
	}
	return b, nil
}

// system is the configuration that docker's and podman's users have already.
func (a *app) system() (*types.SystemContext, error) {
	sys := &types.SystemContext{
		//docs:env sealbuild CONTAINERS_REGISTRIES_CONF: registries.conf in place of that of the system
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		AuthFilePath:             a.authFile,
		DockerCertPath:           a.certDir,
		DockerRegistryUserAgent:  "sealbuild/" + version,
	}
	if sys.AuthFilePath == "" {
		sys.AuthFilePath = os.Getenv("REGISTRY_AUTH_FILE") //docs:env sealbuild REGISTRY_AUTH_FILE: credentials, as `--authfile`
	}
	for what, path := range map[string]string{"CONTAINERS_REGISTRIES_CONF": sys.SystemRegistriesConfPath, "credentials file": sys.AuthFilePath} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	if !a.tlsVerify {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
		sys.OCIInsecureSkipTLSVerify = true
	}
	return sys, nil
}

// sourceDateEpoch is the time that everything made gets: 1970 unless said.
func sourceDateEpoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH") //docs:env sealbuild SOURCE_DATE_EPOCH: seconds since 1970 that times inside images and bundles get
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH=%q: expected seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// printJSON writes what -o json asks for.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// outputFlag adds -o to a verb that lists something.
func outputFlag(c *cobra.Command, target *string) {
	c.Flags().StringVarP(target, "output", "o", "text", "text or json")
}

// checkOutput refuses other formats.
func checkOutput(format string) error {
	if format != "text" && format != "json" {
		return usagef("--output %q: expected text or json", format)
	}
	return nil
}

// args checks the number of arguments; at most max, -1 for any number.
func args(min, max int, want string) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if len(given) < min || (max >= 0 && len(given) > max) {
			return usagef("%s: expected %s, got %s (see %s --help)", c.CommandPath(), want, count.Of(len(given), "argument"), c.CommandPath())
		}
		return nil
	}
}
