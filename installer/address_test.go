package installer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddressListsTakeSinglesPortsAndRanges(t *testing.T) {
	got, err := ParseAddresses("10.0.0.2, 10.0.0.3:2222,10.0.0.8-10.0.0.10")
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, a := range got {
		s := a.IP.String()
		if a.Port != 0 {
			s += ":port"
		}
		text = append(text, s)
	}
	want := []string{"10.0.0.2", "10.0.0.3:port", "10.0.0.8", "10.0.0.9", "10.0.0.10"}
	if d := cmp.Diff(want, text); d != "" {
		t.Error(d)
	}
}

func TestMalformedAddressesAreNamed(t *testing.T) {
	for list, want := range map[string]string{
		"10.0.0.2,10.0.0.2":          "given twice",
		"10.0.0.1-10.0.0.3,10.0.0.2": "given twice",
		"10.0.0":                     `"10.0.0" is not an address`,
		"master.example":             "host names are not used",
		"10.0.0.9-10.0.0.2":          "does not go upwards",
		"10.0.0.1-10.200.0.1":        "more than 4096",
		"10.0.0.1:ssh":               `"ssh" is not a port`,
		"10.0.0.1:0":                 "port 0",
		"10.0.0.1-x":                 `"x" is not an IP`,
	} {
		if _, err := ParseAddresses(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", list, err, want)
		}
	}
}

func FuzzParseAddresses(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.1-10.0.0.3", "10.0.0.1:22,fd00::1", "-", ":", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseAddresses(s)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, a := range got {
			if !a.IP.IsValid() || seen[a.IP.String()] {
				t.Fatalf("%q gives an invalid or repeated address %v", s, a)
			}
			seen[a.IP.String()] = true
		}
	})
}
