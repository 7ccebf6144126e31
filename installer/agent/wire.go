package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// Protocol is raised when a request or an answer changes its meaning. Both ends are the same version as a rule; if not, the
// installer copies the stub again.
const Protocol = 2

// MaxRequest bounds the request line in bytes.
const MaxRequest = 16 << 20

const (
	maxAnswer = 64 << 20 // bytes of an answer line
	maxNoise  = 64 << 10 // bytes that a login may print before the first answer
)

// Request is the first line of stdin.
type Request struct {
	Protocol int             `json:"protocol"`
	Verb     string          `json:"verb"`
	Request  json.RawMessage `json:"request"`
}

// Answer is a line of stdout: exactly one field is set.
type Answer struct {
	Log    *string         `json:"log,omitempty"`
	Alive  bool            `json:"alive,omitempty"`  // the verb works
	Stream *bool           `json:"stream,omitempty"` // the verb is ready: whether it wants bytes
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

var errLineTooLong = errors.New("line too long")

// ReadLine reads up to a newline, which is left out, and holds no more than limit bytes.
func ReadLine(r *bufio.Reader, limit int) ([]byte, error) {
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

// DecodeStrict reads one JSON value. An unknown field is an error: to skip it would leave work undone.
func DecodeStrict(text []byte, into any) error {
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
