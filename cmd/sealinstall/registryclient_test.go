package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAPingAsksForTheCertificateAndWithThePasswordAsTheyAre(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "site" || password != " p<a\"ss\\word " {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer s.Close()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	shown := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	ca := write("ca.crt", shown)
	for _, c := range []struct{ certificate, password, want string }{
		{ca, " p<a\"ss\\word ", ""},
		{"", " p<a\"ss\\word ", ""},
		{ca, "p<a\"ss\\word", "401"},
		{write("other.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("another")})), " p<a\"ss\\word ", "shows another certificate"},
		{write("none.crt", []byte("no PEM")), " p<a\"ss\\word ", "holds no certificate"},
	} {
		stdin, err := os.Open(write("stdin", []byte(c.password+"\n")))
		if err != nil {
			t.Fatal(err)
		}
		before := os.Stdin
		os.Stdin = stdin
		cmd := newPingCommand()
		cmd.SetArgs([]string{s.URL, "--ca", ca, "--user", "site", "--certificate", c.certificate})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err = cmd.ExecuteContext(t.Context())
		os.Stdin = before
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with %q: %v", c.certificate, c.password, err)
		}
		stdin.Close()
	}
}
