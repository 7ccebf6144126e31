// Package ocispec runs the OCI distribution specification's own conformance suite against the registry: `make
// registry-conformance`.
package ocispec

import (
	"bytes"
	"context"
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/registry"
)

var suite = flag.String("suite", "", "the program of the suite; none runs nothing")

// notOurs are the parts of the suite that are left out everywhere, each with its reason.
var notOurs = []string{
	"OCI_DATA_SHA512=false",             // the store, the sync and its upkeep know sha256, the one algorithm that everybody has to
	"OCI_DATA_SPARSE=false",             // manifests of which something is missing are refused, which the specification allows
	"OCI_API_MANIFESTS_TAG_PARAM=false", // of the next version of the specification
}

// verdict is what the suite says of each API.
type verdict map[string]string

var verdictLine = regexp.MustCompile(`(?m)^  ([A-Z][A-Za-z ]+?)\.*: +(Pass|FAIL|Skip|Disabled|Unknown|Error)$`)

// run runs the suite with settings, and returns its verdict. A part that fails fails the test.
func run(t *testing.T, settings ...string) verdict {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), *suite)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), notOurs...), settings...)
	cmd.Env = append(cmd.Env, "OCI_VERSION=1.1", "OCI_RESULTS_DIR="+cmd.Dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	// The exit status is not asked: a suite that may not push ends in a panic after its report, whatever that says.
	_, summary, _ := strings.Cut(out.String(), "OCI Conformance Result: ")
	if !strings.HasPrefix(summary, "Pass\n") {
		var failed []string
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, ": FAIL") {
				failed = append(failed, line)
			}
		}
		t.Fatalf("%v\n%s%s%.4000s", err, strings.Join(failed, ""), summary, &errs)
	}
	t.Logf("result: %s", summary)
	_, summary, _ = strings.Cut(summary, "API conformance:")
	apis, _, _ := strings.Cut(summary, "Data conformance:")
	v := verdict{}
	for _, m := range verdictLine.FindAllStringSubmatch(apis, -1) {
		v[m[1]] = m[2]
	}
	return v
}

func asked(t *testing.T) {
	if *suite == "" {
		t.Skip("the suite is fetched only when asked for: make registry-conformance")
	}
}

func TestRegistryPassesTheSuite(t *testing.T) {
	asked(t)
	dir := t.TempDir()
	accounts, err := registry.Accounts(registry.Account{User: "hosts", Password: "pull", PullOnly: true}, registry.Account{User: "push", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	tls := httptest.NewUnstartedServer(nil)
	tls.StartTLS() // for its certificate
	defer tls.Close()
	pair := tls.TLS.Certificates[0]
	key, err := keyOf(pair)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	addr := freeAddress(t)
	// That manifests may name layers which lie elsewhere is the one setting that is not that of our clusters.
	config := write("config.yml", fmt.Appendf(nil, `version: 0.1
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: %q, tls: {certificate: %s, key: %s}}
auth: {htpasswd: {realm: test, path: %s}}
validation: {manifests: {urls: {allow: ['^https://store[.]example[.]com/']}}}
`, filepath.Join(dir, "store"), addr, write("tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})),
		write("tls.key", key), write("htpasswd", accounts)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- registry.ServeConfig(ctx, config) }()
	await(t, addr)

	got := run(t, "OCI_REGISTRY="+addr, "SSL_CERT_FILE="+filepath.Join(dir, "tls.crt"), "OCI_USERNAME=push", "OCI_PASSWORD=secret", "OCI_API_BLOBS_UPLOAD_CANCEL=true",
		"OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true")
	for api, said := range got {
		if said == "Pass" {
			delete(got, api)
		}
	}
	if diff := cmp.Diff(verdict{"Manifest put with tag params": "Disabled"}, got); diff != "" {
		t.Errorf("what did not pass (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestBundleServedInPlacePassesTheSuite(t *testing.T) {
	asked(t)
	name := filepath.Join(t.TempDir(), "bundle")
	c := writeBundle(t, name)
	f, err := bundle.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	catalog, err := payload.Catalog(t.Context(), f.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h, err := registry.NewHandler(t.Context(), registry.HandlerOptions{Catalog: &catalog, Source: payload.Source(f.Reader)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	defer s.Close()

	got := run(t, "OCI_REGISTRY="+strings.TrimPrefix(s.URL, "http://"), "OCI_TLS=disabled", "OCI_REPO1=conformance/app",
		"OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
		"OCI_RO_DATA_TAGS="+strings.Join(c.tags, " "), "OCI_RO_DATA_MANIFESTS="+strings.Join(c.manifests, " "),
		"OCI_RO_DATA_BLOBS="+strings.Join(c.blobs, " "), "OCI_RO_DATA_REFERRERS="+c.subject)
	passed := verdict{}
	for _, api := range []string{
		"Ping", "Tag listing", "Blob get", "Blob head", "Manifest get by digest", "Manifest get by tag", "Manifest head by digest",
		"Manifest head by tag", "Referrers",
	} {
		passed[api] = "Pass"
	}
	for api, said := range got {
		if said != "Pass" && passed[api] == "" {
			delete(got, api) // of pushing and deleting
		}
	}
	if diff := cmp.Diff(passed, got); diff != "" {
		t.Errorf("what passed (-want +got):\n%s", diff)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
