package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

const (
	hostsPath = "/etc/hosts"
	maxHosts  = 8 << 20 // bytes; block lists reach some hundreds of thousands of lines
)

type hostsRequest struct {
	Entries []HostsEntry `json:"entries"`
}

type hostsResult struct {
	Changed bool `json:"changed"`
}

// setHosts makes our lines in the hosts file those of the request.
func (m machine) setHosts(_ context.Context, q hostsRequest, _ *answers) (any, error) {
	for _, e := range q.Entries {
		if err := e.check(); err != nil {
			return nil, err
		}
	}
	name := m.path(hostsPath)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if len(q.Entries) == 0 {
		durable.Sweep(filepath.Dir(name), tempPrefix+filepath.Base(name)+".") // nobody writes it again
	}
	text, err := readRegular(name, maxHosts)
	if errors.Is(err, fs.ErrNotExist) {
		text = nil
	} else if err != nil {
		return nil, fmt.Errorf("edit hosts file: %w", err)
	}
	after := editHosts(string(text), q.Entries)
	if after == string(text) {
		return hostsResult{}, nil
	}
	if err := m.replaceHosts(name, []byte(after)); err != nil {
		return nil, fmt.Errorf("edit hosts file: %w", err)
	}
	return hostsResult{Changed: true}, nil
}

func (m machine) replaceHosts(name string, text []byte) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeParents(name); err != nil {
			return err
		}
		return m.replace(hostsPath, name, defaultMode, text, nil)
	}
	if err != nil {
		return err
	}
	err = m.replace(hostsPath, name, info.Mode(), text, info)
	// A container's hosts file is a mount of its own, which no rename can replace. It is written in
	// place: a crash in that moment can leave it cut, which an atomic change is not possible to avoid there.
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return writeInPlace(name, text)
	}
	return err
}

// writeInPlace writes before it cuts, so that a longer text never leaves the file empty.
func writeInPlace(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(len(text))), f.Sync(), f.Close())
}
