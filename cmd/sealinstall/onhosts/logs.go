package onhosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/remote"
	"github.com/sealbuild/sealbuild/installer/secrets"
)

// defaultLines is how many lines of each unit and host are shown where nobody says how many or since when.
const defaultLines = 100

func (c *commands) newLogs() *cobra.Command {
	var q remote.Logs
	var since string
	cmd := &cobra.Command{
		Use: "logs [flags] [HOST...|all] [UNIT...]", Short: "Read logs of hosts, in the order of time",
		Long: `Read logs of hosts, in the order of time. The API is not asked.

HOST is an address, a list or a range; all hosts where none is named. UNIT is one of
  ` + strings.Join(remote.Units(), " ") + `
which are all read where none is named; or
  install   the logs of runs on this machine, which are not followed
or any unit of systemd.

Those of systemd come from the journal, those of pods from /var/log/pods, rotated
files too. Passwords that the installer knows are masked. A host that cannot be
asked is told at the end, and the exit status is 1.` + selection,
		Example: `  ./sealinstall logs all kubelet --since 10m
  ./sealinstall logs 10.0.0.2-10.0.0.4 etcd kube-apiserver -n 200
  ./sealinstall logs --roles node -f
  ./sealinstall logs install`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				switch hosts, err := installer.ParseAddresses(arg); {
				case arg == "all":
				case err == nil && len(hosts) > 0:
					c.Mean(hosts)
				default:
					q.Units = append(q.Units, arg)
				}
			}
			var err error
			if q.Since, err = parseSince(since, time.Now()); err != nil {
				return usage.Errorf("--since %q: %w", since, err)
			}
			if q.Lines < 0 {
				return usage.Errorf("-n %d: expected 0 or more", q.Lines)
			}
			if !cmd.Flags().Changed("lines") && q.Since.IsZero() {
				q.Lines = defaultLines
			}
			return c.logs(cmd, q)
		},
	}
	c.flags(cmd, "longest time for one host, unless logs are followed")
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "lines since then: 10m, 2h, 3d, 2026-01-02, \"2026-01-02 15:04\" (of this machine) or 2026-01-02T15:04:05Z")
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with what is written from now on")
	f.IntVarP(&q.Lines, "lines", "n", 0, fmt.Sprintf("how many of the last lines of each unit and host; 0 for all (default %d without --since)", defaultLines))
	return cmd
}

// parseSince reads a time, or how long ago it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("expected how long ago (10m, 2h, 3d) or when (2026-01-02, 2026-01-02 15:04, 2026-01-02T15:04:05Z)")
}

func (c *commands) logs(cmd *cobra.Command, q remote.Logs) error {
	install := slices.Contains(q.Units, remote.UnitInstall)
	q.Units = slices.DeleteFunc(q.Units, func(u string) bool { return u == remote.UnitInstall })
	if install && q.Follow {
		return usage.Errorf("the logs of runs are not followed: a run tells what it does where it was started")
	}
	onlyHere := install && len(q.Units) == 0
	if len(q.Units) == 0 && !install {
		q.Units = remote.Units()
	}
	if err := q.Check(); err != nil {
		return usage.Error{Err: err}
	}
	if onlyHere {
		return c.logsHere(cmd, q)
	}
	site, err := c.open(cmd, "logs")
	if err != nil {
		return err
	}
	defer site.close()
	q.Timeout = site.Timeout
	var own []remote.Line
	if install {
		if own, err = q.Runs(site.State.Path("logs")); err != nil {
			return err
		}
	}
	masked := site.masks(&q)
	q.Lost = func(err error) {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", masked.Mask(installer.Tell(err)))
	}
	if err := q.Read(cmd.Context(), site.Fleet, own, printLine(cmd, masked)); err != nil {
		return errors.New(masked.Mask(installer.Tell(err)))
	}
	return nil
}

// logsHere reads the logs of runs on this machine alone, which needs no cluster.
func (c *commands) logsHere(cmd *cobra.Command, q remote.Logs) error {
	state, err := c.State()
	if err != nil {
		return err
	}
	defer state.Close()
	lines, err := q.Runs(state.Path("logs"))
	if err != nil {
		return err
	}
	print := printLine(cmd, installer.Silent()) // secrets were masked when they were written
	for _, l := range lines {
		if err := print(l); err != nil {
			return err
		}
	}
	return nil
}

func printLine(cmd *cobra.Command, masked *installer.Reporter) func(remote.Line) error {
	w := cmd.OutOrStdout()
	enc := json.NewEncoder(w)
	return func(l remote.Line) error {
		l.Text = masked.Mask(l.Text)
		if isJSON(cmd) {
			return enc.Encode(l)
		}
		_, err := fmt.Fprintln(w, installer.Plain(l.String()))
		return err
	}
}

// masks knows the secrets of the cluster that this machine keeps or was given. A machine that keeps none learns the registry's
// passwords from the masters.
func (s *Site) masks(q *remote.Logs) *installer.Reporter {
	r, kept := s.secrets()
	if kept == 0 {
		q.SecretFiles, q.Hide = secrets.PasswordFiles(installer.Dir(s.Cluster.Name, "etc")), r.Hide
	}
	return r
}

// secrets hides the secrets of the cluster that this machine keeps or was given, and tells how many passwords of the registry it
// keeps.
func (s *Site) secrets() (r *installer.Reporter, kept int) {
	r = installer.Silent()
	r.HideNames(s.Cluster.SecretNames()...)
	for _, name := range secrets.PasswordFiles(s.State.Dir) {
		if text, err := os.ReadFile(name); err == nil {
			r.Hide(string(text))
			kept++
		}
	}
	hide := func(login installer.SSH, env map[string]string) {
		r.Hide(login.Password)
		r.Hide(login.KeyPassphrase)
		for _, secret := range s.Cluster.Secrets(env) {
			r.Hide(secret)
		}
	}
	hide(s.Cluster.SSH, s.Cluster.Env)
	for _, h := range s.Cluster.Hosts {
		hide(h.SSH, h.Env)
	}
	return r, kept
}
