package facts

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/programs"
)

// proxies gives the proxy variables that services of this host get from systemd, and where each is set.
func (m machine) proxies(ctx context.Context) []agent.Proxy {
	var out []agent.Proxy
	add := func(where string, assignments []string) {
		for _, a := range assignments {
			name, value, _ := strings.Cut(a, "=")
			if !programs.Unwanted(name) || value == "" || strings.HasSuffix(strings.ToLower(name), "env") {
				continue
			}
			if strings.ToLower(name) != "no_proxy" {
				value = withoutLogin(value)
			}
			out = append(out, agent.Proxy{Where: where, Name: name, Value: value})
		}
	}
	for _, file := range m.confFiles("/system.conf", "/system.conf.d/*.conf") {
		add(file, unitSettings(m.Lines(file), "DefaultEnvironment"))
	}
	manager, _ := m.ask(ctx, toolPatience, "systemctl", "show-environment")
	add("systemctl show-environment", strings.Split(string(manager), "\n"))
	for _, file := range m.confFiles("/system/service.d/*.conf", "/system/containerd.service.d/*.conf", "/system/kubelet.service.d/*.conf") {
		add(file, unitSettings(m.Lines(file), "Environment"))
		for _, other := range unitSettings(m.Lines(file), "EnvironmentFile") {
			other = strings.TrimPrefix(other, "-")
			for _, l := range m.Lines(other) {
				add(other, words(l))
			}
		}
	}
	return out
}

// confFiles lists files below all directories of systemd's configuration.
func (m machine) confFiles(patterns ...string) []string {
	var out []string
	for _, dir := range []string{"/usr/lib/systemd", "/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd"} {
		if dir == "/lib/systemd" {
			if real, err := filepath.EvalSymlinks(m.Path("/lib")); err == nil && real != m.Path("/lib") {
				continue // the same as the one before
			}
		}
		for _, p := range patterns {
			out = append(out, m.Glob(dir+p)...)
		}
	}
	return out
}

// unitSettings gives the words of a setting in a file of systemd. An empty setting drops those before it.
func unitSettings(lines []string, name string) []string {
	var out []string
	joined := ""
	for _, l := range lines {
		l = strings.TrimSpace(joined + l)
		if begun, more := strings.CutSuffix(l, `\`); more {
			joined = begun + " "
			continue
		}
		joined = ""
		key, value, ok := strings.Cut(l, "=")
		switch {
		case !ok || strings.HasPrefix(l, "#") || strings.TrimSpace(key) != name:
		case strings.TrimSpace(value) == "":
			out = nil
		default:
			out = append(out, words(value)...)
		}
	}
	return out
}

// words splits as systemd does: at blanks, but not between quotes.
func words(text string) []string {
	var out []string
	var word strings.Builder
	var quote rune
	inside := false
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inside = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inside {
				out = append(out, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(c)
			inside = true
		}
	}
	if inside {
		out = append(out, word.String())
	}
	return out
}

// withoutLogin takes user and password out of a proxy's URL.
func withoutLogin(proxy string) string {
	if u, err := url.Parse(proxy); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	if i := strings.LastIndex(proxy, "@"); i >= 0 {
		return proxy[i+1:]
	}
	return proxy
}
