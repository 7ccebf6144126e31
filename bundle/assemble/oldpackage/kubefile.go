package oldpackage

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/cluster-images/kubernetes"
)

//go:embed files/*.sh
var files embed.FS

// ofTheImage are the scripts and templates of the kubernetes image that a package needs beside its own.
var ofTheImage = [...]string{
	"scripts/check.sh", "scripts/clean-cri.sh", "scripts/clean-registry.sh", "scripts/clean.sh", "scripts/host.sh", "scripts/images.sh",
	"scripts/init-registry.sh", "scripts/leftovers.sh", "scripts/lib.sh",
	"etc/10-kubeadm.conf.tmpl", "etc/crictl.yaml.tmpl", "etc/hosts.toml.tmpl", "etc/kubelet.service.tmpl", "etc/registry.service.tmpl",
	"etc/registry_config.yml.tmpl", "etc/sysctl.d/60-sealos-kubernetes.conf", "etc/sysctl.d/99-zz-sealos-kubernetes.conf",
}

// settings are the image's environment, as the kubernetes image has it.
func (p *reader) settings() [][2]string {
	firewall, driver := "ask", "systemd"
	if slices.ContainsFunc(p.scripts, func(s script) bool { return s.name == initScript && strings.Contains(s.text, "firewalld") }) {
		firewall = "stop" // it does so itself; this way the firewall comes back with a reset
	}
	if p.cgroupDriver != "" {
		driver = p.cgroupDriver
	}
	return [][2]string{
		{"BIN_DIR", "/usr/bin"},
		{"criData", "/var/lib/containerd"},
		{"registryData", "/var/lib/registry"},
		{"registryConfig", "/etc/registry"},
		{"registryDomain", "sealos.hub"},
		{"registryPort", "5000"},
		{"registryUsername", "admin"},
		{"registryPassword", "passw0rd"},
		{"cgroupDriver", driver},
		{"disableApparmor", "false"},
		{"restrictOOMScoreAdj", "false"},
		{"sandboxImage", ""},
		{"SEALOS_SYS_CRI_ENDPOINT", "/var/run/containerd/containerd.sock"},
		{"SEALOS_SYS_IMAGE_ENDPOINT", "/var/run/containerd/containerd.sock"},
		{"defaultVIP", "10.103.97.2"},
		{"swapMode", "off"},
		{"firewallMode", firewall},
		{"imagePullTimeout", "900"},
	}
}

// kubefile is the text of the Kubefile.
func (p *reader) kubefile() []byte {
	var b strings.Builder
	b.WriteString("# Made by sealbuild of an offline package of the older kind. Its own scripts run in shell/, between two that note what\n" +
		"# they put on a host and lead containerd to the registries of the cluster; the rest is of the kubernetes image.\nFROM scratch\n\n")
	run := "bash init.sh"
	if before := p.before(); before != "" {
		run = "bash " + base(before) + " && " + run
	}
	b.WriteString("LABEL sealos.io.type=\"rootfs\" \\\n      sealos.io.version=\"v1beta2\" \\\n")
	if p.version != "" {
		fmt.Fprintf(&b, "      version=%s \\\n", quote(p.version))
	}
	fmt.Fprintf(&b, "      vip=\"\\$defaultVIP\" \\\n      check=\"check.sh\" \\\n      init-registry=\"init-registry.sh\" \\\n"+
		"      init=%s \\\n      clean=\"clean.sh\" \\\n      clean-cri=\"clean-cri.sh\" \\\n      clean-registry=\"clean-registry.sh\"\n\n",
		quote("old-before.sh && cd ../shell && "+run+" && cd ../scripts && bash old-after.sh"))
	for _, s := range p.settings() {
		fmt.Fprintf(&b, "ENV %s=%s\n", s[0], quote(s[1]))
	}
	b.WriteString("\n")
	slices.Sort(p.copied)
	for _, name := range p.copied {
		array, _ := json.Marshal([]string{name, name + "/"})
		if info, err := os.Stat(p.path(name)); err == nil && !info.IsDir() {
			array, _ = json.Marshal([]string{name, name})
		}
		fmt.Fprintf(&b, "COPY %s\n", array)
	}
	for _, s := range p.scripts {
		if len(s.quiet) > 0 {
			b.WriteString(document(s.name, s.changed()))
		}
	}
	parts := map[string][]file{}
	for _, name := range ofTheImage {
		text, _ := fs.ReadFile(kubernetes.Files, name) // a test reads them all
		parts[path.Dir(name)] = append(parts[path.Dir(name)], file{base(name), string(text)})
	}
	own, _ := fs.Glob(files, "files/*.sh")
	for _, name := range own {
		text, _ := fs.ReadFile(files, name)
		parts["scripts"] = append(parts["scripts"], file{base(name), string(text)})
	}
	parts["etc"] = append(parts["etc"], file{"old-package-files", lines(p.onHosts())}, file{"old-package-images", lines(p.images)})
	for _, dir := range slices.Sorted(maps.Keys(parts)) {
		b.WriteString(documents(dir, parts[dir]))
	}
	if p.config != "" {
		b.WriteString(document("etc/kubeadm.yml", p.config))
	}
	return []byte(b.String())
}

// document writes a file of the image as a here-document, whatever is in it.
func document(name, text string) string {
	end := "END_OF_FILE"
	for strings.Contains(text, end) {
		end += "_"
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return fmt.Sprintf("COPY --chmod=%s <<\"%s\" /%s\n%s%s\n", mode(name), end, name, text, end)
}

// file is one that a Kubefile writes.
type file struct{ name, text string }

// documents writes files of one kind as here-documents of one instruction. Each ends with its own name, which no file may have as a
// line.
func documents(dir string, all []file) string {
	var names, texts strings.Builder
	for _, f := range all {
		fmt.Fprintf(&names, " <<%q", f.name)
		fmt.Fprintf(&texts, "%s%s\n", f.text, f.name)
	}
	return fmt.Sprintf("COPY --chmod=%s%s /%s/\n%s", mode(all[0].name), names.String(), dir, texts.String())
}

func mode(name string) string {
	if strings.HasSuffix(name, ".sh") {
		return "0755"
	}
	return "0644"
}

func lines(all []string) string { return strings.Join(all, "\n") + "\n" }

// quote writes a value of a LABEL or ENV.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}
