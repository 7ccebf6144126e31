package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
	"github.com/sealbuild/sealbuild/installer/agent"
)

const (
	hostsPath = "/etc/hosts" //docs:file hosts: lines marked `# sealos`; no other line is touched
	maxHosts  = 8 << 20      // bytes; block lists reach some hundreds of thousands of lines
)

// SetHosts replaces the installer's lines in the hosts file by those of the request.
func (m Machine) SetHosts(_ context.Context, q agent.HostsRequest) (agent.HostsResult, error) {
	for _, e := range q.Entries {
		if err := checkEntry(e); err != nil {
			return agent.HostsResult{}, err
		}
	}
	name := m.Path(hostsPath)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if len(q.Entries) == 0 {
		durable.Sweep(filepath.Dir(name), tempPrefix+filepath.Base(name)+".") // the file is not written again
	}
	text, err := ReadRegular(name, maxHosts)
	if errors.Is(err, fs.ErrNotExist) {
		text = nil
	} else if err != nil {
		return agent.HostsResult{}, fmt.Errorf("edit hosts file: %w", err)
	}
	after := editHosts(string(text), q.Entries)
	if after == string(text) {
		return agent.HostsResult{}, nil
	}
	if err := m.replaceHosts(name, []byte(after)); err != nil {
		return agent.HostsResult{}, fmt.Errorf("edit hosts file: %w", err)
	}
	return agent.HostsResult{Changed: true}, nil
}

func (m Machine) replaceHosts(name string, text []byte) error {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := MakeParents(name); err != nil {
			return err
		}
		return m.Replace(hostsPath, name, DefaultMode, text, nil)
	}
	if err != nil {
		return err
	}
	err = m.Replace(hostsPath, name, info.Mode(), text, info)
	// A container's hosts file is a mount of its own, which no rename can replace. It is written in place: a crash in that
	// moment can leave it cut.
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) {
		return writeInPlace(name, text)
	}
	return err
}

// writeInPlace writes before it truncates, so that the file is never empty.
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
