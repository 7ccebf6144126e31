package remote

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// Plain passes on what the one host writes, as it is.
func Plain(stdout, stderr io.Writer) Output { return plainOutput{stdout, stderr} }

type plainOutput struct{ stdout, stderr io.Writer }

func (o plainOutput) Begin(int) (stdout, stderr io.Writer) { return o.stdout, o.stderr }
func (plainOutput) End(int, *Result) error                 { return nil }

// Lines passes on each line as it comes, behind the name of its host.
func Lines(hosts []string, stdout, stderr io.Writer) Output {
	o := &linesOutput{hosts: hosts, stdout: stdout, stderr: stderr, open: make([][2]*prefixed, len(hosts))}
	return o
}

type linesOutput struct {
	hosts          []string
	stdout, stderr io.Writer
	open           [][2]*prefixed
	mu             sync.Mutex // a line of one host is not within that of another
}

func (o *linesOutput) Begin(i int) (stdout, stderr io.Writer) {
	o.open[i] = [2]*prefixed{{o: o, w: o.stdout, prefix: o.hosts[i] + ": "}, {o: o, w: o.stderr, prefix: o.hosts[i] + ": "}}
	return o.open[i][0], o.open[i][1]
}

func (o *linesOutput) End(i int, _ *Result) error {
	for _, p := range o.open[i] {
		if p != nil && len(p.part) > 0 {
			if err := p.line(p.part); err != nil {
				return err
			}
			p.part = nil
		}
	}
	return nil
}

// maxPart bounds what is kept of a line whose end has not come, in bytes.
const maxPart = 64 << 10

type prefixed struct {
	o      *linesOutput
	w      io.Writer
	prefix string
	part   []byte
}

func (p *prefixed) Write(data []byte) (int, error) {
	p.part = append(p.part, data...)
	for {
		i := bytes.IndexByte(p.part, '\n')
		if i < 0 && len(p.part) < maxPart {
			return len(data), nil
		}
		if i < 0 {
			i = len(p.part)
		}
		if err := p.line(p.part[:i]); err != nil {
			return 0, err
		}
		p.part = p.part[min(i+1, len(p.part)):]
	}
}

func (p *prefixed) line(text []byte) error {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	_, err := fmt.Fprintf(p.w, "%s%s\n", p.prefix, text)
	return err
}

// maxKept is how much is kept of each output of a host, in bytes: the end of it.
const maxKept = 8 << 20

// kept keeps the end of what is written.
type kept struct {
	data []byte
	lost int64
}

func (k *kept) Write(p []byte) (int, error) {
	k.data = append(k.data, p...)
	if len(k.data) > 2*maxKept {
		k.trim()
	}
	return len(p), nil
}

func (k *kept) trim() {
	if over := len(k.data) - maxKept; over > 0 {
		k.data, k.lost = append(k.data[:0], k.data[over:]...), k.lost+int64(over)
	}
}

// Grouped passes on what each host has written once its program has ended, in the order of the hosts; only the end of it if it is
// more than 8 MiB. Where header is false, it is kept in the results instead, and nothing is passed on.
func Grouped(hosts []string, stdout, stderr io.Writer) Output {
	return &groupedOutput{hosts: hosts, stdout: stdout, stderr: stderr, kept: make([][2]kept, len(hosts)), over: make([]*Result, len(hosts))}
}

// Kept keeps what each host has written in its result, at most the last 8 MiB of each stream.
func Kept(hosts int) Output {
	return &groupedOutput{kept: make([][2]kept, hosts)}
}

type groupedOutput struct {
	hosts          []string
	stdout, stderr io.Writer
	kept           [][2]kept // of each host, what it wrote to stdout and to stderr

	mu   sync.Mutex
	over []*Result // by host; nil while its program runs
	next int       // the first host whose output was not passed on yet
}

func (o *groupedOutput) Begin(i int) (stdout, stderr io.Writer) { return &o.kept[i][0], &o.kept[i][1] }

func (o *groupedOutput) End(i int, r *Result) error {
	for k := range o.kept[i] {
		o.kept[i][k].trim()
	}
	if o.stdout == nil {
		r.Stdout, r.Stderr = string(o.kept[i][0].data), string(o.kept[i][1].data)
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over[i] = r
	for ; o.next < len(o.over) && o.over[o.next] != nil; o.next++ {
		if err := o.pass(o.next); err != nil {
			return err
		}
	}
	return nil
}

func (o *groupedOutput) pass(i int) error {
	streams, name := &o.kept[i], o.hosts[i]
	defer func() { *streams = [2]kept{} }()
	if o.over[i].Exit != nil || len(streams[0].data) > 0 {
		if err := block(o.stdout, "== "+name, &streams[0]); err != nil {
			return err
		}
	}
	if len(streams[1].data) > 0 {
		return block(o.stderr, "== "+name+" (stderr)", &streams[1])
	}
	return nil
}

func block(w io.Writer, header string, k *kept) error {
	if k.lost > 0 {
		header += fmt.Sprintf(": the first %d bytes are left out; --stream shows all", k.lost)
	}
	end := ""
	if n := len(k.data); n > 0 && k.data[n-1] != '\n' {
		end = "\n"
	}
	_, err := fmt.Fprintf(w, "%s\n%s%s", header, k.data, end)
	return err
}
