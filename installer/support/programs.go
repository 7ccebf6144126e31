package support

import (
	"context"
	"strconv"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/ledger"
)

// units are those of systemd whose state and journal are collected.
var units = []string{"kubelet", "containerd", "docker", "crio", "registry", care.Unit, "chrony", "chronyd", "systemd-timesyncd"}

// has begins a line whose program a host need not have.
func has(program string) string {
	return "command -v " + program + " >/dev/null || exit " + strconv.Itoa(absent) + "; "
}

// programs are lines of shell by the names of the files that keep what they print. Their arguments are the units.
var programs = []struct{ name, line string }{
	{"kernel", "uname -a; cat /proc/cmdline; uptime"},
	{"os-release", "cat /etc/os-release"},
	{"memory", "free -m; cat /proc/meminfo /proc/swaps"},
	{"pressure", "cd /proc/pressure && grep . cpu memory io"},
	{"disks", "df -lPT; df -lPi"},
	{"mounts", "cat /proc/self/mounts"},
	{"block-devices", has("lsblk") + "lsblk -a -o NAME,TYPE,SIZE,FSTYPE,MOUNTPOINT,RO,ROTA,MODEL"},
	{"time", "date -u; timedatectl 2>/dev/null; chronyc -n tracking 2>/dev/null; chronyc -n sources 2>/dev/null; true"},
	{"processes", "ps -eo pid,ppid,user,stat,rss,etime,args --sort=-rss | head -n 400"},
	{"units", "systemctl list-units --all --no-pager --no-legend --plain"},
	{"units-failed", "systemctl list-units --failed --no-pager --no-legend --plain"},
	{"unit-states", `systemctl status -l --no-pager -n 0 -- "$@"; systemctl cat --no-pager -- "$@"`},
	{"versions", `for p in kubelet containerd runc; do command -v $p && $p --version; done; command -v crictl && crictl --version
command -v kubeadm && kubeadm version -o short; command -v kubectl && kubectl version --client; [ ! -x ` + installer.StubPath + ` ] || ` + installer.StubPath + ` version; true`},
	{"ip-address", has("ip") + "ip address; ip -s link"},
	{"ip-route", has("ip") + "ip rule; ip route show table all; ip -6 route show table all"},
	{"neighbours", has("ip") + "ip neighbour"},
	{"sockets", has("ss") + "ss -Htulpn"},
	{"iptables", has("iptables-save") + "iptables-save"},
	{"nftables", has("nft") + "nft list ruleset"},
	{"ipvs", "if [ -e /proc/net/ip_vs ]; then cat /proc/net/ip_vs; fi; command -v ipvsadm >/dev/null && ipvsadm -Ln; true"},
	{"crictl-ps", has("crictl") + "crictl ps -a"},
	{"crictl-pods", has("crictl") + "crictl pods"},
	{"crictl-images", has("crictl") + "crictl images"},
	{"security", "getenforce 2>/dev/null; cat /sys/module/apparmor/parameters/enabled 2>/dev/null; systemctl is-active firewalld ufw fapolicyd; true"},
}

func (a *asked) programs(ctx context.Context) error {
	lines := map[string]string{}
	var names []string
	for _, p := range programs {
		lines[p.name], names = p.line, append(names, p.name)
	}
	return a.each(ctx, "run-host", names, func(ctx context.Context, name string) error {
		return a.output(ctx, "run-host", name, lines[name], units...)
	})
}

// unitJournal prints the journal of the unit $3 since $2, its last $1 bytes in whole lines. A line that is not whole might be the
// end of a secret.
const unitJournal = `{ echo; journalctl -q --no-pager -a -o short-iso --since "@$2" -u "$3"; } | tail -c "$1" | ` + wholeLines

// kernelJournal is the same for the kernel.
const kernelJournal = `{ echo; journalctl -q --no-pager -a -o short-iso --since "@$2" -k; } | tail -c "$1" | ` + wholeLines

// wholeLines drops the first line: it is empty, or not whole.
const wholeLines = `sed '1{/^$/d;s/.*/[older lines are left out]/}'`

func (a *asked) journals(ctx context.Context) error {
	since, most := strconv.FormatInt(max(0, a.Since.Unix()), 10), strconv.FormatInt(a.limit, 10)
	return a.each(ctx, "journald", append([]string{"kernel"}, units...), func(ctx context.Context, unit string) error {
		if unit == "kernel" {
			return a.output(ctx, "journald", unit, has("journalctl")+kernelJournal, most, since)
		}
		return a.output(ctx, "journald", unit, has("journalctl")+unitJournal, most, since, unit)
	})
}

// documentsLine sends files of at most 1 MiB as a tar: those that lie below the arguments, and no keys.
const documentsLine = `for place; do find -L "$place" -maxdepth 3 -type f -size -1024k ! -name '*.key' ! -name '*.pem' ! -name '*.crt' ! -name '*password*' -print0 2>/dev/null; done |
	tar -c -h -P --null --no-recursion --ignore-failed-read -T - -f -`

// documents are files and directories of a host that say how it is set up.
func documents(cluster string) []string {
	return []string{
		"/etc/hosts", "/etc/resolv.conf", "/etc/os-release", "/etc/fstab", "/etc/crictl.yaml", "/etc/containerd", "/etc/docker/daemon.json", "/etc/crio", "/etc/cni/net.d",
		"/etc/kubernetes/manifests", "/etc/kubernetes/resolv.conf", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env", "/var/lib/kubelet/instance-config.yaml",
		"/etc/default/kubelet", "/etc/sysconfig/kubelet", "/etc/systemd/system/kubelet.service.d", "/etc/systemd/system/containerd.service.d",
		"/etc/sysctl.conf", "/etc/sysctl.d", "/etc/modules-load.d", "/etc/chrony", "/etc/chrony.conf", "/etc/systemd/timesyncd.conf",
		care.ListFile, ledger.RecordOnMaster(cluster), installer.Dir(cluster, "journal"), installer.Dir(cluster, "etc"),
	}
}
