package installer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// written are the ways in which programs write a text.
func written(s string) map[string]string {
	asJSON, _ := json.Marshal(s)
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)
	twice, _ := json.Marshal("said: " + string(asJSON))
	return map[string]string{
		"as it is":            s,
		"JSON":                string(asJSON),
		"JSON without HTML":   plain.String(),
		"JSON in JSON":        string(twice),
		"Go":                  fmt.Sprintf("%q", s),
		"Go, ASCII":           fmt.Sprintf("%+q", s),
		"a query":             "x?p=" + url.QueryEscape(s) + "&q=1",
		"a URL's path":        "/a/" + url.PathEscape(s),
		"a URL's user":        (&url.URL{Scheme: "https", Host: "h", User: url.UserPassword("u", s)}).String(),
		"a URL in a URL":      url.QueryEscape("https://u:" + url.QueryEscape(s)),
		"a shell's quotes":    "'" + strings.ReplaceAll(s, "'", `'\''`) + "'",
		"HTML":                html.EscapeString(s),
		"base64":              base64.StdEncoding.EncodeToString([]byte(s)),
		"base64 of URLs":      base64.RawURLEncoding.EncodeToString([]byte(s)),
		"basic auth":          "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+s)),
		"basic auth of bob":   base64.StdEncoding.EncodeToString([]byte("bob:" + s)),
		"base64 in the midst": base64.StdEncoding.EncodeToString([]byte("ab" + s + "and more")),
		"valid UTF-8":         strings.ToValidUTF8(s, "\uFFFD"),
		"indented lines":      strings.ReplaceAll(s, "\n", "\n  "),
	}
}

func TestASecretOfAnyBytesIsMaskedHoweverItIsWritten(t *testing.T) {
	for _, secret := range []string{
		`p<a"ss\word`, `\\"begin`, `the end\`, "tab\tand <&> 'quotes'", "müßiggang-9", "smile😀y1!", "two\nlines here", "one\r\ntwo\r\n\r\nthree-4",
		"not\xff\xfetext1", "100% sure+1", "it's 'mine'", `C:\new\table`, "$(rm -rf /) `x`", "-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEEFFFF\n-----END KEY-----",
	} {
		for how, text := range written(secret) {
			m := newMasks()
			m.add(secret)
			got := m.mask("before: " + text + " after")
			for _, left := range []string{text, secret} {
				if strings.Contains(got, left) {
					t.Errorf("%q as %s stays: %q", secret, how, got)
				}
			}
			if !strings.Contains(got, masked) || !strings.HasPrefix(got, "before: ") || !strings.HasSuffix(got, " after") {
				t.Errorf("%q as %s: %q became %q", secret, how, text, got)
			}
			// No piece of it may be left that helps.
			for i := 0; i+6 <= len(secret); i++ {
				if piece := secret[i : i+6]; strings.Contains(got, piece) && !strings.Contains(piece, "\n") && !strings.Contains(piece, "-----") {
					t.Errorf("%q as %s: %q is left of it: %q", secret, how, piece, got)
				}
			}
		}
	}
}

func TestSecretsOfAnyBytesReachNeitherTerminalNorLogNorJSON(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	secrets := []string{`p<a"ss\word`, "not\xff\xfetext1", "<&>\u2028'\"\\", "first line\nsecond line"}
	for range 200 {
		b := make([]byte, 8+random.IntN(24))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		secrets = append(secrets, "x"+string(b)+"y")
	}
	for _, secret := range secrets {
		var out, log bytes.Buffer
		r := NewReporter(&out, &log, true)
		r.Hide(secret)
		r.Infof("info %s", secret)
		r.Warnf("warning %q", secret)
		r.end(1, 2, "step", Timing{}, Result{Note: "note " + secret}, nil)
		r.end(1, 2, "step", Timing{}, Result{}, errors.New("failed: "+secret))
		w := r.Output("10.0.0.2", "step", "run "+secret)
		fmt.Fprintf(w, "says %s and goes on\n", secret)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.EncodeJSON(&out, map[string]any{"error": "it is " + secret, "list": []string{secret}}); err != nil {
			t.Fatal(err)
		}
		inJSON, _ := json.Marshal(secret)
		for _, form := range []string{secret, string(inJSON[1 : len(inJSON)-1]), strings.Trim(fmt.Sprintf("%q", secret), `"`)} {
			if strings.Contains(out.String(), form) || strings.Contains(log.String(), form) {
				t.Fatalf("%q is told:\n%s\n%s", secret, &out, &log)
			}
		}
		for line := range strings.Lines(log.String()) {
			var record map[string]any
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatalf("the log is no JSON any more: %v: %s", err, line)
			}
			for key, value := range record {
				if strings.Contains(fmt.Sprint(value), secret) {
					t.Fatalf("%q is told in %s", secret, key)
				}
			}
		}
	}
}

func TestASecretThatIsSplitOverLinesIsMasked(t *testing.T) {
	for _, c := range []struct{ secret, output string }{
		{"hunter2-and-more", "the word is hunter2-a\nnd-more it is\n"},
		{"hunter2-and-more", "h\nunter2-and-more\n"},
		{"hunter2-and-more", "hunter2-and-mor\r\n    e\n"},
		{"swordfish", "sword\nfish\n"},
		{"first-line\nsecond-line\nthird-line", "key: first-line\nsecond-line\nthird-line\nend\n"},
		{"first-line\nsecond-line\nthird-line", "second-line\nthird-line\n"}, // what is left where output is cut
		{"hunter2-and-more", strings.Repeat("x", maxLine-5) + "hunter2-and-more\n"},
		{"hunter2-and-more", base64.StdEncoding.EncodeToString([]byte("admin:hunter2-and-more"))[:9] + "\n" + base64.StdEncoding.EncodeToString([]byte("admin:hunter2-and-more"))[9:] + "\n"},
	} {
		var out, log bytes.Buffer
		r := NewReporter(&out, &log, true)
		r.Hide(c.secret)
		w := r.Output("10.0.0.2", "step", "cat")
		for i := range len(c.output) { // byte by byte
			if _, err := w.Write([]byte{c.output[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, piece := range []string{"unter2", "and-m", "nd-more", "sword", "fish", "first-", "second-", "third-", "aHVudG", "bW9yZ"} {
			if strings.Contains(log.String(), piece) || strings.Contains(out.String(), piece) {
				t.Errorf("%q of %.40q is told: %.300s", piece, c.output, strings.ReplaceAll(log.String(), strings.Repeat("x", 100), ""))
			}
		}
	}
}

func TestLinesThatHoldNoSecretComeAsTheyAre(t *testing.T) {
	var told heard
	r := ReportTo(&told, io.Discard, true)
	r.Hide("hunter2-and-more")
	w := r.Output("h", "s", "c")
	fmt.Fprint(w, "a line\n\nends with h\nunrelated\nends with hunter2\nlast")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range told {
		got = append(got, e.Text)
	}
	if diff := cmp.Diff([]string{"a line", "", "ends with h", "unrelated", "ends with hunter2", "last"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestShortSecretsAreMaskedAsWholeWordsOnly(t *testing.T) {
	for _, c := range []struct{ secret, text, want string }{
		{"root", "chroot /root/.kube of root-ca.crt, rooted; the.root", "chroot /root/.kube of root-ca.crt, rooted; the.root"},
		{"root", "root@10.0.0.2: Permission denied", "root@10.0.0.2: Permission denied"},
		{"root", `the password root, "root", 'root' (root). PASS=root`, `the password ******, "******", '******' (******). PASS=******`},
		{"root", "https://admin:root@10.0.0.2/", "https://admin:******@10.0.0.2/"},
		{"kubernetes", "/etc/kubernetes/pki kubernetes-admin kubernetes.default", "/etc/kubernetes/pki kubernetes-admin kubernetes.default"},
		{"kubernetes", "login kubernetes failed", "login ****** failed"},
		{"10", "step 10 of 12 on 10.0.0.10: 10 blobs", "step 10 of 12 on 10.0.0.10: 10 blobs"},
		{"10", "password=10 PASSWORD: \"10\" admin:10@host --passwd 10 token is 10", "password=****** PASSWORD: \"******\" admin:******@host --passwd ****** token is ******"},
		{"10", "+ export SITE_WORD=10 SITES=10", "+ export SITE_WORD=****** SITES=10"},
		{"a", "a host has a password a, key=a", "a host has a password ******, key=******"},
		{"12345678", "port 12345678, not 123456789", "port ******, not 123456789"},
		{"swordfish", "swordfish. swordfishes", "******. swordfishes"},
		{"s3cr3t-value", "xs3cr3t-valuey", "x******y"},
		{"müße", "die müße, nicht müßen", "die ******, nicht müßen"},
	} {
		m := newMasks()
		m.name("SITE_WORD")
		m.add(c.secret)
		if diff := cmp.Diff(c.want, m.mask(c.text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.secret, diff)
		}
	}
}

func TestTheLogsOwnWordsAreNoSecrets(t *testing.T) {
	var log bytes.Buffer
	r := NewReporter(&bytes.Buffer{}, &log, false)
	for _, word := range []string{"INFO", "step", "line", "host"} {
		r.Hide(word)
	}
	r.begin(1, 2, "render", "templates")
	var record map[string]any
	if err := json.Unmarshal(log.Bytes(), &record); err != nil || record["level"] != "INFO" || record["step"] != "render" {
		t.Errorf("%v: %s", err, &log)
	}
}

func TestEmptySecretsHideNothing(t *testing.T) {
	m := newMasks()
	m.add("")
	m.add(" \n")
	if got := m.mask("a b"); got != "a b" {
		t.Errorf("%q", got)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("p<a\"ss\\word", "text p<a\"ss\\word")
	f.Add("\\\\\\", "\\\\\\u005c%5c%255c&#92;")
	f.Add("\xff\n\xfe1234", "\uFFFD\n \uFFFD1234")
	f.Fuzz(func(t *testing.T, secret, text string) {
		m := newMasks()
		m.add(secret)
		m.open(text)
		got := m.mask(text + secret)
		if trimmed := strings.TrimSpace(secret); strengthOf(trimmed) == anywhere && strings.Contains(got, trimmed) && !strings.Contains(masked, trimmed) && !strings.Contains(trimmed, "*") {
			t.Errorf("%q stays in %q", secret, got)
		}
		quoted, err := json.Marshal(map[string]string{"k": text + secret})
		if err != nil {
			t.Fatal(err)
		}
		if hidden := m.json(quoted); !json.Valid(hidden) {
			t.Errorf("%s became %s", quoted, hidden)
		}
	})
}

func BenchmarkMaskWithFiveHundredSecrets(b *testing.B) {
	m := newMasks()
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		m.add(fmt.Sprintf("%x-%x", random.Uint64(), random.Uint64()))
	}
	line := strings.Repeat("the line of a script that says what it does ", 3)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		m.mask(line)
	}
}

func TestSecretsAreAddedWhileOthersAreToldOf(t *testing.T) {
	var out, log bytes.Buffer
	r := NewReporter(&out, &log, true)
	r.Hide("the-first-secret")
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			for n := range 50 {
				r.Hide(fmt.Sprintf("secret-%d-%d", i, n))
				r.HideNames(fmt.Sprintf("NAME_%d_%d", i, n))
				if got := r.Mask(fmt.Sprintf("the-first-secret secret-%d-%d", i, n)); got != "****** ******" {
					t.Errorf("%q", got)
				}
			}
		})
	}
	work.Wait()
}
