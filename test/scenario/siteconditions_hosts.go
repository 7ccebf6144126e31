package scenario

import (
	"context"
	"fmt"
	"strings"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// What is wrong, or merely uncommon, with a host. Each is done once a host is up, and stays over a boot unless said
// otherwise.

// shell runs a script on a host.
func shell(ctx context.Context, h *testbed.Host, script string) error {
	res, err := h.Exec(ctx, "bash", "-euc", script)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", h.Name, err, strings.TrimSpace(res.Stderr))
	}
	return nil
}

// withResolved gives a host the face of systemd-resolved: an active unit of that name, its stub in /etc/resolv.conf, and
// its own file with the name servers given, which may be none.
func withResolved(ctx context.Context, h *testbed.Host, stub bool, servers ...string) error {
	var list strings.Builder
	for _, s := range servers {
		list.WriteString("nameserver " + s + `\n`)
	}
	script := `cat >/etc/systemd/system/systemd-resolved.service <<'UNIT'
[Unit]
Description=stands for systemd-resolved
[Service]
ExecStartPre=/bin/mkdir -p /run/systemd/resolve
ExecStartPre=/bin/sh -c 'printf "# made by systemd-resolved\n` + list.String() + `" >/run/systemd/resolve/resolv.conf'
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet --now systemd-resolved
`
	if stub {
		script += `printf 'nameserver 127.0.0.53\noptions edns0\n' >/etc/resolv.conf` + "\n"
	}
	return shell(ctx, h, script)
}

// withNameServers writes /etc/resolv.conf.
func withNameServers(ctx context.Context, h *testbed.Host, servers ...string) error {
	return shell(ctx, h, "printf 'nameserver %s\\n' "+strings.Join(servers, " ")+" >/etc/resolv.conf")
}

// withDaemon runs something that has the name of a program; it is gone after a boot, or with withoutDaemon.
func withDaemon(ctx context.Context, h *testbed.Host, name string) error {
	return shell(ctx, h, "cp /bin/sleep /usr/local/bin/"+name+"; systemd-run --quiet --unit="+name+" /usr/local/bin/"+name+" infinity")
}

func withoutDaemon(ctx context.Context, h *testbed.Host, name string) error {
	return shell(ctx, h, "systemctl stop "+name+"; rm /usr/local/bin/"+name)
}

// withProxy makes systemd give a proxy to every service that starts from now on, until a boot.
func withProxy(ctx context.Context, h *testbed.Host, url string) error {
	return shell(ctx, h, "systemctl set-environment HTTPS_PROXY="+url+" HTTP_PROXY="+url)
}
