package testbed

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestHostsAreAsConfigured(t *testing.T) {
	needMachine(t)
	ctx := testContext(t)
	shown := t.TempDir()
	if err := os.WriteFile(filepath.Join(shown, "f"), []byte("shown\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const disk = 256 << 20
	b, err := Start(ctx, Config{Log: t.Output(), Hosts: []HostConfig{
		{Name: "small", Resolver: NoDNS, NoDefaultRoute: true, DiskBytes: disk, Binds: []Bind{{shown, "/mnt/shown", true}}},
		{Name: "deaf", Resolver: SilentDNS},
		{Name: "plain"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	output := func(h *Host, script string) string {
		t.Helper()
		res, err := h.Exec(ctx, "sh", "-c", script)
		if err != nil {
			t.Errorf("%v", err)
		}
		return strings.TrimSpace(res.Stdout)
	}
	small, deaf, plain := b.Host("small"), b.Host(b.Hosts[1].Addr), b.Host("3")

	if got := output(small, "cat /etc/resolv.conf; ip route show default; cat /mnt/shown/f; touch /mnt/shown/g 2>/dev/null && echo writable; hostname"); got != "shown\nsmall" {
		t.Errorf("a host without nameserver and default route, and with a read-only bind, shows %q", got)
	}
	size, err := strconv.Atoi(output(small, "df --output=size -B1 /var/lib | tail -n 1"))
	if err != nil || size > disk || size < disk/2 {
		t.Errorf("a disk of %d bytes has %d (%v)", disk, size, err)
	}
	if res, err := small.Exec(ctx, "dd", "if=/dev/zero", "of=/var/lib/fill", "bs=1M", "count=400"); err == nil || !strings.Contains(res.Stderr, "No space left") {
		t.Errorf("a full disk says %q, %v", res.Stderr, err)
	}
	output(small, "rm /var/lib/fill; echo kept > /var/lib/kept")
	if err := small.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	if err := small.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	if got := output(small, "cat /var/lib/kept"); got != "kept" {
		t.Errorf("the small disk holds %q after a power cut", got)
	}

	// A resolver goes on at once when it is told that nobody listens, and waits for five seconds when it is told nothing.
	const ask = `exec 3<>"/dev/udp/$(sed -n 's/^nameserver //p' /etc/resolv.conf)/53"; echo query >&3; read -r -t PATIENCE -u 3; echo "ended with $?"`
	answer := func(h *Host, patience string) string {
		t.Helper()
		res, err := h.Exec(ctx, "bash", "-c", strings.Replace(ask, "PATIENCE", patience, 1))
		if err != nil {
			t.Error(err)
		}
		return res.Stdout + res.Stderr
	}
	if got := answer(plain, "120"); !strings.Contains(got, "Connection refused") {
		t.Errorf("a nameserver that refuses answered a query with %q", got)
	}
	if got := answer(deaf, "1"); got != "ended with 142\n" { // bash's word for: nothing came
		t.Errorf("a nameserver that never answers answered a query with %q", got)
	}

	if err := plain.Unplug(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.Exec(ctx, "ping", "-c1", "-W1", plain.Addr); err == nil {
		t.Error("an unplugged host answers")
	}
	if err := plain.Plug(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.Exec(ctx, "sh", "-c", "for i in 1 2 3 4 5 6; do ping -c1 -W1 "+plain.Addr+" && exit; done; exit 1"); err != nil {
		t.Errorf("a host that was plugged in again: %v", err)
	}
}
