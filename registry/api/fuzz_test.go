package api

import (
	"strings"
	"testing"
)

func FuzzContentRange(f *testing.F) {
	for _, text := range []string{"0-0", "0-1023", "bytes 5-9/10", "9-5", "-", "--1", "+1-2", "9223372036854775807-9223372036854775807", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, err := parseContentRange(text)
		if err == nil && (first < 0 || last < first || last-first+1 <= 0) {
			t.Errorf("%q is %d to %d", text, first, last)
		}
		if err != nil && (first != 0 || last != 0) {
			t.Errorf("%q is refused, and %d to %d", text, first, last)
		}
	})
}

func FuzzSubject(f *testing.F) {
	for _, body := range []string{`{}`, `{"subject":null}`, `{"subject":{"digest":"sha256:` + strings.Repeat("a", 64) + `"}}`, `{"subject":[]}`, `{"subject":{"digest":"x"}}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := subjectOf(body)
		if d != "" && (err != nil || d.Validate() != nil) {
			t.Errorf("%q: subject %q, %v", body, d, err)
		}
	})
}

func TestOneRequestAtATimeWritesToAnUpload(t *testing.T) {
	var u inUse
	if !u.take("a") || u.take("a") || !u.take("b") {
		t.Error("taken twice, or not at all")
	}
	u.release("a")
	if !u.take("a") {
		t.Error("not given back")
	}
}
