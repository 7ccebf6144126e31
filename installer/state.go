package installer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// State is the directory where the control machine keeps what it must know
// about one cluster: ~/.sealos/<cluster>, or below SEALOS_RUNTIME_ROOT.
type State struct {
	Dir  string
	lock *os.File
}

// OpenState makes the state directory (0700) and takes its lock, so that two installers never work on one cluster from one
// machine. The lock is the kernel's: it ends with the process that holds it, however that ends.
func OpenState(cluster string) (*State, error) {
	s, err := ReadState(cluster)
	if err != nil {
		return nil, err
	}
	//docs:file here ~/.sealos/<cluster>/lock: held while an installer works on the cluster, and names it
	f, err := os.OpenFile(s.Path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner, _ := os.ReadFile(f.Name()) // best effort: the name of the holder
		_ = f.Close()
		return nil, fmt.Errorf("cluster %s is being worked on by another sealinstall (%s); wait for it or stop it", cluster, strings.TrimSpace(string(owner)))
	}
	host, _ := os.Hostname()
	if err := f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "process %d on %s since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("write the lock: %w", err), f.Close())
		}
	}
	s.lock = f
	return s, nil
}

// ReadState is [OpenState] without the lock, for commands that only look: another installer may be at work meanwhile.
func ReadState(cluster string) (*State, error) {
	//docs:file here ~/.sealos/<cluster>/: all that this machine knows of a cluster (0700); elsewhere by `SEALOS_RUNTIME_ROOT`
	dir, err := StateDir(cluster)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	return &State{Dir: dir}, nil
}

// StateDir is where the state of a cluster lies, whether or not it exists.
func StateDir(cluster string) (string, error) {
	root := os.Getenv("SEALOS_RUNTIME_ROOT") //docs:env sealinstall SEALOS_RUNTIME_ROOT: directory of the state of clusters in place of ~/.sealos
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the home directory: %w (set SEALOS_RUNTIME_ROOT)", err)
		}
		root = filepath.Join(home, ".sealos")
	}
	return filepath.Join(root, cluster), nil
}

// Close gives the lock back.
func (s *State) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Path is the path of a file in the state directory.
func (s *State) Path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// Write replaces a file of the state atomically and durably.
func (s *State) Write(name string, mode fs.FileMode, data []byte) error {
	path := s.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return durable.Write(path, data, mode)
}

// Remove removes a file of the state; one that is not there is fine.
func (s *State) Remove(name string) error {
	err := os.Remove(s.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove from the state: %w", err)
	}
	return durable.SyncDir(filepath.Dir(s.Path(name)))
}

// Kept returns the secret that is kept under a name; "" if there is none.
func (s *State) Kept(name string) (string, error) {
	data, err := os.ReadFile(s.Path(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// Keep keeps a secret under a name. It writes nothing when that is kept already.
func (s *State) Keep(name, secret string) error {
	if here, err := s.Kept(name); err == nil && here == secret {
		return nil
	}
	return s.Write(name, 0o600, []byte(secret+"\n"))
}

// Secret returns the secret of a name. The first call makes it, of 32 random characters, and keeps it.
func (s *State) Secret(_ context.Context, name string) (string, error) {
	if here, err := s.Kept(name); err != nil || here != "" {
		return here, err
	}
	raw := make([]byte, 24)
	rand.Read(raw) // never fails: crypto/rand aborts the process instead
	secret := base64.RawURLEncoding.EncodeToString(raw)
	return secret, s.Keep(name, secret)
}
