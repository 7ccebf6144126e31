package installer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/ground/count"
)

// located is an error that names the host on which it happened. ErrorAt is Error for a reader who knows which host is meant:
// the name is left out where it is that of host.
type located interface {
	error
	ErrorAt(host string) string
}

// ErrorAt is Error for a reader who knows which host is meant: the name is left out where it is that of host.
func (e *HostError) ErrorAt(host string) string {
	if e.Host == host {
		return tell(e.Err, host)
	}
	return e.Host + ": " + tell(e.Err, e.Host)
}

// Tell is the text of an error for the operator. It names a host once where several layers name it, says once what several
// hosts say alike, and mentions an interruption once, whatever it broke off. It holds no control characters.
func Tell(err error) string {
	if err == nil {
		return ""
	}
	return Plain(tell(err, ""))
}

// TellAt is [Tell] for a reader who knows that it is about that host.
func TellAt(err error, host string) string {
	if err == nil {
		return ""
	}
	return Plain(tell(err, host))
}

func tell(err error, host string) string {
	switch e := err.(type) {
	case located:
		return noEmptyEnd(e.ErrorAt(host))
	case *StepError:
		return noEmptyEnd(fmt.Sprintf("step %s: %s", e.Step, tell(e.Err, host)))
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		below := e.Unwrap()
		if below == nil {
			break
		}
		// A layer adds its words around the text of the error below it.
		own, inner := err.Error(), below.Error()
		if i := strings.LastIndex(own, inner); i >= 0 && inner != "" {
			return noEmptyEnd(own[:i] + tell(below, hostIn(err, host)) + own[i+len(inner):])
		}
	case interface{ Unwrap() []error }:
		parts := e.Unwrap()
		if own := err.Error(); own != errors.Join(parts...).Error() {
			return noEmptyEnd(own) // words of its own; what it is made of is in them
		}
		return tellAll(parts, host)
	}
	return noEmptyEnd(err.Error())
}

// hostIn gives the host that is named before the text below err: that of a *HostError, else host.
func hostIn(err error, host string) string {
	if e, ok := err.(*HostError); ok {
		return e.Host
	}
	return host
}

// tellAll tells joined errors, those that differ only in their hosts in one line.
func tellAll(parts []error, host string) string {
	type group struct {
		text  string
		hosts []string
	}
	var groups []group
	interrupted := false
	for _, p := range parts {
		if p == ErrInterrupted {
			interrupted = true
			continue
		}
		for _, p := range flatten(p) {
			g := group{text: tell(p, host)}
			if h, ok := p.(*HostError); ok && h.Host != host {
				g = group{text: tell(h.Err, h.Host), hosts: []string{h.Host}}
			}
			i := slices.IndexFunc(groups, func(o group) bool { return o.text == g.text && (len(o.hosts) > 0) == (len(g.hosts) > 0) })
			switch {
			case i < 0:
				groups = append(groups, g)
			case len(g.hosts) > 0 && !slices.Contains(groups[i].hosts, g.hosts[0]):
				groups[i].hosts = append(groups[i].hosts, g.hosts[0])
			}
		}
	}
	var lines []string
	for _, g := range groups {
		if len(g.hosts) > 0 {
			g.text = strings.Join(g.hosts, ", ") + ": " + g.text
		}
		lines = append(lines, g.text)
	}
	if all := strings.Join(lines, "\n"); !interrupted || strings.Contains(all, ErrInterrupted.Error()) {
		return all
	}
	return strings.Join(append([]string{ErrInterrupted.Error()}, lines...), "\n")
}

// flatten lists the errors that errors.Join put together, at any depth. Any other error is its own list.
func flatten(err error) []error {
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	if _, own := err.(located); own || err.Error() != errors.Join(j.Unwrap()...).Error() {
		return []error{err}
	}
	var out []error
	for _, e := range j.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}

// noEmptyEnd drops a colon behind which nothing stands.
func noEmptyEnd(text string) string {
	text = strings.TrimRight(text, " \t\r\n")
	for strings.HasSuffix(text, ":") {
		text = strings.TrimRight(strings.TrimSuffix(text, ":"), " \t\r\n")
	}
	return text
}

// NameSome lists names with commas: at most 8, and how many more there are.
func NameSome(names []string) string { return nameUpTo(8, names) }

func nameUpTo(most int, names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// HostList writes hosts as --masters and --nodes take them: neighbours as a range.
func HostList(hosts []string) string {
	var addresses []netip.Addr
	var out []string
	for _, h := range hosts {
		switch ip, err := netip.ParseAddr(h); {
		case err == nil:
			addresses = append(addresses, ip)
		case h == "":
			out = append(out, "cluster")
		default:
			out = append(out, h)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	for i := 0; i < len(addresses); {
		last := i
		for last+1 < len(addresses) && addresses[last].Next() == addresses[last+1] {
			last++
		}
		text := addresses[i].String()
		if last > i {
			text += "-" + addresses[last].String()
		}
		out = append(out, text)
		i = last + 1
	}
	text := strings.Join(out, ",")
	if len(addresses) > 2 {
		text += " (" + count.Of(len(addresses), "host") + ")"
	}
	return text
}
