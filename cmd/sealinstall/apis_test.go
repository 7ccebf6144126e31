package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheStubTellsWhatAnAPIServerHasOfVersionsThatAreGone(t *testing.T) {
	answers := map[string]string{
		"/apis": `{"groups":[{"preferredVersion":{"groupVersion":"policy/v1"}}]}`, "/api/v1": `{"resources":[]}`, "/api/v1/secrets": `{"items":[]}`,
		"/apis/policy/v1":                      `{"resources":[{"name":"poddisruptionbudgets","kind":"PodDisruptionBudget","verbs":["list"]}]}`,
		"/apis/policy/v1/poddisruptionbudgets": `{"items":[{"metadata":{"namespace":"x","name":"web","managedFields":[{"manager":"old","apiVersion":"policy/v1beta1"}]}}]}`,
		"/metrics":                             `apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="poddisruptionbudgets",subresource="",version="v1beta1"} 1`,
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answers[r.URL.Path]) }))
	defer s.Close()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	own := block("CERTIFICATE", s.Certificate().Raw)
	file := filepath.Join(t.TempDir(), "admin.conf")
	text := fmt.Sprintf("clusters: [{cluster: {certificate-authority-data: %s}}]\nusers: [{user: {client-certificate-data: %s, client-key-data: %s}}]\n", own, own, block("PRIVATE KEY", key))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"stored":    `{"written":[{"version":"policy/v1beta1","name":"PodDisruptionBudget","by":"old","names":["x/web"],"all":1}]}`,
		"requested": `{"requests":[{"version":"policy/v1beta1","resource":"poddisruptionbudgets","removed":"1.25"}]}`,
	} {
		var out bytes.Buffer
		cmd := newAPIsCommand()
		cmd.SetArgs([]string{what, "--server", s.URL, "--kubeconfig", file, "--minor", "36"})
		cmd.SetOut(&out)
		if err := cmd.ExecuteContext(t.Context()); err != nil || strings.TrimSpace(out.String()) != want {
			t.Errorf("%s: %s, %v; want %s", what, out.String(), err, want)
		}
	}
}
