package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// needMachine skips where hosts cannot be booted, unless this is a run that
// must not skip (CI).
func needMachine(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: boots no hosts")
	}
	if missing := Missing(); len(missing) > 0 {
		if os.Getenv("CI") != "" {
			t.Fatal(&MissingError{What: missing})
		}
		t.Skip(&MissingError{What: missing})
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestHostsAreReachableAndNothingLeavesTheBed(t *testing.T) {
	needMachine(t)
	ctx := testContext(t)
	if _, err := Prepare(ctx, t.Output()); err != nil {
		t.Fatal(err)
	}
	b, err := Start(ctx, Config{Count: 1, Hosts: []HostConfig{{Name: "first"}}, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	t.Run("ssh with the key", func(t *testing.T) { checkSSH(ctx, t, b, keyAuth(t, b)) })
	t.Run("ssh with the password", func(t *testing.T) { checkSSH(ctx, t, b, ssh.Password(b.Password)) })
	t.Run("each other", func(t *testing.T) {
		if _, err := b.Hosts[0].Exec(ctx, "ping", "-c1", "-W2", b.Hosts[1].Addr); err != nil {
			t.Error(err)
		}
		if n, err := b.Escaped(ctx); err != nil || n != 0 {
			t.Errorf("talk among hosts counts as %d escaped packets (%v)", n, err)
		}
	})
	t.Run("nothing leaves", func(t *testing.T) { checkClosed(ctx, t, b) })
	t.Run("overlayfs in /var/lib", func(t *testing.T) {
		if _, err := b.Hosts[0].Exec(ctx, "sh", "-ec", "cd $(mktemp -d -p /var/lib) && mkdir l u w m && "+
			"mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m && touch m/f && umount m && rm -r $PWD"); err != nil {
			t.Error(err)
		}
	})
	t.Run("copy", func(t *testing.T) { checkCopy(ctx, t, b.Hosts[0]) })
	t.Run("snapshot shows what an installer does", func(t *testing.T) { checkSnapshot(ctx, t, b.Hosts[1]) })
	t.Run("power off and on", func(t *testing.T) { checkPower(ctx, t, b) })
	t.Run("power back at once", func(t *testing.T) { checkPowerAtOnce(ctx, t, b) })
	t.Run("a new disk", func(t *testing.T) { checkNewDisk(ctx, t, b) })

	if traces(t, b.ID()) == nil {
		t.Error("a running bed leaves no traces: this test sees nothing")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, b.ID()); left != nil {
		t.Errorf("Close left behind: %q", left)
	}
}

func keyAuth(t *testing.T, b *Bed) ssh.AuthMethod {
	t.Helper()
	raw, err := os.ReadFile(b.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.PublicKeys(signer)
}

func checkSSH(ctx context.Context, t *testing.T, b *Bed, auth ssh.AuthMethod) {
	for _, h := range b.Hosts {
		for _, user := range []string{"root", "ops"} {
			conn, err := b.Dial(ctx, net.JoinHostPort(h.Addr, "22"))
			if err != nil {
				t.Fatal(err)
			}
			hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.HostKey))
			if err != nil {
				t.Fatal(err)
			}
			c, chans, reqs, err := ssh.NewClientConn(conn, h.Addr, &ssh.ClientConfig{
				User: user, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.FixedHostKey(hostKey),
			})
			if err != nil {
				t.Fatalf("log in on %s as %s: %v", h.Name, user, err)
			}
			client := ssh.NewClient(c, chans, reqs)
			defer client.Close()
			session, err := client.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			out, err := session.Output("hostname && sudo -n id -u")
			if want := h.Name + "\n0\n"; err != nil || string(out) != want {
				t.Errorf("as %s: got %q, %v; want %q", user, out, err, want)
			}
		}
	}
}

func checkClosed(ctx context.Context, t *testing.T, b *Bed) {
	h := b.Hosts[0]
	if res, err := h.Exec(ctx, "curl", "--silent", "--max-time", "1", "http://198.51.100.7/"); err == nil {
		t.Fatalf("reached an address outside: %q", res.Stdout)
	}
	if n, err := b.Escaped(ctx); err != nil || n == 0 {
		t.Fatalf("an attempt to leave was counted as %d packets (%v)", n, err)
	}
	flows, err := b.EscapedFlows(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(flows, func(f Flow) bool {
		return f.From.String() == h.Addr && f.To.String() == "198.51.100.7" && f.Packets > 0
	}) {
		t.Errorf("flows %v do not name %s -> 198.51.100.7", flows, h.Addr)
	}
	before, err := b.Escaped(ctx)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if conn, err := b.Dial(short, "198.51.100.8:80"); err == nil {
		conn.Close()
		t.Error("the installer's place reaches the outside")
	}
	if after, err := b.Escaped(ctx); err != nil || after <= before {
		t.Errorf("packets from the installer's place are not counted: %d before, %d after (%v)", before, after, err)
	}
}

func checkCopy(ctx context.Context, t *testing.T, h *Host) {
	src := filepath.Join(t.TempDir(), "tool")
	content := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	if err := os.WriteFile(src, content, 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := h.DiskUsed()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Copy(ctx, src, "/opt/made/tool", 0o755); err != nil {
		t.Fatal(err)
	}
	res, err := h.Exec(ctx, "sh", "-c", "stat -c %a /opt/made/tool && wc -c < /opt/made/tool && sync /opt/made/tool")
	if want := fmt.Sprintf("755\n%d\n", len(content)); err != nil || res.Stdout != want {
		t.Errorf("got %q, %v; want %q", res.Stdout, err, want)
	}
	if used, err := h.DiskUsed(); err != nil || used < disk+int64(len(content)) {
		t.Errorf("disk use went from %d to %d (%v) with %d bytes more", disk, used, err, len(content))
	}
}

func checkSnapshot(ctx context.Context, t *testing.T, h *Host) {
	before, err := h.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	idle, err := h.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if added, gone := before.Diff(idle); len(added)+len(gone) > 0 {
		t.Errorf("an idle host changed: added %q, gone %q", added, gone)
	}
	const install = `mkdir -p /etc/kubernetes && echo x > /etc/kubernetes/f && mkdir /var/lib/kubelet && mount -t tmpfs t /var/lib/kubelet &&
		iptables -A INPUT -p tcp --dport 1234 -j ACCEPT && ip route add 100.64.0.0/24 via 10.66.0.1 && rm /etc/shells`
	if _, err := h.Exec(ctx, "sh", "-ec", install); err != nil {
		t.Fatal(err)
	}
	after, err := h.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	added, gone := before.Diff(after)
	for _, want := range []string{"file d 755 0:0 /etc/kubernetes", "mount /var/lib/kubelet tmpfs", "--dport 1234 -j ACCEPT", "route 100.64.0.0/24"} {
		if !slices.ContainsFunc(added, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("the snapshot does not show %q among %q", want, added)
		}
	}
	if !slices.ContainsFunc(gone, func(s string) bool { return strings.HasSuffix(s, " /etc/shells") }) {
		t.Errorf("the snapshot does not show that /etc/shells is gone: %q", gone)
	}
}

func checkPower(ctx context.Context, t *testing.T, b *Bed) {
	h := b.Hosts[1]
	if _, err := h.Exec(ctx, "sh", "-c", "echo kept > /etc/kept; echo kept > /var/lib/kept; echo lost > /run/lost; sleep 1000 >/dev/null 2>&1 & ip link set lo mtu 1400"); err != nil {
		t.Fatal(err)
	}
	if err := h.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exec(ctx, "true"); err == nil {
		t.Error("a host without power ran a command")
	}
	if _, err := b.Hosts[0].Exec(ctx, "ping", "-c1", "-W1", h.Addr); err == nil {
		t.Error("a host without power answers")
	}
	if err := h.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	res, err := h.Exec(ctx, "sh", "-c", "cat /etc/kept /var/lib/kept; ls /run/lost 2>/dev/null; cat /sys/class/net/lo/mtu")
	if want := "kept\nkept\n65536\n"; err != nil || res.Stdout != want {
		t.Errorf("after the power came back: %q, %v; want %q", res.Stdout, err, want)
	}
}

// checkPowerAtOnce restores the power in the moment it was cut, again and again,
// and after a boot that was cut short. Somebody holds the namespace of the host
// that is gone, as the kernel does while it takes one apart.
func checkPowerAtOnce(ctx context.Context, t *testing.T, b *Bed) {
	h := b.Hosts[0]
	for i := range 4 {
		held, err := os.Open("/run/netns/" + h.ns)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if err := h.PowerOff(ctx); err != nil {
			t.Fatalf("cut %d: %v", i+1, err)
		}
		if i == 2 {
			short, cancel := context.WithCancel(ctx)
			go func() {
				_ = poll(ctx, time.Millisecond, func() (bool, error) { return exists("/run/netns/" + h.ns), nil })
				cancel()
			}()
			if err := h.PowerOn(short); !errors.Is(err, context.Canceled) || h.Running() {
				t.Errorf("a boot that was cut short says %v, running: %v", err, h.Running())
			}
		}
		if err := h.PowerOn(ctx); err != nil {
			t.Fatalf("power restored after cut %d: %v", i+1, err)
		}
		if _, err := b.Hosts[1].Exec(ctx, "ping", "-c1", "-W2", h.Addr); err != nil {
			t.Fatalf("after cut %d it has power and does not answer: %v", i+1, err)
		}
	}
}

func checkNewDisk(ctx context.Context, t *testing.T, b *Bed) {
	h := b.Hosts[1]
	key := h.HostKey
	if err := h.NewDisk(); err == nil {
		t.Error("the disk of a running host was changed")
	}
	if _, err := h.Exec(ctx, "sh", "-c", "echo old > /etc/kept; echo old > /var/lib/kept"); err != nil {
		t.Fatal(err)
	}
	if err := h.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.NewDisk(); err != nil {
		t.Fatal(err)
	}
	if err := h.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	res, err := h.Exec(ctx, "sh", "-c", "ls /etc/kept /var/lib/kept 2>/dev/null; hostname")
	if want := h.Name + "\n"; err != nil || res.Stdout != want {
		t.Errorf("on a new disk: %q, %v; want %q", res.Stdout, err, want)
	}
	if h.HostKey == key {
		t.Error("the new machine has the host key of the old one")
	}
	checkSSH(ctx, t, b, keyAuth(t, b))
}

// traces lists what on this machine bears the name of a bed. Other beds may
// come and go meanwhile.
func traces(t *testing.T, id string) []string {
	t.Helper()
	cache, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	for _, pattern := range []string{
		"/run/netns/%s*", stateDir + "/%s*", "/sys/fs/cgroup/%s*", "/sys/fs/cgroup/*/%s*", "/run/systemd/nspawn/*/*%s*", cache + "/beds/%s*",
	} {
		m, err := filepath.Glob(fmt.Sprintf(pattern, id))
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, m...)
	}
	for _, argv := range [][]string{
		{"findmnt", "-rno", "TARGET,SOURCE,OPTIONS"},
		{"losetup", "--all", "--noheadings", "--output", "NAME,BACK-FILE"},
		{"ps", "-eo", "stat=,pid=,cgroup=,args="},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			// A zombie is its parent's to bury, and holds nothing.
			if strings.Contains(line, id) && !strings.HasPrefix(line, "Z") {
				s = append(s, argv[0]+": "+strings.TrimSpace(line))
			}
		}
	}
	return s
}
