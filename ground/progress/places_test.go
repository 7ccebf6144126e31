package progress

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostsKeepTheirPlacesAndThoseThatAreDoneMakeRoom(t *testing.T) {
	sc := newScreen(t, 80, 24)
	l := &live{w: sc, size: sc.size, state: newState()}
	s := &story{now: begin, shows: l, ticks: l, of: 1}
	s.begins("upgrade-nodes", "upgrade nodes")
	late := s.does("10.0.0.10", "kubeadm upgrade node", 0) // before those that it has to wait for
	s.tell(Event{Kind: Hosts, Hosts: []string{"10.0.0.9", "10.0.0.11"}})
	s.does("", "verifies the bundle", gib)
	s.wait(1)
	in := func() (hosts []string) {
		for _, line := range l.drawn[1:] {
			hosts = append(hosts, strings.Fields(line)[0])
		}
		return hosts
	}
	if diff := cmp.Diff([]string{"HOST", "here", "10.0.0.9", "10.0.0.10", "10.0.0.11"}, in()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.done(late, "")
	s.wait(1)
	if diff := cmp.Diff([]string{"HOST", "here", "10.0.0.9", "10.0.0.10", "10.0.0.11"}, in()); diff != "" {
		t.Errorf("few hosts, one of them done (-want +got):\n%s", diff)
	}
	s.tell(Event{Kind: Hosts, Hosts: addresses(60)})
	for _, h := range addresses(50) {
		s.done(s.does(h, "", 0), "")
	}
	s.wait(1)
	want := []string{"HOST", "here", "10.0.0.52", "10.0.0.53", "10.0.0.54", "10.0.0.55", "10.0.0.56", "10.0.0.57", "10.0.0.58", "10.0.0.59", "10.0.0.60", "all"}
	if diff := cmp.Diff(want, in()); diff != "" {
		t.Errorf("many hosts (-want +got):\n%s", diff)
	}
}

func TestLinesAreCutAndBrokenBetweenWords(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"kubeadm join", 12, "kubeadm join"},
		{"kubeadm join", 11, "kubeadm …"},
		{"all 200 hosts: done", 16, "all 200 hosts …"},
		{"all 200 hosts: done", 15, "all 200 hosts:…"},
		{"/var/lib/sealos/data x", 12, "/var/lib/se…"}, // one word
		{"a /var/lib/sealos/data", 12, "a /var/lib/…"}, // half of the room would be lost
		{"ab", 1, "…"},
		{"ab", 0, ""},
	} {
		if got := cut(c.text, c.n); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
	long := strings.Repeat("/dir", 10)
	if diff := cmp.Diff([]string{"saved in", "  " + long, "  and looked at", "  again"}, fold("saved in "+long+" and looked at again", 16, 2)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
