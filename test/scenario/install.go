package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Install is the main story: one file makes a cluster of one master and one
// node with no network, the same command again changes nothing, a file with an
// application alone adds it, and reset gives back clean hosts.
func Install(ctx context.Context, out io.Writer) error {
	return installation(ctx, out, recipe{images: (*Built).imagesAndApplication}, 1, func(ctx context.Context, st *story, s *Site, f Figures) error {
		if err := addApplication(ctx, st, s); err != nil {
			return err
		}
		return writeFigures(s.built.Root, f)
	})
}

// JudgedInstall is the same story with a second node, and in the middle of it
// Kubernetes' own tests are added to the cluster and judge it.
func JudgedInstall(ctx context.Context, out io.Writer) error {
	return installation(ctx, out, recipe{images: (*Built).imagesAndApplication}, 2, func(ctx context.Context, st *story, s *Site, _ Figures) error {
		if err := addApplication(ctx, st, s); err != nil {
			return err
		}
		return s.judge(ctx, st, "install")
	})
}

// installation tells the story; then is what is done with the finished cluster.
func installation(ctx context.Context, out io.Writer, r recipe, nodes int, then func(context.Context, *story, *Site, Figures) error) (err error) {
	st := newStory(out)
	site, err := makeAndOpen(ctx, st, r, 1, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	before, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	figures, err := site.firstRun(ctx, st)
	if err != nil {
		return err
	}
	if err := site.showCluster(ctx, st); err != nil {
		return err
	}
	if err := site.exampleAnswers(ctx, st); err != nil {
		return err
	}
	if err := site.secondRun(ctx, st, &figures); err != nil {
		return err
	}
	figures.print(st)
	if err := site.nothingEscaped(ctx, st); err != nil {
		return err
	}
	if err := then(ctx, st, site, figures); err != nil {
		return err
	}
	return site.resetLeavesNothing(ctx, st, before)
}

// firstRun installs and measures.
func (s *Site) firstRun(ctx context.Context, st *story) (Figures, error) {
	st.heading("sealinstall: from the file to a cluster")
	probe := probeDisk(s.Dir)
	start := time.Now()
	sum, res, err := s.install(ctx, st)
	if err != nil {
		peak, _ := probe.end()
		st.say("the disk grew by %d MB until then", peak/1e6)
		return Figures{}, fmt.Errorf("install: %w", err)
	}
	if err := s.waitPods(ctx, 3*time.Minute); err != nil {
		return Figures{}, err
	}
	f := Figures{Total: time.Since(start), Peak: res.MaxRSS}
	f.DiskPeak, f.DiskEnd = probe.end()
	for _, step := range sum.Steps {
		f.Steps = append(f.Steps, StepFigure{step.Step, step.Seconds})
	}
	return f, nil
}

func (s *Site) showCluster(ctx context.Context, st *story) error {
	st.heading("the cluster")
	for _, args := range [][]string{{"get", "nodes", "-o", "wide"}, {"get", "pods", "-A", "-o", "wide"}} {
		if err := s.show(ctx, st, args...); err != nil {
			return err
		}
	}
	nodes, err := s.kubectl(ctx, "get", "nodes", "--no-headers")
	if err != nil {
		return err
	}
	if n := strings.Count(nodes, " Ready "); n != len(s.Masters)+len(s.Nodes) {
		return fmt.Errorf("%d of %d nodes are Ready:\n%s", n, len(s.Masters)+len(s.Nodes), nodes)
	}
	res, err := s.master0().Exec(ctx, "cat", "/root/.sealos/default/Clusterfile")
	if err != nil {
		return err
	}
	st.say("%s# cat ~/.sealos/default/Clusterfile\n%s", s.master0().Name, res.Stdout)
	if !strings.Contains(res.Stdout, "phase: ClusterSuccess") {
		return errors.New("the Clusterfile does not say ClusterSuccess")
	}
	if strings.Contains(res.Stdout, s.Password) {
		return errors.New("the Clusterfile holds the ssh password")
	}
	return nil
}

// exampleAnswers asks the example application through its Service from every host.
func (s *Site) exampleAnswers(ctx context.Context, st *story) error {
	st.heading("the example answers over its Service")
	ip, err := s.kubectl(ctx, "get", "service", "-n", "hello", "hello", "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
	if err != nil {
		return err
	}
	addr, port, _ := strings.Cut(ip, ":")
	for _, h := range s.Hosts {
		// bash speaks TCP itself: the hosts have no curl.
		script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%s; printf 'GET / HTTP/1.0\r\n\r\n' >&3; timeout 10 cat <&3`, addr, port)
		res, err := h.Exec(ctx, "timeout", "20", "bash", "-c", script)
		if err != nil {
			return fmt.Errorf("%s asks http://%s/: %w", h.Name, ip, err)
		}
		if !strings.Contains(res.Stdout, "200 OK") {
			return fmt.Errorf("%s asks http://%s/ and gets %q", h.Name, ip, res.Stdout)
		}
		lines := strings.Split(strings.TrimSpace(res.Stdout), "\n")
		st.say("%s -> http://%s/ : %s", h.Name, ip, lines[len(lines)-1])
	}
	return nil
}

func (s *Site) secondRun(ctx context.Context, st *story, f *Figures) error {
	st.heading("the same command again")
	start := time.Now()
	sum, _, err := s.install(ctx, st)
	if err != nil {
		return fmt.Errorf("second run: %w", err)
	}
	f.Second = time.Since(start)
	st.say("%d changes in %.1f s", sum.Changes, f.Second.Seconds())
	if sum.Changes != 0 {
		return fmt.Errorf("the second run changed %d things: %+v", sum.Changes, sum.Steps)
	}
	return nil
}

func (s *Site) nothingEscaped(ctx context.Context, st *story) error {
	n, err := s.Escaped(ctx)
	if err != nil {
		return err
	}
	st.heading("packets that tried to leave the site: %d", n)
	if n == 0 {
		return nil
	}
	flows, err := s.EscapedFlows(ctx)
	return errors.Join(fmt.Errorf("%d packets tried to leave the site: %v", n, flows), err)
}

func (s *Site) snapshots(ctx context.Context) ([][]string, error) {
	var out [][]string
	for _, h := range s.Hosts {
		snap, err := h.Snapshot(ctx)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", h.Name, err)
		}
		out = append(out, snap)
	}
	return out, nil
}

// resetLeavesNothing compares the hosts with what they were before.
func (s *Site) resetLeavesNothing(ctx context.Context, st *story, before [][]string) error {
	st.heading("reset")
	if _, _, err := s.sealinstall(ctx, st, "reset", "--yes"); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	after, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	var left []string
	for i, h := range s.Hosts {
		for _, d := range diff(before[i], after[i]) {
			if !expectedAfterReset(d) {
				left = append(left, h.Name+": "+d)
			}
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("reset left %d differences:\n%s", len(left), strings.Join(left[:min(len(left), 60)], "\n"))
	}
	st.say("every host is as it was: files, mounts, ports, packet filter, links, routes, units")
	return nil
}

// expectedAfterReset names what may differ: the operator's own directory, where
// the logs of what happened stay; what ssh and systemd keep about any login;
// and what the first call of iptables makes on a host, even one that only
// lists: a lock file and empty tables. Rules and chains of Kubernetes would
// have other names, so they are not excused.
func expectedAfterReset(line string) bool {
	for _, part := range []string{
		"/root/.sealos", "/var/log/", "/var/lib/systemd/", "session-", "user@0", "user-0", "user-runtime-dir@0", "/run/user",
		"process sshd", "process (sd-pam)", "process systemd --user", "/root/.ssh", "/run/xtables.lock",
	} {
		if strings.Contains(line, part) {
			return true
		}
	}
	return emptyTable.MatchString(line)
}

var emptyTable = regexp.MustCompile(`^[+-] (iptables ip6?tables (\*(filter|nat|mangle|raw|security)|:[A-Z]+ ACCEPT)` +
	`|nft\s*(\}|table ip6? (filter|nat|mangle|raw|security) \{|chain [A-Z]+ \{|type (filter|nat|route) hook [a-z]+ priority [-a-z0-9]+; policy accept;)?)\s*$`)

// diff lists lines that only one side has, with + and -.
func diff(before, after []string) []string {
	had := map[string]int{}
	for _, l := range before {
		had[l]++
	}
	var out []string
	for _, l := range after {
		if had[l] == 0 {
			out = append(out, "+ "+l)
		}
		had[l]--
	}
	for _, l := range before {
		if had[l] > 0 {
			out = append(out, "- "+l)
			had[l]--
		}
	}
	return out
}

// diskProbe samples how much of a filesystem is used.
type diskProbe struct {
	dir         string
	begin, peak int64
	stop, done  chan struct{}
}

// probeDisk begins to watch the filesystem of dir. The hosts' disks lie on it.
func probeDisk(dir string) *diskProbe {
	p := &diskProbe{dir: dir, stop: make(chan struct{}), done: make(chan struct{})}
	p.begin = p.used()
	go func() {
		defer close(p.done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			p.peak = max(p.peak, p.used()-p.begin)
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

func (p *diskProbe) used() int64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(p.dir, &fs); err != nil {
		return 0
	}
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize
}

// end stops watching and returns the growth in bytes at its peak and now.
func (p *diskProbe) end() (peak, now int64) {
	close(p.stop)
	<-p.done
	now = p.used() - p.begin
	return max(p.peak, now), now
}
