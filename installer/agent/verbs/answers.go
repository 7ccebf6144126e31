package verbs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sealbuild/sealbuild/installer/agent"
)

// decodeRequest reads a request line for a verb into a value. What it does not know is an error:
// a field left out silently would be work left undone.
func decodeRequest(line []byte, verb string, into any) error {
	var r agent.Request
	if err := agent.DecodeStrict(line, &r); err != nil {
		return skew(err)
	}
	if r.Protocol != agent.Protocol {
		return skew(fmt.Errorf("the request is of protocol %d, this is %d", r.Protocol, agent.Protocol))
	}
	if r.Verb != verb {
		return skew(fmt.Errorf("the request is for verb %q, not %q", r.Verb, verb))
	}
	if err := agent.DecodeStrict(r.Request, into); err != nil {
		return skew(err)
	}
	return nil
}

func skew(err error) *agent.Error {
	return &agent.Error{Code: agent.CodeProtocol, Message: "request not understood: " + err.Error(), Remedy: "the stub on the host is of another version: copy it there again"}
}

// answers writes lines to the installer. Lines of several goroutines do not mix.
type answers struct {
	mu sync.Mutex
	w  io.Writer
}

func (a *answers) send(v agent.Answer) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func (a *answers) log(line string) error { return a.send(agent.Answer{Log: &line}) }

func (a *answers) stream(want bool) error { return a.send(agent.Answer{Stream: &want}) }

func (a *answers) result(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return a.send(agent.Answer{Result: text})
}

// fail turns any error into the one that travels.
func (a *answers) fail(err error) error {
	e, ok := errors.AsType[*agent.Error](err)
	if !ok {
		e = &agent.Error{Message: err.Error()}
	} else if whole := err.Error(); whole != e.Error() {
		// The text around it says where it happened.
		e = &agent.Error{Code: e.Code, Message: whole}
	}
	return a.send(agent.Answer{Error: e})
}
