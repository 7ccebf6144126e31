package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/sealbuild/sealbuild/ground/count"
)

// agentKeys gives the keys of an ssh agent. It never fails, since there may be other ways to log in. An agent that does not
// answer costs a third of the timeout; one that hangs as it signs costs half of what is left, so that time for a password
// remains.
func (l *login) agentKeys(ctx context.Context, c SSHConfig, others bool) []ssh.Signer {
	patience := c.Timeout / 3
	dialing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(dialing, "unix", c.AgentSocket)
	if err != nil {
		l.stuck = agentError(err)
		return nil
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	l.close = func() {
		stop()
		conn.Close()
	}
	state := &agentState{Conn: conn, ctx: ctx, alone: c.Password == "" && !others, stuck: func(err error) { l.stuck = agentError(err) }}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		l.pass(theAgent, err)
		return nil
	}
	signers, err := agent.NewClient(state).Signers()
	if err != nil {
		l.stuck = agentError(errors.Join(state.broken(), err))
		return nil
	}
	var keys []ssh.Signer
	for _, s := range signers {
		if signs, ok := s.(ssh.AlgorithmSigner); ok {
			keys = append(keys, &agentKey{AlgorithmSigner: signs, state: state})
		}
	}
	if len(keys) == 0 {
		l.pass(theAgent, "it holds no keys")
		return nil
	}
	l.offers = append(l.offers, fmt.Sprintf("%s of %s", count.Of(len(keys), "key"), theAgent))
	return keys
}

// agentError says in short what is wrong with an agent.
func agentError(err error) error {
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("it does not answer")
	case errors.Is(err, io.EOF):
		return errors.New("it hung up")
	case isOp:
		return op.Err
	}
	return errors.New(plain(err.Error()))
}

// agentState is what the keys of an agent have in common: its connection, whose errors the library tells as text only.
type agentState struct {
	net.Conn
	ctx   context.Context // the login's
	alone bool            // there is nothing else to log in with
	stuck func(error)     // called with the reason when a key could not sign

	mu  sync.Mutex
	err error // the connection's first
}

func (a *agentState) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	a.keep(err)
	return n, err
}

func (a *agentState) Write(p []byte) (int, error) {
	n, err := a.Conn.Write(p)
	a.keep(err)
	return n, err
}

func (a *agentState) keep(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
}

func (a *agentState) broken() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// patience is the time until which to wait for a signature.
func (a *agentState) patience() time.Time {
	until, ok := a.ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	left := time.Until(until)
	if a.alone {
		return until.Add(-left / 10) // leaves time for the message
	}
	return until.Add(-left / 2)
}

// agentKey signs by an agent that may hang or refuse.
type agentKey struct {
	ssh.AlgorithmSigner
	state *agentState

	mu  sync.Mutex
	err error
}

func (k *agentKey) failed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err != nil || k.state.broken() != nil
}

func (k *agentKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(rand, data, "")
}

func (k *agentKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	k.state.SetDeadline(k.state.patience())
	signature, err := k.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err == nil {
		return signature, nil
	}
	k.mu.Lock()
	k.err = err
	k.mu.Unlock()
	k.state.stuck(errors.Join(k.state.broken(), err))
	return nil, err
}
