package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// putScript receives a file. Its stdin is the content followed by 64 hex digits, its sha256: a connection that is cut leaves a
// tail that cannot match, whatever was cut off. Arguments: path, octal mode, the sha256 if it is known beforehand or "-". It
// prints "same" and ends if the file is there already, else "send" before it reads. While it hashes and syncs, which takes long
// on a slow disk, it prints signs of life; while it receives, the bytes that it takes are the sign. The loop that prints is
// ended by SIGKILL: a shell that has just forked may swallow SIGTERM while it takes back the traps of its parent, and a loop
// that outlives the script holds the session open for ever. It sleeps one second at a time, so that its sleep soon ends, too.
const putScript = `set -u
path=$1 mode=$2 want=$3
dir=$(dirname -- "$path")
life=
busy() { (n=0; while sleep 1 >/dev/null 2>&1; do n=$((n + 1)); [ $((n % 10)) -ne 0 ] || echo .; done) & life=$!; }
calm() { [ -z "$life" ] || { kill -s KILL "$life"; wait "$life"; } 2>/dev/null; life=; }
trap calm EXIT
sum() { s=$(sha256sum < "$1") && printf %s "${s%% *}"; }
if [ -d "$path" ] && [ ! -L "$path" ]; then echo "$path is a directory" >&2; exit 21; fi
busy
if [ "$want" != - ] && [ -f "$path" ] && [ ! -L "$path" ] && [ "$(sum "$path")" = "$want" ]; then
	chmod -- "$mode" "$path" || exit
	echo same
	exit 0
fi
(umask 022 && mkdir -p -- "$dir") || exit
umask 077
temp=$(mktemp "$dir/.sealinstall-XXXXXXXX") || exit
trap 'calm; rm -f -- "$temp"' EXIT
trap 'exit 75' HUP INT TERM PIPE
calm
echo send
cat > "$temp" || exit
busy
got=$(tail -c 64 "$temp") || exit
truncate -s -64 "$temp" || exit 74
[ "$(sum "$temp")" = "$got" ] || { echo "the bytes that arrived do not have the sha256 they were sent with" >&2; exit 74; }
# Where SELinux is enforced, systemd starts only what is labelled as a program.
case $mode in *[1357]??) ! command -v chcon >/dev/null || chcon -t bin_t "$temp" 2>/dev/null;; esac
chmod -- "$mode" "$temp" && { sync "$temp" 2>/dev/null || sync; } && mv -f -- "$temp" "$path" && { sync "$dir" 2>/dev/null || sync; }
`

// putThrough puts a file by running the script on h as root.
func putThrough(ctx context.Context, h runner, name string, mode fs.FileMode, r io.Reader) error {
	return putWatched(ctx, h, Standstill, name, mode, r)
}

// putWatched ends the transfer when nothing moves for patience.
func putWatched(ctx context.Context, h runner, patience time.Duration, name string, mode fs.FileMode, r io.Reader) error {
	if err := checkPut(name); err != nil {
		return fmt.Errorf("%s: %w", h.Name(), err)
	}
	known, err := digestOf(r)
	if err != nil {
		return fmt.Errorf("%s: put %s: %w", h.Name(), name, err)
	}
	want := "-"
	if known != "" {
		want = known.Encoded()
	}
	answer := newFirstWord()
	ctx, watch := WatchTransfer(ctx, patience, h.Name(), name)
	defer watch.Stop()
	err = h.Run(ctx, Cmd{
		Title:  "receive the file",
		Argv:   []string{"/bin/sh", "-c", putScript, "sealinstall-put", name, fmt.Sprintf("%04o", octal(mode)), want},
		Stdin:  watch.Source(&trailed{wait: answer.done, word: answer.get, hash: sha256.New(), r: r, reading: watch.Reading}),
		Stdout: watch.Signs(answer),
		Root:   true,
	})
	answer.close() // a script that ended without an answer leaves the input waiting
	if still := watch.Err(); still != nil && err != nil {
		return still
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	if w := answer.get(); w != "same" && w != "send" {
		return fmt.Errorf("%s: put %s: the host answered %q", h.Name(), name, w)
	}
	return nil
}

func checkPut(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsRune(name, 0) {
		return fmt.Errorf("put %q: want a clean absolute path", name)
	}
	return nil
}

// octal is a mode as chmod takes it.
func octal(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// digestOf gives the digest of what r still holds, if r can be read again; r is left where it was. Empty means that it cannot.
func digestOf(r io.Reader) (digest.Digest, error) {
	s, ok := r.(io.Seeker)
	if !ok {
		return "", nil
	}
	at, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", nil // a pipe is a file too, and cannot be read twice
	}
	d, err := digest.SHA256.FromReader(r)
	if err != nil {
		return "", err
	}
	_, err = s.Seek(at, io.SeekStart)
	return d, err
}

// trailed waits for the answer of the script, then reads r, and after that the digest of what was read.
type trailed struct {
	wait <-chan struct{}
	word func() string
	r    io.Reader
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	trailer *bytes.Reader
	reading func(begins bool) // told of each wait for r
}

func (t *trailed) Read(p []byte) (int, error) {
	<-t.wait
	if t.word() != "send" {
		return 0, io.EOF
	}
	if t.trailer != nil {
		return t.trailer.Read(p)
	}
	t.reading(true)
	n, err := t.r.Read(p)
	t.reading(false)
	t.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		t.trailer = bytes.NewReader([]byte(hex.EncodeToString(t.hash.Sum(nil))))
		err = nil
	}
	return n, err
}

// firstWord is a writer that keeps the first line that is an answer of the script. It passes over what start-up files print.
type firstWord struct {
	line []byte // the line that is being written
	word string // set before done is closed
	done chan struct{}
	once sync.Once
}

func newFirstWord() *firstWord { return &firstWord{done: make(chan struct{})} }

func (f *firstWord) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c != '\n':
			f.line = append(f.line, c)[:min(len(f.line)+1, 8)] // longer than any answer
			continue
		case string(f.line) == "same", string(f.line) == "send":
			f.answer(string(f.line))
		}
		f.line = f.line[:0]
	}
	return len(p), nil
}

func (f *firstWord) answer(word string) {
	f.once.Do(func() {
		f.word = word
		close(f.done)
	})
}

// close ends the wait for an answer, if none has come.
func (f *firstWord) close() { f.answer("") }

// get waits for the answer; empty means that there is none.
func (f *firstWord) get() string {
	<-f.done
	return f.word
}

// Put writes the file directly when this process is root, else through sudo as over ssh.
func (h *localHost) Put(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	if os.Geteuid() != 0 {
		return putThrough(ctx, h, name, mode, r)
	}
	err := checkPut(name)
	if err == nil {
		err = putFile(ctx, name, mode, r)
	}
	if err != nil {
		return fmt.Errorf("%s: put %s: %w", h.name, name, err)
	}
	return nil
}

func putFile(ctx context.Context, name string, mode fs.FileMode, r io.Reader) error {
	want, err := digestOf(r)
	if err != nil {
		return err
	}
	info, err := os.Lstat(name)
	if err == nil && info.IsDir() {
		return errors.New("is a directory")
	}
	if want != "" && err == nil && info.Mode().IsRegular() {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		have, err := digestOf(f)
		if err != nil {
			return err
		}
		if have == want {
			return f.Chmod(mode)
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp, err := durable.Create(name, ".sealinstall-")
	if err != nil {
		return err
	}
	defer temp.Discard()
	if _, err := io.Copy(temp, &contextReader{ctx, r}); err != nil {
		return err
	}
	labelProgram(temp.File, mode)
	return temp.Commit(mode)
}

// contextReader stops a copy when the context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// labelProgram labels a file that may be run as chcon -t bin_t does: where SELinux is enforced, systemd starts no other.
func labelProgram(f *os.File, mode fs.FileMode) {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil && mode&0o100 != 0 {
		unix.Fsetxattr(int(f.Fd()), "security.selinux", []byte("system_u:object_r:bin_t:s0\x00"), 0)
	}
}
