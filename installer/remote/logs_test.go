package remote

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
)

// withLogs gives each host of a site logs of its own: the real programs read them below its root, and journalctl is a program that
// prints the file of the unit.
func withLogs(t testing.TB, s *site) {
	t.Helper()
	s.Dial = func(_ context.Context, target *fleet.Target) (host.Host, error) {
		h := s.of(target)
		return elsewhere{host.Local(h.name), h.machine.Root}, nil
	}
	for _, h := range s.hosts {
		write(t, h.path("/bin/journalctl"), `#!/bin/sh
root=`+h.machine.Root+` follow= units=
for arg; do
	case $arg in -f) follow=1;; --no-tail|-n*) echo "$arg" >> $root/asked;; esac
	[ "$before" != -u ] || units="$units $root/journal/$arg"
	before=$arg
done
cat $units 2>/dev/null
[ -z "$follow" ] || exec tail -f /dev/null
`, 0o755)
	}
}

// elsewhere is this machine with the logs, and the programs, of another root.
type elsewhere struct {
	host.Host
	root string
}

func (h elsewhere) Run(ctx context.Context, c host.Cmd) error {
	c.Root = false
	c.Argv = append([]string(nil), c.Argv...)
	for i, arg := range c.Argv {
		c.Argv[i] = strings.ReplaceAll(arg, "/var/log/pods", h.root+"/var/log/pods")
	}
	c.Env = append(c.Env, "PATH="+h.root+"/bin:"+os.Getenv("PATH"))
	if c.Argv[0] == "journalctl" {
		c.Argv[0] = h.root + "/bin/journalctl"
	}
	return h.Host.Run(ctx, c)
}

// at is a moment of the day of these tests.
func at(second int) time.Time { return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC) }

func entry(second int, unit, text string) string {
	return fmt.Sprintf(`{"__REALTIME_TIMESTAMP":"%d","_SYSTEMD_UNIT":"%s.service","MESSAGE":%q}`+"\n", at(second).UnixMicro(), unit, text)
}

func cri(second int, text string) string {
	return at(second).Format(time.RFC3339Nano) + " stderr F " + text + "\n"
}

const etcdLogs = "/var/log/pods/kube-system_etcd-m1_0123/etcd/"

// read gives what is printed of each line but its time.
func read(t *testing.T, s *site, q Logs) ([]string, error) {
	t.Helper()
	q.Timeout = time.Minute
	var out []string
	err := q.Read(t.Context(), s.Fleet, nil, func(l Line) error {
		out = append(out, fmt.Sprintf("%d %s %s: %s", l.Time.Second(), l.Host, l.Unit, l.Text))
		return nil
	})
	return out, err
}

func TestLogsOfAllHostsAreInTheOrderOfTime(t *testing.T) {
	s := newSite(t, 2, false)
	withLogs(t, s)
	one, two := s.hosts[0], s.hosts[1]
	write(t, one.path("/journal/kubelet"), entry(10, "kubelet", "first")+entry(30, "kubelet", "third"), 0o644)
	write(t, two.path("/journal/kubelet"), entry(20, "kubelet", "second")+"no entry\n", 0o644)
	write(t, one.path(etcdLogs+"0.log.20260102-030400"), cri(2, "rotated last"), 0o644)
	write(t, one.path(etcdLogs+"0.log"), cri(15, "now"), 0o644)
	now := time.Now()
	if err := os.Chtimes(one.path(etcdLogs+"0.log"), now, now); err != nil { // the others were not written since
		t.Fatal(err)
	}
	f, err := os.Create(one.path(etcdLogs + "0.log.20260102-030300.gz"))
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(f)
	_, err = w.Write([]byte(cri(1, "rotated first")))
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"1 127.0.1.1 etcd: rotated first", "2 127.0.1.1 etcd: rotated last", "10 127.0.1.1 kubelet: first", "15 127.0.1.1 etcd: now",
		"20 127.0.1.2 kubelet: second", "30 127.0.1.1 kubelet: third",
	}
	got, err := read(t, s, Logs{Units: []string{"kubelet", "etcd"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err = read(t, s, Logs{Units: []string{"etcd"}, Lines: 2}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{want[1], want[3]}, got); diff != "" {
		t.Errorf("the last two: %s", diff)
	}
	if got, err = read(t, s, Logs{Units: []string{"kubelet", "etcd"}, Since: at(15)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[3:], got); diff != "" {
		t.Errorf("since then: %s", diff)
	}
}

func TestLogsOfOtherHostsAreReadWhenOneFails(t *testing.T) {
	s := newSite(t, 2, false)
	withLogs(t, s)
	write(t, s.hosts[1].path("/journal/kubelet"), entry(20, "kubelet", "lives"), 0o644)
	real := s.Dial
	s.Dial = func(ctx context.Context, target *fleet.Target) (host.Host, error) {
		if target == s.Targets[0] {
			return nil, &host.Error{Host: target.IP.String(), Kind: host.ErrUnreachable}
		}
		return real(ctx, target)
	}
	got, err := read(t, s, Logs{Units: []string{"kubelet"}})
	if err == nil || installer.Tell(err) != "127.0.1.1: host is unreachable" {
		t.Errorf("it tells %v", err)
	}
	if diff := cmp.Diff([]string{"20 127.0.1.2 kubelet: lives"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestFollowedLogsGoOnInFilesThatAppearLater(t *testing.T) {
	s := newSite(t, 1, false)
	withLogs(t, s)
	h := s.hosts[0]
	write(t, h.path("/journal/kubelet"), entry(10, "kubelet", "of the journal"), 0o644)
	write(t, h.path(etcdLogs+"0.log"), cri(1, "old")+cri(2, "last"), 0o644)
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	lines, over := make(chan string, 100), make(chan error, 1)
	go func() {
		q := Logs{Units: []string{"kubelet", "etcd"}, Follow: true, Lines: 1}
		over <- q.Read(ctx, s.Fleet, nil, func(l Line) error { lines <- l.Unit + ": " + l.Text; return nil })
	}()
	wait := func(want ...string) {
		t.Helper()
		for len(want) > 0 {
			select {
			case got := <-lines:
				i := -1
				for k, w := range want {
					if w == got {
						i = k
					}
				}
				if i < 0 {
					t.Fatalf("%q came, wanted %q", got, want)
				}
				want = append(want[:i:i], want[i+1:]...)
			case err := <-over:
				t.Fatalf("it ended: %v", err)
			case <-time.After(time.Minute):
				t.Fatalf("%q did not come", want)
			}
		}
	}
	wait("kubelet: of the journal", "etcd: last")
	f, err := os.OpenFile(h.path(etcdLogs+"0.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(cri(3, "next")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	wait("etcd: next")
	write(t, h.path(etcdLogs+"1.log"), cri(4, "of a new container"), 0o644)
	wait("etcd: of a new container")
	stop(installer.ErrInterrupted)
	if err := <-over; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if asked, err := os.ReadFile(h.path("/asked")); err != nil || string(asked) != "-n1\n" {
		t.Errorf("journalctl was asked for %q: %v", asked, err)
	}
}

func TestAHostThatIsFollowedNoMoreIsToldAtOnce(t *testing.T) {
	s := newSite(t, 2, false)
	withLogs(t, s)
	real := s.Dial
	s.Dial = func(ctx context.Context, target *fleet.Target) (host.Host, error) {
		if target == s.Targets[0] {
			return nil, &host.Error{Host: target.IP.String(), Kind: host.ErrUnreachable}
		}
		return real(ctx, target)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	var told []string
	q := Logs{Units: []string{"kubelet"}, Follow: true, Lines: 1, Lost: func(err error) {
		told = append(told, installer.Tell(err))
		stop(installer.ErrInterrupted) // the other one is still followed: else this would not be called
	}}
	if err := q.Read(ctx, s.Fleet, nil, func(Line) error { return nil }); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"127.0.1.1: host is unreachable"}, told); diff != "" {
		t.Error(diff)
	}
}

// What a host writes late, and earlier by its clock, is put before what is held back.
func TestFollowedLinesWaitForOlderOnesOfOtherHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out []string
		m := &merger{take: func(l Line) error { out = append(out, l.Text); return nil }}
		start := time.Now()
		m.add(Line{Time: at(2), Text: "later"}, start)
		m.add(Line{Time: at(1), Text: "earlier"}, start.Add(holdBack/2))
		m.pass(start.Add(-time.Nanosecond))
		if len(out) > 0 {
			t.Errorf("%q did not wait", out)
		}
		m.pass(start.Add(holdBack))
		if diff := cmp.Diff([]string{"earlier", "later"}, out); diff != "" || m.bytes != 0 {
			t.Error(diff, m.bytes)
		}
	})
}

func TestSecretsOfMastersAreToldBeforeTheirLines(t *testing.T) {
	s := newSite(t, 2, false)
	withLogs(t, s)
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "s3cret-w0rd\n", 0o600)
	hidden := map[string]bool{}
	q := Logs{Units: []string{"kubelet"}, SecretFiles: []string{file, file + "-none"}, Hide: func(secret string) { hidden[secret] = true }}
	if _, err := read(t, s, q); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]bool{"s3cret-w0rd": true}, hidden); diff != "" {
		t.Error(diff)
	}
}

func TestLogsOfRunsOnThisMachineAreRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/20260102T030405.000Z.log", `{"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"step begins","step":"check"}
{"time":"2026-01-02T03:04:06Z","level":"DEBUG","msg":"output","host":"10.0.0.2","step":"check","command":"x","line":"a line"}
{"time":"2026-01-02T03:04:07Z","level":"ERROR","msg":"step failed","step":"check","error":"no space"}
`, 0o600)
	write(t, dir+"/20260103T030405.000Z.log", `{"time":"2026-01-03T03:04:05Z","level":"WARN","msg":"even masters"}`+"\ncut off {", 0o600)
	got := func(q Logs) (out []string) {
		lines, err := q.Runs(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			out = append(out, l.String())
		}
		return out
	}
	want := []string{
		"2026-01-02T03:04:05.000000Z here install: check: step begins", "2026-01-02T03:04:06.000000Z here install: 10.0.0.2 check: a line",
		"2026-01-02T03:04:07.000000Z here install: check: step failed: no space", "2026-01-03T03:04:05.000000Z here install: warning: even masters",
	}
	if diff := cmp.Diff(want, got(Logs{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[2:], got(Logs{Lines: 2})); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesOfTheJournalAreReadInEveryForm(t *testing.T) {
	for text, want := range map[string]string{
		`{"__REALTIME_TIMESTAMP":"1000001","MESSAGE":"m","_SYSTEMD_UNIT":"kubelet.service"}`:                              "kubelet: m",
		`{"__REALTIME_TIMESTAMP":"1000001","MESSAGE":"Started","_SYSTEMD_UNIT":"init.scope","UNIT":"containerd.service"}`: "containerd: Started",
		`{"__REALTIME_TIMESTAMP":"1000001","MESSAGE":[104,105,255],"SYSLOG_IDENTIFIER":"etcd"}`:                           "etcd: hi\xff",
		`{"__REALTIME_TIMESTAMP":"1000001","MESSAGE":null,"_SYSTEMD_UNIT":["a.service","b.service"]}`:                     "a: ",
		`{"MESSAGE":"m"}`:  "",
		`-- No entries --`: "",
	} {
		l, ok := parseJournal([]byte(text))
		if got := l.Unit + ": " + l.Text; ok != (want != "") || ok && (got != want || !l.Time.Equal(time.Unix(1, 1000))) {
			t.Errorf("%s: %v %q %v, want %q", text, ok, got, l.Time, want)
		}
	}
}

func TestPartsOfAContainersLineBecomeOne(t *testing.T) {
	var c containerLines
	var got []string
	for _, text := range []string{
		"", "::/var/log/pods/kube-system_kube-apiserver-m1_01/kube-apiserver/",
		"2026-01-02T03:04:05.5+01:00 stderr P one ", "2026-01-02T03:04:06Z stdout F between", "2026-01-02T03:04:07Z stderr F two",
		"2026-01-02T03:04:08Z stderr F", "tail: cannot open", "2026-01-02T03:04:08Z neither F x",
		`::/var/log/pods/kube-system_kube-sealos-care-n1_02/care/0.log {"log":"of docker\n","stream":"stdout","time":"2026-01-02T03:04:09Z"}`,
		"::/var/log/pods/other_pod_03/app/0.log 2026-01-02T03:04:10Z stdout F:x of others",
	} {
		if l, ok := c.line([]byte(text)); ok {
			got = append(got, l.Time.Format("15:04:05 ")+l.Unit+": "+l.Text)
		}
	}
	want := []string{
		"03:04:06 kube-apiserver: between", "02:04:05 kube-apiserver: one two", "03:04:08 kube-apiserver: ", "03:04:09 care: of docker", "03:04:10 app: of others",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzLogLines(f *testing.F) {
	for _, seed := range []string{
		cri(1, "text"), "2026-01-02T03:04:05Z stdout P part\n2026-01-02T03:04:05Z stdout F end\n", entry(1, "kubelet", "text"),
		"::/var/log/pods/kube-system_etcd-m1_1/etcd/0.log 2026-01-02T03:04:05Z stdout F x\n", `{"log":"x\n","stream":"stdout","time":"2026-01-02T03:04:09Z"}` + "\n",
		`{"__REALTIME_TIMESTAMP":"1","MESSAGE":[1,2,300]}`, `{"time":"2026-01-02T03:04:05Z","msg":"output","line":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c containerLines
		lines := 0
		take := &splitter{take: func(line []byte) {
			lines++
			for _, parse := range []func([]byte) (Line, bool){parseJournal, parseRun, c.line} {
				if l, ok := parse(line); ok && len(l.Text) > len(text)+maxJoined {
					t.Errorf("%d bytes became a line of %d", len(text), len(l.Text))
				}
			}
		}}
		half := len(text) / 2 // streams are cut anywhere
		_, _ = take.Write(text[:half])
		_, _ = take.Write(text[half:])
		take.end()
		if want := strings.Count(string(text), "\n"); lines < want || lines > want+1 {
			t.Errorf("%d lines of %d", lines, want)
		}
	})
}
