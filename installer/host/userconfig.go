package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kevinburke/ssh_config"
)

// maxUserConfig bounds an ssh_config file, in bytes.
const maxUserConfig = 1 << 20

// maxHops bounds a chain of jump hosts, each of which may name another.
const maxHops = 8

// UserConfig is what an operator has configured for ssh, in the form of ~/.ssh/config. nil is an empty one.
type UserConfig struct {
	lines []configLine

	mu       sync.Mutex
	told     map[string]bool // places that have a warning
	warnings []string
}

// Settings is what a UserConfig says about one host. It leaves fields empty that it says nothing about.
type Settings struct {
	HostName  string // to dial in place of the name
	User      string
	Port      int
	KeyFiles  []string
	CertFiles []string
	Jump      string // as ParseJump reads it
}

// ReadUserConfig reads a file and those it includes; one that does not exist holds nothing.
func ReadUserConfig(file string) (*UserConfig, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/" // then relative names are below /.ssh, which does not exist
	}
	lines, err := (&configReader{home: home}).read(file, 0)
	if err != nil {
		return nil, err
	}
	return &UserConfig{lines: lines, told: map[string]bool{}}, nil
}

// Warnings gives the warnings that were not given before: settings of the configuration that are not followed.
func (u *UserConfig) Warnings() []string {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	warnings := u.warnings
	u.warnings = nil
	return warnings
}

func (u *UserConfig) warn(l configLine, format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.told[l.place()] {
		u.told[l.place()] = true
		u.warnings = append(u.warnings, l.place()+": "+fmt.Sprintf(format, args...))
	}
}

// For gives what is said about a host. user is who logs in; empty means that the configuration decides. Host lines are compared
// with the name as it is given here, Match lines with the settings so far, as ssh does.
func (u *UserConfig) For(name, user string) (Settings, error) {
	if u == nil {
		return Settings{}, nil
	}
	said, err := u.say(name, "")
	if err != nil || user == "" || (&selection{}).login(said.User) == user {
		return said, err
	}
	return u.say(name, user)
}

func (u *UserConfig) say(name, user string) (Settings, error) {
	s := &selection{name: name, user: user, skipped: func(l configLine, why string) {
		u.warn(l, "this Match is skipped, and what it says is not followed: it %s", why)
	}}
	if err := s.walk(u.lines, true); err != nil {
		return Settings{}, err
	}
	if i := slices.IndexFunc(s.lines, func(l configLine) bool { return l.keyword == "proxycommand" || l.keyword == "proxyjump" }); i >= 0 {
		l := s.lines[i]
		if _, value := cutKeyword(l.text); l.keyword == "proxycommand" && !strings.HasPrefix(value, "none") {
			u.warn(l, "ProxyCommand is not followed: the host is reached without it, or with ProxyJump")
		}
	}
	return s.settings()
}

// settings reads the lines that are selected so far. They are outside of blocks now; the first line of a kind counts.
func (s *selection) settings() (Settings, error) {
	var text strings.Builder
	for _, l := range s.lines {
		if l.keyword != "proxycommand" {
			text.WriteString(l.text + "\n")
		}
	}
	config, err := ssh_config.Decode(strings.NewReader(text.String()))
	if err != nil {
		return Settings{}, s.blame(err)
	}
	get := func(key string) string {
		value, _ := config.Get(s.name, key)
		return value
	}
	out := Settings{User: get("User"), Jump: get("ProxyJump")}
	if out.Jump == "none" {
		out.Jump = ""
	}
	out.HostName = strings.NewReplacer("%%", "%", "%h", s.name).Replace(get("HostName"))
	if text := get("Port"); text != "" {
		if out.Port, err = parsePort(text); err != nil {
			return Settings{}, s.blame(err)
		}
	}
	for key, files := range map[string]*[]string{"IdentityFile": &out.KeyFiles, "CertificateFile": &out.CertFiles} {
		names, err := config.GetAll(s.name, key)
		if err != nil {
			return Settings{}, s.blame(err)
		}
		for _, f := range names {
			if f = s.expand(f, out); f != "" && f != "none" && !slices.Contains(*files, f) {
				*files = append(*files, f)
			}
		}
	}
	return out, nil
}

func (s *selection) blame(err error) error {
	return fmt.Errorf("ssh configuration for %s: %w", s.name, err)
}

// expand replaces in a path, as ssh does, ~, variables and tokens (those that are known here).
func (s *selection) expand(path string, said Settings) string {
	home, _ := os.UserHomeDir() // empty if there is none
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		path = filepath.Join(home, rest)
	}
	hostName, port := cmp.Or(said.HostName, s.name), cmp.Or(said.Port, defaultPort)
	return expandEnv(strings.NewReplacer(
		"%%", "%", "%d", home, "%h", hostName, "%n", s.name, "%r", s.login(said.User), "%u", os.Getenv("USER"), "%p", strconv.Itoa(port), "%i", strconv.Itoa(os.Getuid()),
	).Replace(path))
}

// Jumps makes the chain of jump hosts that text names, with the settings of each in the configuration. Other settings, keys and
// passwords are those of like. via is the last host of the chain, nil if there is none; the caller closes all of them.
func (u *UserConfig) Jumps(text string, like SSHConfig) (via *Jump, all []*Jump, err error) {
	return u.jumps(text, like, maxHops)
}

func (u *UserConfig) jumps(text string, like SSHConfig, left int) (via *Jump, all []*Jump, err error) {
	hops, err := ParseJump(text)
	if err != nil {
		return nil, nil, err
	}
	for i, hop := range hops {
		if left--; left < 0 {
			return nil, nil, fmt.Errorf("jump host %s: more than %d of them, or in a circle", hop.Host, maxHops)
		}
		said, err := u.For(hop.Host, hop.User)
		if err != nil {
			return nil, nil, err
		}
		if i == 0 && said.Jump != "" {
			if via, all, err = u.jumps(said.Jump, like, left); err != nil {
				return nil, nil, err
			}
		}
		c := like
		c.Name, c.Address, c.Via = hop.Host, hop.Host, via
		c.User, c.Port = hop.User, hop.Port
		said.fill(&c)
		c.User = cmp.Or(c.User, like.User)
		via = NewJump(c)
		all = append(all, via)
	}
	return via, all, nil
}

// fill completes empty fields of c, and puts the keys that are named for the host before the others.
func (s Settings) fill(c *SSHConfig) {
	c.Address, c.User, c.Port = cmp.Or(s.HostName, c.Address), cmp.Or(c.User, s.User), cmp.Or(c.Port, s.Port)
	c.KeyFiles = slices.Concat(s.KeyFiles, c.KeyFiles)
	c.CertFiles = slices.Concat(s.CertFiles, c.CertFiles)
}

func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port", text)
	}
	return int(n), nil
}
