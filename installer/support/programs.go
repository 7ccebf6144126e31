package support

import (
	"context"
	"fmt"
	"strconv"
	"strings"

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

// programs are lines of shell by the names of the files that keep what they print.
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
	{"unit-states", "systemctl status -l --no-pager -n 0 " + strings.Join(units, " ") + "; systemctl cat --no-pager " + strings.Join(units, " ")},
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
	var all []question
	for _, p := range programs {
		all = append(all, a.question("run-host", p.name, p.line))
	}
	return a.ask(ctx, "run programs", all)
}

// question asks for what a line of shell prints.
func (a *asked) question(kind, name, line string) question {
	return question{name: kind + "-" + name, file: a.path(kind, name+".txt"), info: a.path(kind, name+"-info.json"), line: line}
}

// journal prints the journal of a unit, or of the kernel, its last bytes in whole lines. A line that is not whole might be the end
// of a secret.
const journal = `{ echo; journalctl -q --no-pager -a -o short-iso --since "@%d" %s; } | tail -c %d | ` + wholeLines

// wholeLines drops the first line: it is empty, or not whole.
const wholeLines = `sed '1{/^$/d;s/.*/[older lines are left out]/}'`

func (a *asked) journals(ctx context.Context) error {
	since := max(0, a.Since.Unix())
	all := []question{a.question("journald", "kernel", has("journalctl")+fmt.Sprintf(journal, since, "-k", a.limit))}
	for _, unit := range units {
		all = append(all, a.question("journald", unit, has("journalctl")+fmt.Sprintf(journal, since, "-u "+unit, a.limit)))
	}
	return a.ask(ctx, "read journals", all)
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
