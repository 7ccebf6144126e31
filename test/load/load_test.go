package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// tallies sums up what run has printed: per kind what was asked and failed, and the lines of single failures.
func tallies(t *testing.T, printed string) (sums map[string]Tally, failures []Tally) {
	t.Helper()
	sums = map[string]Tally{}
	lines := json.NewDecoder(strings.NewReader(printed))
	for {
		var line Tally
		err := lines.Decode(&line)
		if err == io.EOF {
			return sums, failures
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, printed)
		}
		if line.Error != "" {
			failures = append(failures, line)
			continue
		}
		sum := sums[line.Kind]
		sums[line.Kind] = Tally{Kind: line.Kind, Asked: sum.Asked + line.Asked, Failed: sum.Failed + line.Failed}
	}
}

// runUntil runs an order until enough is closed.
func runUntil(t *testing.T, order Order, enough <-chan struct{}) string {
	t.Helper()
	raw, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	go func() {
		_, _ = feed.Write(raw)
		<-enough
		feed.Close()
	}()
	var out bytes.Buffer
	if err := run(in, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestEveryRequestCountsOnceAndThoseThatFailAreTold(t *testing.T) {
	var asked atomic.Int32
	connections := map[string]bool{}
	var mu sync.Mutex
	enough := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		connections[r.RemoteAddr] = true
		mu.Unlock()
		n := asked.Add(1)
		if n == 3 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
		if n == 10 {
			close(enough)
		}
	}))
	defer server.Close()
	printed := runUntil(t, Order{App: []string{server.URL}, AppRate: 200}, enough)
	sums, failures := tallies(t, printed)
	n := int(asked.Load())
	if diff := cmp.Diff(map[string]Tally{"app": {Kind: "app", Asked: n, Failed: 1}}, sums); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []Tally{{Kind: "app", Target: "GET " + server.URL, Error: "503 Service Unavailable: not now\n"}}
	if diff := cmp.Diff(want, failures, cmpopts.IgnoreFields(Tally{}, "Begin", "Slowest")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(connections) != n {
		t.Errorf("%d requests came over %d connections", n, len(connections))
	}
}

func TestNobodyThereIsAFailure(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	enough := make(chan struct{})
	printing := writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte(`"Error"`)) {
			select {
			case <-enough:
			default:
				close(enough)
			}
		}
		return len(p), nil
	})
	kinds, err := Order{App: []string{server.URL}, AppRate: 100}.kinds()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-enough
		cancel()
	}()
	if err := ask(ctx, kinds, printing); err != nil {
		t.Fatal(err)
	}
}

func pkcs8(key any) ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestTheAPIIsReadAndWrittenWithTheClientsCertificate(t *testing.T) {
	var mu sync.Mutex
	var paths []string
	enough := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		if paths = append(paths, r.Method+" "+r.URL.String()+" "+string(body)); len(paths) == 2 {
			close(enough)
		}
	}))
	defer server.Close()
	certificate := server.TLS.Certificates[0]
	der, err := pkcs8(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	authority := block("CERTIFICATE", certificate.Certificate[0])
	printed := runUntil(t, Order{
		API: server.URL, APIRate: 20, Namespace: "load", Object: "node1", CA: authority, Certificate: authority, Key: block("PRIVATE KEY", der),
	}, enough)
	sums, failures := tallies(t, printed)
	if sums["api"].Failed != 0 || len(failures) != 0 {
		t.Errorf("failed: %+v", failures)
	}
	want := []string{
		"GET /api/v1/namespaces/load/configmaps?limit=1 ",
		`PATCH /api/v1/namespaces/load/configmaps/node1-0?fieldManager=load&force=true ` +
			`{"apiVersion":"v1","data":{"n":"1"},"kind":"ConfigMap","metadata":{"name":"node1-0","namespace":"load"}}`,
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(paths[:2]))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
