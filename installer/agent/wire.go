package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// protocol is raised when a request or an answer changes its meaning. Both ends are the same
// file as a rule; where they are not, the installer copies the stub again.
const protocol = 2

const (
	maxRequest = 16 << 20 // bytes of the request line
	maxAnswer  = 64 << 20 // bytes of an answer line
	maxNoise   = 64 << 10 // bytes that a login may print before the first answer
)

// request is the first line of stdin.
type request struct {
	Protocol int             `json:"protocol"`
	Verb     string          `json:"verb"`
	Request  json.RawMessage `json:"request"`
}

// answer is a line of stdout: exactly one field is set.
type answer struct {
	Log    *string         `json:"log,omitempty"`
	Alive  bool            `json:"alive,omitempty"`  // the verb works
	Stream *bool           `json:"stream,omitempty"` // the verb is ready: whether it wants bytes
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

var errLineTooLong = errors.New("line too long")

// readLine reads up to a newline, which is left out, and holds no more than limit bytes.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errLineTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// decodeRequest reads a request line for a verb into a value. What it does not know is an error:
// a field left out silently would be work left undone.
func decodeRequest(line []byte, verb string, into any) error {
	var r request
	if err := strict(line, &r); err != nil {
		return skew(err)
	}
	if r.Protocol != protocol {
		return skew(fmt.Errorf("the request is of protocol %d, this is %d", r.Protocol, protocol))
	}
	if r.Verb != verb {
		return skew(fmt.Errorf("the request is for verb %q, not %q", r.Verb, verb))
	}
	if err := strict(r.Request, into); err != nil {
		return skew(err)
	}
	return nil
}

func skew(err error) *Error {
	return &Error{Code: CodeProtocol, Message: "request not understood: " + err.Error(), Remedy: "the stub on the host is of another version: copy it there again"}
}

func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

// answers writes lines to the installer. Lines of several goroutines do not mix.
type answers struct {
	mu sync.Mutex
	w  io.Writer
}

func (a *answers) send(v answer) error {
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

func (a *answers) log(line string) error  { return a.send(answer{Log: &line}) }
func (a *answers) stream(want bool) error { return a.send(answer{Stream: &want}) }

func (a *answers) result(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return a.send(answer{Result: text})
}

// fail turns any error into the one that travels.
func (a *answers) fail(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Message: err.Error()}
	} else if whole := err.Error(); whole != e.Error() {
		// What was wrapped around it says where it happened.
		e = &Error{Code: e.Code, Message: whole}
	}
	return a.send(answer{Error: e})
}
