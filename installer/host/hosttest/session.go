package hosttest

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

func (s *Server) auth(c ServerConfig) *ssh.ServerConfig {
	refused := errors.New("refused")
	a := &ssh.ServerConfig{NoClientAuth: c.Password == "" && c.Interactive == "" && c.PublicKey == nil}
	if c.Password != "" {
		a.PasswordCallback = func(_ ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
			s.countPassword()
			if string(given) != c.Password {
				return nil, refused
			}
			return nil, nil
		}
	}
	if c.Interactive != "" {
		a.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			s.countPassword()
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(answers) != 1 || answers[0] != c.Interactive {
				return nil, refused
			}
			return nil, nil
		}
	}
	if c.PublicKey != nil {
		a.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !bytes.Equal(key.Marshal(), c.PublicKey.Marshal()) && (c.AlsoKey == nil || !bytes.Equal(key.Marshal(), c.AlsoKey.Marshal())) {
				return nil, refused
			}
			return nil, nil
		}
	}
	return a
}

// session runs the one command of a session and tells how it ended.
func (s *Server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	// Counted out before the client can know that it is over, and may begin the next.
	finish := sync.OnceFunc(s.finish)
	defer finish()
	defer channel.Close()
	var cmd *exec.Cmd
	var all sync.WaitGroup
	for r := range requests {
		var text struct{ Value string }
		switch {
		case r.Type == "exec" && cmd == nil && ssh.Unmarshal(r.Payload, &text) == nil:
			s.mu.Lock()
			s.commands = append(s.commands, text.Value)
			s.mu.Unlock()
			cmd = s.start(channel, text.Value)
			r.Reply(cmd != nil, nil)
			if cmd == nil {
				return
			}
			all.Go(func() {
				err := cmd.Wait()
				s.mu.Lock()
				delete(s.groups, cmd.Process.Pid)
				s.mu.Unlock()
				finish()
				s.report(channel, err)
				channel.Close()
			})
		case r.Type == "signal" && cmd != nil && ssh.Unmarshal(r.Payload, &text) == nil:
			unix.Kill(-cmd.Process.Pid, unix.SignalNum("SIG"+text.Value))
		case r.WantReply:
			r.Reply(false, nil)
		}
	}
	all.Wait()
}

func (s *Server) start(channel ssh.Channel, line string) *exec.Cmd {
	if s.config.StartUp != "" {
		line = s.config.StartUp + "\n" + line
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Env = s.config.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	s.mu.Lock()
	s.groups[cmd.Process.Pid] = true
	s.mu.Unlock()
	go func() {
		io.Copy(stdin, channel)
		stdin.Close()
	}()
	return cmd
}

func (s *Server) report(channel ssh.Channel, err error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			name := unix.SignalName(ws.Signal())[len("SIG"):]
			channel.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Signal string
				Core   bool
				Error  string
				Lang   string
			}{Signal: name}))
			return
		}
		channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(exit.ExitCode())}))
		return
	}
	channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{}))
}

// killAll ends the commands whose connections were cut: like sshd, the server lets them run on.
func (s *Server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for group := range s.groups {
		unix.Kill(-group, unix.SIGKILL)
	}
}
