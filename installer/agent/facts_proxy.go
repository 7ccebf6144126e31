package agent

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// proxies gives what services of this host would get of proxies from systemd, with where it stands.
func (m machine) proxies(ctx context.Context) []Proxy {
	var out []Proxy
	add := func(where string, assignments []string) {
		for _, a := range assignments {
			name, value, _ := strings.Cut(a, "=")
			if !unwanted(name) || value == "" || strings.HasSuffix(strings.ToLower(name), "env") {
				continue
			}
			if strings.ToLower(name) != "no_proxy" {
				value = withoutLogin(value)
			}
			out = append(out, Proxy{Where: where, Name: name, Value: value})
		}
	}
	for _, file := range m.confFiles("/system.conf", "/system.conf.d/*.conf") {
		add(file, unitSettings(m.lines(file), "DefaultEnvironment"))
	}
	if m.root == "" {
		add("systemctl show-environment", strings.Split(string(askTool(ctx, "systemctl", "show-environment")), "\n"))
	}
	for _, file := range m.confFiles("/system/service.d/*.conf", "/system/containerd.service.d/*.conf", "/system/kubelet.service.d/*.conf") {
		add(file, unitSettings(m.lines(file), "Environment"))
		for _, other := range unitSettings(m.lines(file), "EnvironmentFile") {
			other = strings.TrimPrefix(other, "-")
			for _, l := range m.lines(other) {
				add(other, words(l))
			}
		}
	}
	return out
}

// confFiles lists configuration of systemd, of all its directories.
func (m machine) confFiles(patterns ...string) []string {
	var out []string
	for _, dir := range []string{"/usr/lib/systemd", "/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd"} {
		if dir == "/lib/systemd" {
			if real, err := filepath.EvalSymlinks(m.path("/lib")); err == nil && real != m.path("/lib") {
				continue // the same as the one before
			}
		}
		for _, p := range patterns {
			out = append(out, m.glob(dir+p)...)
		}
	}
	return out
}

// unitSettings gives the words of a setting of systemd. An empty one takes back those before.
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

// NoProxies are the lists that say what is reached without a proxy.
func (f Facts) NoProxies() []string {
	var out []string
	for _, p := range f.Proxies {
		if strings.EqualFold(p.Name, "no_proxy") {
			for _, entry := range strings.FieldsFunc(p.Value, func(c rune) bool { return c == ',' || c == ' ' }) {
				if !slices.Contains(out, entry) {
					out = append(out, entry)
				}
			}
		}
	}
	return out
}
