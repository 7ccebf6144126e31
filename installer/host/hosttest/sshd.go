package hosttest

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// NoClock is the patience of tests that are about something else: a machine that has much to do logs in late, and is not gone.
const NoClock = time.Hour

// SSHD is a real sshd that runs for one test.
type SSHD struct {
	Address string
	Port    int
	KeyFile string        // a private key that every user may log in with
	HostKey ssh.PublicKey // ed25519
	cmd     *exec.Cmd
}

// StartSSHD runs this machine's sshd on 127.0.0.1 or another address of 127.0.0.0/8, with keys and
// configuration of its own, and skips the test where that cannot be. extra are lines of sshd_config.
func StartSSHD(t testing.TB, address string, extra ...string) *SSHD {
	t.Helper()
	const program = "/usr/sbin/sshd"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("no sshd on this machine (package openssh-server): %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("sshd lets in another user than its own only as root")
	}
	// A directory that belongs to root all the way up is what sshd wants of its privilege separation.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skipf("sshd needs /run/sshd: %v", err)
	}
	dir := t.TempDir()
	// sshd reads the list of keys as the user who logs in.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	hostKey := writeKey(t, filepath.Join(dir, "host"))
	userKey := writeKey(t, filepath.Join(dir, "user"))
	authorized := filepath.Join(dir, "authorized")
	if err := os.WriteFile(authorized, ssh.MarshalAuthorizedKey(userKey), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t, address)
	// sshd takes the first value it finds of a keyword.
	lines := append(extra[:len(extra):len(extra)],
		"ListenAddress "+address, fmt.Sprintf("Port %d", port), "HostKey "+filepath.Join(dir, "host"),
		"AuthorizedKeysFile "+authorized, "StrictModes no", "PermitRootLogin yes", "PasswordAuthentication yes",
		"PidFile none", "UsePAM no", "UseDNS no", "LogLevel ERROR",
	)
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "-D", "-e", "-f", config)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() && log.Len() > 0 {
			t.Logf("sshd said: %s", log.Bytes())
		}
	})
	s := &SSHD{Address: address, Port: port, KeyFile: filepath.Join(dir, "user"), HostKey: hostKey, cmd: cmd}
	s.waitUntilUp(t, ended)
	return s
}

// waitUntilUp reads sshd's banner, which it sends once it serves, however long that takes it; unless it ends.
func (s *SSHD) waitUntilUp(t testing.TB, ended <-chan struct{}) {
	t.Helper()
	for {
		select {
		case <-ended:
			t.Fatal("sshd ends and does not serve")
		default:
		}
		conn, err := net.Dial("tcp", net.JoinHostPort(s.Address, strconv.Itoa(s.Port)))
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if strings.HasPrefix(line, "SSH-2.0-") {
			return
		}
	}
}

func writeKey(t testing.TB, path string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer.PublicKey()
}

func freePort(t testing.TB, address string) int {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
