package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// width is the width of a terminal for which the text is made, in characters; only what cannot be parted is wider.
const width = 80

// listed is up to how many hosts each has a line of its own. Of more, those that are well share lines.
const listed = 20

// Text is the status for people: what is worst comes first, the verdict last.
func (s Status) Text() string {
	w := &strings.Builder{}
	s.table(w)
	line := func(what, format string, args ...any) {
		w.WriteString(wrapped(what+": "+fmt.Sprintf(format, args...)) + "\n")
	}
	if s.LockedBy != "" {
		line("another sealinstall works on the cluster now", "%s%s", s.LockedBy, when(", at step ", s.LockedStep))
	}
	for _, l := range some(s.problemLines()) {
		w.WriteString(wrapped(l) + "\n")
	}
	for _, part := range []struct {
		what  string
		lines []string
	}{{"undone", s.Undone}, {"waiting", s.Waiting}, {"cause", s.Causes}, {"pod", s.podLines()}, {"warning", s.Warnings}} {
		for _, l := range some(part.lines) {
			line(part.what, "%s", l)
		}
	}
	for _, l := range s.versions() {
		line("versions", "%s", l)
	}
	s.etcdLines(line)
	s.registryLines(line)
	for _, l := range s.serverLines() {
		line("virtual address", "%s", l)
	}
	if l := s.fullest(); l != "" {
		line("disks", "%s", l)
	}
	verdict := "ready"
	switch {
	case !s.Asked:
		verdict = "no host answers"
	case !s.Ready:
		verdict = "not ready"
	}
	line("cluster "+s.Cluster, "%s", verdict)
	return installer.Plain(w.String()) // much of it is what others said
}

// state is how a host is, in words; rank is 0 if it is well, and higher the worse it is.
func (h Host) state() (words string, rank int) {
	switch {
	case !h.Reached:
		return "not reached", 4
	case h.Joined && h.Stopped != "":
		return "in the cluster, stopped", 3
	case h.Joined && h.NodeReady != "" && h.NodeReady != "True":
		return "in the cluster, not Ready", 2
	case h.Joined:
		return "in the cluster", 0
	case h.Begun:
		return "begun, not finished", 2
	}
	return "not begun there", 1
}

func (s Status) table(w *strings.Builder) {
	hosts := slices.Clone(s.Hosts)
	slices.SortStableFunc(hosts, func(a, b Host) int {
		_, x := a.state()
		_, y := b.state()
		return y - x
	})
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tNAME\tROLE\tSTATE\tCERTIFICATES")
	type kind struct{ role, state string }
	many := map[kind][]Host{}
	var order []kind
	for _, h := range hosts {
		words, rank := h.state()
		if rank == 0 && len(hosts) > listed {
			k := kind{h.Role, words}
			if many[k] == nil {
				order = append(order, k)
			}
			many[k] = append(many[k], h)
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", h.Address, h.Hostname, h.Role, words, s.ends(h))
	}
	_ = tw.Flush() // a Builder takes everything
	for _, k := range order {
		var addresses []string
		first := many[k][0]
		for _, h := range many[k] {
			addresses = append(addresses, h.Address)
			if !h.CertsEnd.IsZero() && (first.CertsEnd.IsZero() || h.CertsEnd.Before(first.CertsEnd)) {
				first = h
			}
		}
		fmt.Fprintln(w, wrapped(fmt.Sprintf("%d %ss %s: %s; certificates: %s", len(many[k]), k.role, k.state, installer.HostList(addresses), s.ends(first))))
	}
}

// ends tells when the first certificate of a host ends.
func (s Status) ends(h Host) string {
	left := h.CertsEnd.Sub(s.At)
	switch {
	case h.CertsEnd.IsZero():
		return "-"
	case left <= 0:
		return "EXPIRED"
	}
	return about(left)
}

// problemLines has a line for each problem, with all hosts that have it.
func (s Status) problemLines() []string {
	hosts := map[preflight.Problem][]string{}
	var order []preflight.Problem
	for _, p := range s.Problems {
		host := p.Host
		if p.Host = ""; hosts[p] == nil {
			order = append(order, p)
		}
		hosts[p] = append(hosts[p], host)
	}
	var out []string
	for _, p := range order {
		text := fmt.Sprintf("%s: %s (%s)", p.Check, p.Message, p.Remedy)
		if hosts[p][0] != "" {
			text = installer.HostList(hosts[p]) + ": " + text
		}
		out = append(out, text)
	}
	return out
}

// podLines has a line for each pod that the cluster itself does not wait for: those are told already.
func (s Status) podLines() []string {
	var out []string
	for _, p := range s.Pods {
		if !slices.ContainsFunc(s.Waiting, func(l string) bool { return strings.HasPrefix(l, "pod "+p.Name+" ") }) {
			out = append(out, p.Name+when(" on ", p.Node)+": "+p.Why)
		}
	}
	return out
}

// versions has a line for each set of versions that hosts run.
func (s Status) versions() []string {
	by := map[string][]string{}
	for _, h := range s.Hosts {
		var words []string
		for _, v := range []string{when("kubelet ", h.Kubelet), strings.Replace(h.Runtime, "://", " ", 1), when("installer ", h.Installer)} {
			if v != "" {
				words = append(words, v)
			}
		}
		if key := strings.Join(words, ", "); key != "" {
			by[key] = append(by[key], h.Address)
		}
	}
	return grouped(by)
}

// grouped has a line for each text, with the hosts that it is true of.
func grouped(by map[string][]string) []string {
	var out []string
	for _, text := range slices.SortedFunc(maps.Keys(by), func(a, b string) int { return cmp.Or(len(by[a])-len(by[b]), strings.Compare(a, b)) }) {
		out = append(out, text+" on "+installer.HostList(by[text]))
	}
	return out
}

func (s Status) etcdLines(line func(what, format string, args ...any)) {
	if s.Etcd == nil {
		return
	}
	leader, size, quota := "none that answers", int64(0), int64(0)
	for _, m := range s.Etcd.Members {
		if m.Leads {
			leader = m.Address
		}
		if m.Size > size {
			size, quota = m.Size, m.Quota
		}
	}
	text := fmt.Sprintf("%s, leader %s", count.Of(len(s.Etcd.Members), "member"), leader)
	if quota > 0 {
		text += fmt.Sprintf(", database %s of %s (%d %%)", preflight.Bytes(size), preflight.Bytes(quota), size*100/quota)
	}
	if !s.Etcd.Matches {
		text += "; they are not the masters"
	}
	line("etcd", "%s", text)
	for _, m := range s.Etcd.Members {
		how := "it does not answer, or was not asked"
		switch {
		case m.Answers && !m.Learner:
			continue
		case m.Answers:
			how = "a learner: it has no vote yet"
		}
		line("etcd", "member %s (%s): %s", cmp.Or(m.Name, "without a name"), m.Address, how)
	}
}

func (s Status) registryLines(line func(what, format string, args ...any)) {
	if s.Registry == nil {
		return
	}
	of := "that any master has"
	if s.Registry.ByBundle {
		of = "of the bundle and the masters"
	}
	var lack, stores []string
	for _, h := range s.Hosts {
		if h.Registry != nil {
			stores = append(stores, h.Address)
		}
		if h.Registry != nil && h.Registry.Missing > 0 {
			lack = append(lack, fmt.Sprintf("%s lacks %d", h.Address, h.Registry.Missing))
		}
	}
	if len(lack) == 0 {
		lack = []string{"complete on " + installer.HostList(stores)}
	}
	line("registry", "%s %s: %s", count.Of(s.Registry.Blobs, "blob"), of, strings.Join(lack, ", "))
}

func (s Status) serverLines() []string {
	by := map[string][]string{}
	for _, h := range s.Hosts {
		var words []string
		for _, v := range h.Servers {
			switch {
			case v.Withheld:
				v.Address += " (withheld)"
			case v.Weight == 0:
				v.Address += " (weight 0)"
			}
			words = append(words, v.Address)
		}
		if len(words) > 0 {
			slices.Sort(words)
			by[strings.Join(words, ", ")] = append(by[strings.Join(words, ", ")], h.Address)
		}
	}
	return grouped(by)
}

// fullest tells of the file system with the least part free, and of the one that will be full first.
func (s Status) fullest() string {
	var least, first *Disk
	var at, soonest string
	for _, h := range s.Hosts {
		for i, d := range h.Disks {
			if d.Total > 0 && (least == nil || float64(d.Free)/float64(d.Total) < float64(least.Free)/float64(least.Total)) {
				least, at = &h.Disks[i], h.Address
			}
			if !d.Full.IsZero() && (first == nil || d.Full.Before(first.Full)) {
				first, soonest = &h.Disks[i], h.Address
			}
		}
	}
	if least == nil {
		return ""
	}
	text := fmt.Sprintf("the least free is %s of %s on %s %s (%s)", preflight.Bytes(int64(least.Free)), preflight.Bytes(int64(least.Total)), at, least.Path, strings.Join(least.Holds, ", "))
	if first != nil {
		text += fmt.Sprintf("; the first to be full is %s %s, in %s", soonest, first.Path, about(first.Full.Sub(s.At.Truncate(time.Second))))
	}
	return text
}

// when gives text with a word before it, or nothing if there is no text.
func when(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// some are the first lines of a list, and how many more there are.
func some(lines []string) []string {
	const most = 20
	if len(lines) <= most {
		return lines
	}
	return append(slices.Clone(lines[:most]), fmt.Sprintf("and %d more (-o json has all)", len(lines)-most))
}

// wrapped breaks a line at spaces, so that it fits; what follows is indented.
func wrapped(text string) string {
	var out strings.Builder
	at := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i > 0 && at+1+n > width:
			out.WriteString("\n    ")
			at = 4
		case i > 0:
			out.WriteByte(' ')
			at++
		}
		out.WriteString(word)
		at += n
	}
	return out.String()
}
