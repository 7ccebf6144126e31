package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
)

// maxSecret is the longest secret taken, in bytes: as docker has it.
const maxSecret = 500 << 10

// secretSource is where a secret comes from: a file or a variable.
type secretSource struct{ id, file, env string }

// parseSecret reads id=ID with src=FILE or env=NAME, as docker and buildah do: without both it is the variable ID if there is one,
// else the file ID.
func parseSecret(text string) (secretSource, error) {
	var s secretSource
	kind := ""
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(field, "=")
		if !ok || value == "" {
			return s, usagef("--secret: %s without a value: expected id=ID,src=FILE or id=ID,env=NAME", key)
		}
		switch key {
		case "id":
			s.id = value
		case "src", "source", "file":
			s.file = value
		case "env":
			s.env = value
		case "type":
			kind = value
		default:
			return s, usagef("--secret: unknown %s: expected id=ID,src=FILE or id=ID,env=NAME", key)
		}
	}
	switch {
	case s.id == "":
		return s, usagef("--secret: no id: expected id=ID,src=FILE or id=ID,env=NAME")
	case kind != "" && kind != "file" && kind != "env":
		return s, usagef("--secret id=%s: type %s: expected file or env", s.id, kind)
	case s.file != "" && s.env != "":
		return s, usagef("--secret id=%s: src and env together: expected one of them", s.id)
	case kind == "env":
		s.env, s.file = cmp.Or(s.env, s.file, s.id), ""
	case s.file == "" && s.env == "":
		s.file = s.id
		if _, ok := os.LookupEnv(s.id); ok && kind == "" {
			s.file, s.env = "", s.id
		}
	}
	return s, nil
}

// readSecrets reads each secret once: it may come by a pipe.
func readSecrets(given []string) ([]build.Secret, error) {
	var all []build.Secret
	for _, text := range given {
		s, err := parseSecret(text)
		if err != nil {
			return nil, err
		}
		data, err := s.read()
		if err != nil {
			return nil, fmt.Errorf("--secret id=%s: %w", s.id, err)
		}
		all = append(all, build.Secret{ID: s.id, Data: data})
	}
	return all, nil
}

func (s secretSource) read() ([]byte, error) {
	if s.env != "" {
		value, ok := os.LookupEnv(s.env)
		if !ok {
			return nil, fmt.Errorf("the variable %s is not set", s.env)
		}
		return []byte(value), nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = fmt.Errorf("%s holds more than 500 KiB", s.file)
	}
	return data, err
}

// sshSources checks what --ssh names, early.
func sshSources(given []string) ([]string, error) {
	for _, text := range given {
		id, paths, ok := strings.Cut(text, "=")
		switch {
		case id == "" || ok && paths == "":
			return nil, usagef("--ssh %q: expected default, ID=SOCKET or ID=KEYFILE", text)
		case !ok && os.Getenv("SSH_AUTH_SOCK") == "":
			return nil, fmt.Errorf("--ssh %s: no agent runs: SSH_AUTH_SOCK is not set (start one, or name a key: --ssh %s=KEYFILE)", id, id)
		}
		for path := range strings.SplitSeq(paths, ",") {
			if _, err := os.Stat(path); ok && err != nil {
				return nil, fmt.Errorf("--ssh %s: %w", id, err)
			}
		}
	}
	return given, nil
}
