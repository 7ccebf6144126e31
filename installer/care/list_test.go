package care

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAListThatWithholdsIsAPlainListToAnEarlierCare(t *testing.T) {
	text := string(List{Servers: []netip.AddrPort{m1, m2, m3}, Withheld: []netip.AddrPort{m2}}.Format())
	if d := cmp.Diff("10.0.0.1:6443\n10.0.0.2:6443\n10.0.0.3:6443\n# withheld 10.0.0.2:6443\n", text); d != "" {
		t.Error(d)
	}
	// An earlier care knows ADDRESS:PORT, and lines that mean nothing: empty ones, and those that begin with #.
	var known []netip.AddrPort
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			known = append(known, netip.MustParseAddrPort(line))
		}
	}
	if d := cmp.Diff([]netip.AddrPort{m1, m2, m3}, known, sameAddr); d != "" {
		t.Error(d)
	}
}

func TestABrokenListIsToldByItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1:6443\n# withheld 10.0.0.2:6443\n":                           "line 2: 10.0.0.2:6443 is withheld, and is none of the servers",
		"10.0.0.1:6443\n# withheld m2\n":                                      `line 2: "m2": expected IPv4:PORT`,
		"10.0.0.1:6443\n# withheld 10.0.0.1:6443\n# withheld 10.0.0.1:6443\n": "line 3: 10.0.0.1:6443 is there twice",
		"# withheld 10.0.0.1:6443\n":                                          "line 1: 10.0.0.1:6443 is withheld, and is none of the servers",
		"10.0.0.1:6443\n10.0.0.1:6443\n":                                      "line 2: 10.0.0.1:6443 is there twice",
		"# nothing\n\n":                                                       "no server in it",
	} {
		if _, err := ParseList([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: told %v, want %s", text, err, want)
		}
	}
}

// FuzzParseList reads lists: one that is accepted says the same when it is written and read again.
func FuzzParseList(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.1:6443\n", "# the masters\n\n10.0.0.1:6443\n10.0.0.2:6443\n# withheld 10.0.0.2:6443\n", "# withheld 10.0.0.1:6443\n10.0.0.1:6443",
		"#withheld 10.0.0.1:6443\n10.0.0.1:6443\n", "# withheld \n", "10.0.0.1:6443 withheld\n", "[fd00::1]:6443\n", "10.0.0.1:0\n", "\r\n 10.0.0.1:6443\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseList(text)
		if err != nil {
			return
		}
		again, err := ParseList(l.Format())
		if err != nil || !again.equal(l) || len(l.Servers) == 0 {
			t.Errorf("%q means %v, and after writing %v, %v", text, l, again, err)
		}
	})
}
