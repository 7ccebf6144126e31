package installer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"text/template"

	"github.com/BurntSushi/toml"
	"github.com/Masterminds/sprig/v3"
	"go.yaml.in/yaml/v3"
)

type fsMode = fs.FileMode

// RenderTemplate renders a *.tmpl file of a cluster image. Data: every key of
// env at top level, the same as .Env, and .Values. A key that env lacks is an
// error that names file, line and key, since "<no value>" in a configuration
// file is found out at the worst time.
func RenderTemplate(name string, content []byte, env map[string]string) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(templateFuncs()).Parse(string(content))
	if err != nil {
		return nil, fmt.Errorf("parse template: %w", err)
	}
	data := map[string]any{"Env": env, "Values": map[string]any{}}
	for k, v := range env {
		data[k] = v
	}
	var buf bytes.Buffer
	if err := t.Execute(&buf, data); err != nil {
		return nil, fmt.Errorf("render template: %w (set it with -e KEY=VALUE or in spec.env)", err)
	}
	return buf.Bytes(), nil
}

func templateFuncs() template.FuncMap {
	f := sprig.TxtFuncMap()
	// These read the environment of the installer, not of the host.
	delete(f, "env")
	delete(f, "expandenv")
	f["toYaml"] = func(v any) (string, error) {
		out, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(out), "\n"), err
	}
	f["fromYaml"] = func(s string) (map[string]any, error) {
		m := map[string]any{}
		return m, yaml.Unmarshal([]byte(s), &m)
	}
	f["toToml"] = func(v any) (string, error) {
		var buf bytes.Buffer
		err := toml.NewEncoder(&buf).Encode(v)
		return buf.String(), err
	}
	f["ipNet"] = func(ip, cidr string) (bool, error) {
		a, err := netip.ParseAddr(ip)
		if err != nil {
			return false, err
		}
		p, err := netip.ParsePrefix(cidr)
		return p.Contains(a), err
	}
	f["ipAt"] = func(cidr string, n int) (string, error) {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return "", err
		}
		return addrAt(p, n)
	}
	return f
}

// addrAt is the n-th address of an IPv4 prefix, counted from its network address.
func addrAt(p netip.Prefix, n int) (string, error) {
	if !p.Addr().Is4() || n < 0 {
		return "", fmt.Errorf("ipAt %s %d: expected an IPv4 prefix and a number from 0", p, n)
	}
	b := p.Masked().Addr().As4()
	sum := uint64(binary.BigEndian.Uint32(b[:])) + uint64(n)
	if sum > 0xffffffff {
		return "", fmt.Errorf("ipAt %s %d: beyond the address space", p, n)
	}
	binary.BigEndian.PutUint32(b[:], uint32(sum))
	a := netip.AddrFrom4(b)
	if !p.Contains(a) {
		return "", fmt.Errorf("ipAt %s %d: beyond the prefix", p, n)
	}
	return a.String(), nil
}

// basicAuth is the form in which registry credentials stand in a header.
func basicAuth(env map[string]string) []byte {
	return []byte(base64.StdEncoding.EncodeToString([]byte(env["registryUsername"] + ":" + env["registryPassword"])))
}
