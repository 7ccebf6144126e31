package support

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// systemLine prints what the files below host-collectors/system are made of, each behind a line ::NAME.
const systemLine = `s() { echo; echo "::$1"; }
s os; uname -n; uname -r; (. /etc/os-release; echo "$ID"; echo "$VERSION_ID"; echo "${ID_LIKE:-$ID}")
s cpu; nproc --all; uname -m; grep -m1 '^flags' /proc/cpuinfo || echo; grep -h '^core id' /proc/cpuinfo | sort -u | grep -c . || true
s memory; grep -m1 '^MemTotal' /proc/meminfo
s time; timedatectl show 2>/dev/null
s services; systemctl list-units --type=service --no-legend --all --plain --no-pager 2>/dev/null
s modules; cat /proc/modules
s blocks; lsblk -a -b -P -o NAME,KNAME,PKNAME,TYPE,MAJ:MIN,SIZE,FSTYPE,MOUNTPOINT,SERIAL,RO,RM 2>/dev/null
s sysctl; sysctl -a 2>/dev/null
true`

// system keeps, in the form of troubleshoot.sh's host collectors, what its analyzers read.
func (a *asked) system(ctx context.Context) error {
	var out bytes.Buffer
	if _, _, err := run(ctx, a.t.Link, "look at the system", systemLine, &limited{to: &out, left: mostOfAFile}); err != nil {
		return err
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq("\n"+out.String(), "\n::") {
		name, text, _ := strings.Cut(part, "\n")
		parts[name] = text
	}
	var errs []error
	for _, f := range []struct {
		name, of string
		made     func(string) any
	}{
		{"hostos_info", "os", osInfo},
		{"cpu", "cpu", cpuInfo},
		{"memory", "memory", memoryInfo},
		{"time", "time", timeInfo},
		{"systemctl_services", "services", services},
		{"kernel_modules", "modules", modules},
		{"block_devices", "blocks", blockDevices},
		{"sysctl", "sysctl", sysctls},
	} {
		errs = append(errs, a.p.json(a.path("system", f.name+".json"), f.made(parts[f.of])))
	}
	return errors.Join(errs...)
}

// line is the n-th line of a text.
func line(text string, n int) string {
	lines := strings.Split(text, "\n")
	if n >= len(lines) {
		return ""
	}
	return strings.TrimSpace(lines[n])
}

func number(text string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64) // 0: the host has not told
	return n
}

func osInfo(text string) any {
	return map[string]any{
		"name": line(text, 0), "kernelVersion": line(text, 1), "platform": line(text, 2), "platformVersion": line(text, 3), "platformFamily": line(text, 4),
	}
}

func cpuInfo(text string) any {
	_, flags, _ := strings.Cut(line(text, 2), ":")
	return map[string]any{
		"logicalCount": number(line(text, 0)), "physicalCount": number(line(text, 3)), "machineArch": line(text, 1), "flags": orEmpty(strings.Fields(flags)),
	}
}

func memoryInfo(text string) any {
	words := strings.Fields(text)
	if len(words) < 2 {
		return map[string]any{"total": 0}
	}
	return map[string]any{"total": number(words[1]) << 10}
}

func timeInfo(text string) any {
	said := map[string]string{}
	for l := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		said[name] = value
	}
	return map[string]any{"timezone": strings.ToUpper(said["Timezone"]), "ntp_synchronized": said["NTPSynchronized"] == "yes", "ntp_active": said["NTP"] == "yes"}
}

func services(text string) any {
	out := []any{}
	for l := range strings.Lines(text) {
		if w := strings.Fields(strings.TrimLeft(l, " ●*")); len(w) >= 4 {
			out = append(out, map[string]any{"Unit": w[0], "Load": w[1], "Active": w[2], "Sub": w[3]})
		}
	}
	return out
}

func modules(text string) any {
	out := map[string]any{}
	for l := range strings.Lines(text) {
		if w := strings.Fields(l); len(w) >= 3 {
			out[w[0]] = map[string]any{"size": number(w[1]), "instances": number(w[2]), "status": "loaded"}
		}
	}
	return out
}

// pair is NAME="value" of lsblk -P.
var pair = regexp.MustCompile(`([A-Z:_%-]+)="([^"]*)"`)

func blockDevices(text string) any {
	out := []any{}
	for l := range strings.Lines(text) {
		v := map[string]string{}
		for _, m := range pair.FindAllStringSubmatch(l, -1) {
			v[strings.ReplaceAll(m[1], "_", ":")] = m[2]
		}
		if v["NAME"] == "" {
			continue
		}
		major, minor, _ := strings.Cut(v["MAJ:MIN"], ":")
		out = append(out, map[string]any{
			"name": v["NAME"], "kernel_name": v["KNAME"], "parent_kernel_name": v["PKNAME"], "type": v["TYPE"], "major": number(major), "minor": number(minor),
			"size": number(v["SIZE"]), "filesystem_type": v["FSTYPE"], "mountpoint": v["MOUNTPOINT"], "serial": v["SERIAL"], "read_only": v["RO"] == "1", "removable": v["RM"] == "1",
		})
	}
	return out
}

func sysctls(text string) any {
	out := map[string]any{}
	for l := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(l, "\n"), " = "); ok {
			out[name] = value
		}
	}
	return out
}
