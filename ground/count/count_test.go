package count

import "testing"

func TestOneThingIsToldAsOne(t *testing.T) {
	for got, want := range map[string]string{
		Of(0, "host"):                         "0 hosts",
		Of(1, "host"):                         "1 host",
		Of(int64(2), "host"):                  "2 hosts",
		Of(1, "entry", "entries"):             "1 entry",
		Of(uint64(3), "entry", "entries"):     "3 entries",
		Word(1, "is", "are"):                  "is",
		Word(2, "is", "are"):                  "are",
		Of(1, "host") + Word(1, " has", " x"): "1 host has",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
