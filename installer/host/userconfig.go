package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kevinburke/ssh_config"
)

// maxUserConfig bounds a file in the form of ssh_config, in bytes.
const maxUserConfig = 1 << 20

// maxHops bounds a chain of jump hosts, each of which may name another.
const maxHops = 8

// UserConfig is what an operator wrote for ssh, in the form of ~/.ssh/config. nil holds nothing.
type UserConfig struct{ config *ssh_config.Config }

// Settings is what a UserConfig says about one host. Empty fields: nothing.
type Settings struct {
	HostName string // to dial in place of the name
	User     string
	Port     int
	KeyFiles []string
	Jump     string // as ParseJump reads it
}

// ReadUserConfig reads a file; one that does not exist holds nothing.
func ReadUserConfig(file string) (*UserConfig, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxUserConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxUserConfig {
		return nil, fmt.Errorf("%s: larger than %d bytes", file, maxUserConfig)
	}
	config, err := ssh_config.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &UserConfig{config}, nil
}

// For gives what is said about a host. Host and Match are compared with the name as it is given here.
func (u *UserConfig) For(name string) (Settings, error) {
	if u == nil {
		return Settings{}, nil
	}
	get := func(key string) string {
		value, _ := u.config.Get(name, key)
		return value
	}
	s := Settings{User: get("User"), Jump: get("ProxyJump")}
	if s.Jump == "none" {
		s.Jump = ""
	}
	s.HostName = strings.ReplaceAll(get("HostName"), "%h", name)
	if text := get("Port"); text != "" {
		var err error
		if s.Port, err = parsePort(text); err != nil {
			return Settings{}, fmt.Errorf("ssh configuration for %s: %w", name, err)
		}
	}
	files, err := u.config.GetAll(name, "IdentityFile")
	if err != nil {
		return Settings{}, fmt.Errorf("ssh configuration for %s: %w", name, err)
	}
	for _, f := range files {
		if f = expand(f, name, s); f != "" && f != "none" {
			s.KeyFiles = append(s.KeyFiles, f)
		}
	}
	return s, nil
}

// expand does for a path what ssh does: the home directory, and the tokens that are known here.
func expand(path, name string, s Settings) string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		path = filepath.Join(home, rest)
	}
	hostName := s.HostName
	if hostName == "" {
		hostName = name
	}
	return strings.NewReplacer("%%", "%", "%d", home, "%h", hostName, "%n", name, "%r", s.User, "%u", os.Getenv("USER")).Replace(path)
}

// Jumps makes the chain of jump hosts that text names, through what the configuration says about each. What it does not
// say, and the keys and passwords, are those of like. nil means that there is no jump. close has all of them to close.
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
		said, err := u.For(hop.Host)
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
		if c.User == "" {
			c.User = like.User
		}
		via = NewJump(c)
		all = append(all, via)
	}
	return via, all, nil
}

// fill completes what is empty, and puts the keys named for the host before the others.
func (s Settings) fill(c *SSHConfig) {
	if s.HostName != "" {
		c.Address = s.HostName
	}
	if c.User == "" {
		c.User = s.User
	}
	if c.Port == 0 {
		c.Port = s.Port
	}
	c.KeyFiles = append(append([]string(nil), s.KeyFiles...), c.KeyFiles...)
}

func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port", text)
	}
	return int(n), nil
}
