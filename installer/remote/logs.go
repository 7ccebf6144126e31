package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/sealbuild/sealbuild/ground/wait"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
)

// UnitInstall is what the logs of runs on this machine are called.
const UnitInstall = "install"

// UnitCare is what the logs of the keeper of the virtual address are called.
const UnitCare = "care"

// pods are the static pods by the names that their logs have here.
var pods = map[string]string{
	"etcd": "etcd", UnitCare: care.PodName,
	"kube-apiserver": "kube-apiserver", "kube-controller-manager": "kube-controller-manager", "kube-scheduler": "kube-scheduler",
}

// Units lists the names of logs that need no knowledge of systemd: those that are read where none is named.
func Units() []string {
	return []string{
		"kubelet", "containerd", "docker", "crio", "registry", UnitCare, "etcd",
		"kube-apiserver", "kube-controller-manager", "kube-scheduler",
	}
}

// Logs says which lines are wanted.
type Logs struct {
	Units   []string  // out of [Units], or units of systemd; not install
	Since   time.Time // zero: however old
	Lines   int       // the last ones of each unit and host; 0: all
	Follow  bool
	Timeout time.Duration // for each host; without an end where it is followed
	// SecretFiles are files of masters whose lines Hide is told before the lines of that host are given to anybody.
	SecretFiles []string
	Hide        func(secret string)
	// Lost, if set, is told at once why a host is followed no more.
	Lost func(err error)
}

// Check tells which of the units are no names.
func (q Logs) Check() error {
	for _, u := range q.Units {
		if strings.HasPrefix(u, "-") || strings.ContainsAny(u, " \t\n/'\"$") {
			return fmt.Errorf("%q is neither a host nor a unit: expected %s, or a unit of systemd", u, strings.Join(Units(), ", "))
		}
	}
	return nil
}

// journal are the units of systemd that are asked for.
func (q Logs) journal() (out []string) {
	for _, u := range q.Units {
		switch {
		case u == UnitCare:
			out = append(out, care.Unit)
		case pods[u] == "":
			out = append(out, u)
		}
	}
	return out
}

// podPatterns are the directories of static pods that are asked for, below /var/log/pods.
func (q Logs) podPatterns() (out []string) {
	for _, u := range q.Units {
		if p := pods[u]; p != "" {
			out = append(out, "kube-system_"+p+"-*_*")
		}
	}
	return out
}

// unitOfPath tells whose log lies at a path: /var/log/pods/NAMESPACE_POD_UID/CONTAINER and what is below it.
func unitOfPath(file string) string {
	_, below, _ := strings.Cut(file, "/var/log/pods/")
	parts := strings.Split(strings.Trim(below, "/"), "/")
	pod := strings.TrimPrefix(parts[0], "kube-system_")
	for unit, prefix := range pods {
		if strings.HasPrefix(pod, prefix+"-") && parts[0] != pod {
			return unit
		}
	}
	if len(parts) > 1 {
		return parts[1]
	}
	return pod
}

// maxHeld bounds what is held of all hosts to be put in order, in bytes.
const maxHeld = 512 << 20

// Read reads logs of hosts, on at most f.Jobs of them at once, and gives each line to take, all hosts in the order of time. The
// error has one of each host whose logs are not complete; the lines of the others, and what there is of those, are given. Where
// logs are followed it returns when ctx ends, or when all hosts have failed.
func (q Logs) Read(ctx context.Context, f *fleet.Fleet, own []Line, take func(Line) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &merger{take: take, cancel: cancel}
	for _, l := range own {
		m.add(l, time.Now())
	}
	over := make(chan struct{})
	if q.Follow {
		go func() {
			defer close(over)
			for range wait.Every(ctx, holdBack/4) {
				m.pass(time.Now().Add(-holdBack))
			}
		}()
	} else {
		close(over)
	}
	jobs := f.Jobs
	if q.Follow {
		jobs = len(f.Targets) // each is read until the end
	}
	err := fleet.Each(ctx, f.Targets, jobs, func(ctx context.Context, t *fleet.Target) error {
		err := q.from(ctx, f, t, m)
		if err != nil && q.Follow && q.Lost != nil && ctx.Err() == nil {
			q.Lost(t.Failed(err))
		}
		return err
	})
	failed := context.Cause(ctx)
	cancel(nil)
	<-over
	m.pass(time.Now().Add(time.Hour))
	if m.failed != nil {
		return m.failed
	}
	if q.Follow && errors.Is(failed, installer.ErrInterrupted) {
		return nil // that is how it ends
	}
	return err
}

// journalFields are what is read of an entry.
const journalFields = "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT,SYSLOG_IDENTIFIER"

// journalHistory prints the last $0 lines (0: all) since $1 of each unit that follows.
const journalHistory = `n= since=$2; [ "$1" = 0 ] || n="-n $1"; shift 2
for unit in "$@"; do journalctl -q --no-pager -a -o json ` + journalFields + ` --since="@$since" $n -u "$unit" || exit; done`

// podHistory prints the last $1 lines (0: all) of the containers of each pattern that follows, of files that were written since $2.
// Rotated files come before the one that is written: 0.log.20260102-030405.gz, 0.log.20260103-030405, 0.log.
const podHistory = `n=$1 since=$2; shift 2
for pattern in "$@"; do for dir in /var/log/pods/$pattern/*/; do
	[ -d "$dir" ] || continue
	printf '\n::%s\n' "$dir"
	find -L "$dir" -maxdepth 1 -type f -newermt "@$since" -printf '%f\n' | sed 's/\.log$/.log.9/' | sort -t. -k1,1n -k3,3 | sed 's/\.log\.9$/.log/' |
	while IFS= read -r file; do
		case $file in *.gz) gzip -dc -- "$dir$file";; *) cat -- "$dir$file";; esac
	done | if [ "$n" -gt 0 ]; then tail -n "$n"; else cat; fi
done; done
echo`

// podFollow prints the last $1 lines of the files that containers of the patterns write, and what they write from now on, each
// behind the name of its file. Files that appear later are printed from their beginning.
const podFollow = `n=$1; shift; seen=
while :; do
	new=
	for pattern in "$@"; do for file in /var/log/pods/$pattern/*/*.log; do
		[ -f "$file" ] || continue
		case $seen in *"|$file|"*) continue;; esac
		seen="$seen|$file|"; new="$new $file"
	done; done
	if [ -n "$new" ]; then
		tail -v -n "$n" -F $new 2>/dev/null | sed -u -n '/^==> .* <==$/{s/^==> //;s/ <==$//;h;d};/./{G;s/^\(.*\)\n\(.*\)$/::\2 \1/p}' &
	fi
	n=+1; sleep 2
done`

// from reads the logs of a host.
func (q Logs) from(ctx context.Context, f *fleet.Fleet, t *fleet.Target, m *merger) error {
	if !q.Follow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, q.Timeout, fmt.Errorf("no end after %s (--timeout)", q.Timeout))
		defer cancel()
	}
	if err := f.Link(ctx, t); err != nil {
		return err
	}
	if t.Master && len(q.SecretFiles) > 0 {
		var secrets strings.Builder
		cat := append([]string{"/bin/sh", "-c", `cat -- "$@" 2>/dev/null; true`, "sh"}, q.SecretFiles...)
		if err := t.Link.Run(ctx, host.Cmd{Title: "ask which words are secret", Argv: cat, Root: true, Stdout: &secrets}); err != nil {
			return err
		}
		for secret := range strings.FieldsFuncSeq(secrets.String(), func(r rune) bool { return r == '\n' }) {
			q.Hide(secret)
		}
	}
	since, lines := strconv.FormatInt(max(0, q.Since.Unix()), 10), strconv.Itoa(q.Lines)
	var journal, containers []string
	if units := q.journal(); len(units) > 0 {
		journal = append([]string{"/bin/sh", "-c", journalHistory, "sh", lines, since}, units...)
		if q.Follow {
			n := "--no-tail"
			if q.Lines > 0 {
				n = "-n" + lines
			}
			journal = []string{"journalctl", "-q", "-f", "--no-pager", "-a", "-o", "json", journalFields, "--since=@" + since, n}
			for _, u := range units {
				journal = append(journal, "-u", u)
			}
		}
	}
	if patterns := q.podPatterns(); len(patterns) > 0 {
		containers = append([]string{"/bin/sh", "-c", podHistory, "sh", lines, since}, patterns...)
		if q.Follow {
			first := lines
			if q.Lines == 0 {
				first = "+1"
			}
			containers = append([]string{"/bin/sh", "-c", podFollow, "sh", first}, patterns...)
		}
	}
	var parts containerLines
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, source := range []struct {
		title string
		argv  []string
		parse func([]byte) (Line, bool)
	}{{"read the journal", journal, parseJournal}, {"read the logs of pods", containers, parts.line}} {
		if source.argv == nil {
			continue
		}
		both.Go(func() {
			out := &splitter{take: func(text []byte) {
				if l, ok := source.parse(text); ok && !l.Time.Before(q.Since) {
					l.Host = t.IP.String()
					m.add(l, time.Now())
				}
			}}
			errs[i] = t.Link.Run(ctx, host.Cmd{Title: source.title, Argv: source.argv, Root: true, Stdout: out})
			out.end()
		})
	}
	both.Wait()
	return errors.Join(errs...)
}

// holdBack is how long a line that is followed waits for older ones of other hosts.
const holdBack = time.Second

// merger puts lines of hosts into the order of time.
type merger struct {
	take   func(Line) error
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	held   []arrived
	bytes  int64
	failed error // of take, or because there are too many lines
}

type arrived struct {
	Line
	at time.Time
}

func (m *merger) add(l Line, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return
	}
	m.held = append(m.held, arrived{l, now})
	if m.bytes += int64(len(l.Text)) + 100; m.bytes > maxHeld {
		m.fail(fmt.Errorf("the logs have more than %s: ask for fewer with --since, -n, units or hosts", humanize.IBytes(maxHeld)))
	}
}

func (m *merger) fail(err error) {
	m.failed, m.held = err, nil
	m.cancel(err)
}

// pass gives on, in the order of time, what arrived up to a moment.
func (m *merger) pass(until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ready []arrived
	m.held = slices.DeleteFunc(m.held, func(a arrived) bool {
		if a.at.After(until) {
			return false
		}
		ready = append(ready, a)
		m.bytes -= int64(len(a.Text)) + 100
		return true
	})
	slices.SortStableFunc(ready, func(a, b arrived) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Host, b.Host)) })
	for _, a := range ready {
		if m.failed != nil {
			return
		}
		if err := m.take(a.Line); err != nil {
			m.fail(err)
		}
	}
}

// Runs reads the logs of runs on this machine, which lie in a directory.
func (q Logs) Runs(dir string) ([]Line, error) {
	entries, err := os.ReadDir(dir) // by name, which is their time
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the logs of runs: %w", err)
	}
	var out []Line
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || path.Ext(e.Name()) != ".log" || info.ModTime().Before(q.Since) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the logs of runs: %w", err)
		}
		lines := &splitter{take: func(text []byte) {
			if l, ok := parseRun(text); ok && !l.Time.Before(q.Since) {
				l.Host = "here"
				out = append(out, l)
			}
		}}
		_, _ = lines.Write(text) // it never fails
		lines.end()
		if over := len(out) - q.Lines; q.Lines > 0 && over > 0 {
			out = append(out[:0], out[over:]...)
		}
	}
	return out, nil
}
