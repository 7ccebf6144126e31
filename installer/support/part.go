package support

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer/support/redact"
)

// part is some files of a bundle, until it is their turn: those of a host, or of the cluster. They lie in a file that has no name,
// so nothing is left of them whatever ends this process, and no secret gets there. One goroutine writes a part; it may be taken at
// any time, with the files that are whole.
type part struct {
	host  string // empty: none
	file  *os.File
	red   *redact.Redactor
	left  int64 // bytes that may still be written
	about hostFacts

	mu      sync.Mutex
	files   []stored
	end     int64 // of the last whole file
	taken   bool
	missing []Missing
}

type stored struct {
	name string
	at   int64
	size int64
	made time.Time
}

var (
	errFull  = errors.New("left out: the bundle would become too large (ask for fewer hosts, or less with --since)")
	errTaken = errors.New("too late")
)

// newPart makes a part of at most so many bytes, in a directory.
func newPart(dir, host string, most int64, red *redact.Redactor) (*part, error) {
	f, err := os.CreateTemp(dir, ".support-bundle-*")
	if err != nil {
		return nil, fmt.Errorf("keep what hosts tell: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("keep what hosts tell: %w", err), f.Close())
	}
	return &part{host: host, file: f, red: red, left: most}, nil
}

// lacks notes what could not be had.
func (p *part) lacks(collector string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = append(p.missing, Missing{Host: p.host, Collector: collector, Error: p.red.Text(tell(err, p.host)), At: time.Now().UTC().Truncate(time.Second)})
}

// text keeps a text of at most limit bytes that fill writes. An error of fill means that the text was cut off: what there is of it
// is kept. enough, if not nil, is called when no more is wanted.
func (p *part) text(name string, limit int64, enough func(), fill func(io.Writer) error) error {
	if limit = min(limit, p.left); limit <= 0 {
		return errFull
	}
	to := &section{p: p, at: p.end}
	w := p.red.Writer(to)
	l := &limited{to: w, left: limit, enough: enough}
	err := fill(l)
	switch {
	case l.over:
		w.Cut(fmt.Sprintf("[cut after %d bytes]", limit))
		err = nil
	case err != nil && l.left < limit:
		w.Cut("[cut off: " + p.red.Text(tell(err, p.host)) + "]")
	}
	if closed := w.Close(); closed != nil {
		return closed
	}
	if err == nil || to.size > 0 {
		if kept := p.keep(name, to.size); kept != nil {
			return kept
		}
	}
	return err
}

// json keeps a value as JSON.
func (p *part) json(name string, v any) error {
	text, err := p.safeJSON(v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return p.safe(name, append(text, '\n'))
}

// safeJSON is a value as JSON without secrets.
func (p *part) safeJSON(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	return json.MarshalIndent(p.red.JSON(tree), "", "  ")
}

// safe keeps bytes in which there are no secrets.
func (p *part) safe(name string, data []byte) error {
	if int64(len(data)) > p.left {
		return errFull
	}
	to := &section{p: p, at: p.end}
	if _, err := to.Write(data); err != nil {
		return err
	}
	return p.keep(name, to.size)
}

// keep makes the bytes behind the last file a file.
func (p *part) keep(name string, size int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken {
		return errTaken
	}
	p.files = append(p.files, stored{path.Clean("/" + name)[1:], p.end, size, time.Now()})
	p.end += size
	p.left -= size
	return nil
}

// section is the end of a part, where a file is being written.
type section struct {
	p    *part
	at   int64
	size int64
}

func (s *section) Write(b []byte) (int, error) {
	n, err := s.p.file.WriteAt(b, s.at+s.size)
	s.size += int64(n)
	if err != nil {
		err = fmt.Errorf("keep what was told: %w", err)
	}
	return n, err
}

// limited passes on so many bytes, and drops the rest.
type limited struct {
	to     io.Writer
	left   int64
	over   bool
	enough func()
}

func (l *limited) Write(b []byte) (int, error) {
	keep := b
	if int64(len(b)) > l.left {
		keep = b[:l.left]
		if !l.over && l.enough != nil {
			l.enough()
		}
		l.over = true
	}
	l.left -= int64(len(keep))
	if _, err := l.to.Write(keep); err != nil {
		return 0, err
	}
	return len(b), nil
}

// take moves the files that are whole into the bundle, below root, and ends the part.
func (p *part) take(to *tar.Writer, root string) (missing []Missing, err error) {
	p.mu.Lock()
	p.taken = true
	files := p.files
	missing = p.missing
	p.mu.Unlock()
	for _, f := range files {
		h := &tar.Header{Name: root + "/" + f.name, Mode: 0o644, Size: f.size, ModTime: f.made.Truncate(time.Second), Typeflag: tar.TypeReg}
		if err := to.WriteHeader(h); err != nil {
			return missing, fmt.Errorf("write the bundle: %w", err)
		}
		if _, err := io.Copy(to, io.NewSectionReader(p.file, f.at, f.size)); err != nil {
			return missing, fmt.Errorf("write the bundle: %w", err)
		}
	}
	return missing, p.file.Close()
}
