package apis

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheTableKnowsWhatIsGoneInAVersion(t *testing.T) {
	table, upTo := Removed()
	if upTo < 37 || len(table) < 100 {
		t.Fatalf("%d kinds, up to 1.%d", len(table), upTo)
	}
	budget, share := Kind{"policy/v1beta1", "PodDisruptionBudget"}, Kind{"networking.k8s.io/v1beta1", "IPAddress"}
	for minor, want := range map[int][]bool{24: {false, false}, 25: {true, false}, 36: {true, false}, 37: {true, true}} {
		in := table.In(minor)
		if got := []bool{in[budget] > 0, in[share] > 0}; !slices.Equal(got, want) {
			t.Errorf("in 1.%d: %v, want %v", minor, got, want)
		}
	}
	if _, _, err := readTable("a b c d\n"); err == nil {
		t.Error("a table with a line that is none is read")
	}
}

const chart = `{{- if .Values.pdb.enabled }}
apiVersion: policy/v1beta1 # of before
kind: PodDisruptionBudget
metadata:
  name: {{ .Release.Name }}
spec:
  selector:
    matchLabels: {kind: x}
{{- end }}
---
{{- if .Capabilities.APIVersions.Has "networking.k8s.io/v1" }}
apiVersion: networking.k8s.io/v1
{{- else }}
apiVersion: extensions/v1beta1
{{- end }}
kind: Ingress
---
kind: "CronJob"
apiVersion: 'batch/v1beta1'
spec:
  jobTemplate:
    spec: {}
---
apiVersion: v1
kind: List
items:
- apiVersion: rbac.authorization.k8s.io/v1beta1
  kind: Role
  rules: []
  roleRef:
    kind: Role
-   kind: Role
    apiVersion: rbac.authorization.k8s.io/v1
`

func TestObjectsAreFoundInManifestsAndTemplates(t *testing.T) {
	want := []Use{
		{[]string{"policy/v1beta1"}, "PodDisruptionBudget", 2, true},
		{[]string{"networking.k8s.io/v1", "extensions/v1beta1"}, "Ingress", 12, true},
		{[]string{"batch/v1beta1"}, "CronJob", 19, false},
		{[]string{"v1"}, "List", 24, false},
		{[]string{"rbac.authorization.k8s.io/v1beta1"}, "Role", 27, false},
		{[]string{"rbac.authorization.k8s.io/v1"}, "Role", 33, false},
	}
	got := Scan(chart)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	table, _ := Removed()
	var gone []string
	for _, u := range got {
		if k, ok := table.In(36).Gone(u); ok {
			gone = append(gone, k.String())
		}
	}
	if diff := cmp.Diff([]string{"policy/v1beta1 PodDisruptionBudget", "batch/v1beta1 CronJob", "rbac.authorization.k8s.io/v1beta1 Role"}, gone); diff != "" {
		t.Errorf("gone (-want +got):\n%s", diff)
	}
	const asJSON = "{\n  \"kind\": \"Ingress\",\n  \"apiVersion\": \"extensions/v1beta1\",\n  \"spec\": {}\n}\n"
	if diff := cmp.Diff([]Use{{[]string{"extensions/v1beta1"}, "Ingress", 3, false}}, Scan(asJSON)); diff != "" {
		t.Errorf("of JSON (-want +got):\n%s", diff)
	}
}

// stored packs a release as Helm stores it.
func stored(t testing.TB, name, manifest string) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"name": name, "version": 3, "info": map[string]any{"status": "deployed"}, "manifest": manifest, "config": map[string]any{"password": "geheim"}})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(base64.StdEncoding.EncodeToString(packed.Bytes()))
}

func TestAReleaseOfHelmIsReadAndABombIsNot(t *testing.T) {
	r, err := decodeRelease(stored(t, "web", "kind: X\n"))
	if err != nil || r.Name != "web" || r.Manifest != "kind: X\n" || r.Version != 3 || r.Info.Status != "deployed" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := decodeRelease([]byte(base64.StdEncoding.EncodeToString([]byte(`{"name":"old"}`)))); err != nil || r.Name != "old" {
		t.Errorf("one that is not packed: %+v, %v", r, err)
	}
	if _, err := decodeRelease(stored(t, "bomb", strings.Repeat(" ", maxRelease+1))); err == nil || err.Error() != "it is larger than 32 MiB" {
		t.Errorf("a bomb: %v", err)
	}
	for _, broken := range []string{"", "geheim!", base64.StdEncoding.EncodeToString([]byte("geheim")), base64.StdEncoding.EncodeToString([]byte("\x1f\x8bgeheim"))} {
		if _, err := decodeRelease([]byte(broken)); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

const metrics = `# HELP apiserver_requested_deprecated_apis [STABLE] Gauge of deprecated APIs that have been requested
# TYPE apiserver_requested_deprecated_apis gauge
apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="poddisruptionbudgets",subresource="",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="resource.k8s.io",removed_release="1.38",resource="resourceclaims",subresource="status",version="v1beta1"} 1
apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1
apiserver_requested_deprecated_apis{group="batch",removed_release="1.25",resource="cronjobs",subresource="",version="v1beta1"} 0
apiserver_request_total{code="200"} 7
apiserver_requested_deprecated_apis{broken
`

func TestWhoAsksForWhatIsGoneIsReadFromMetrics(t *testing.T) {
	budgets, claims := Request{"policy/v1beta1", "poddisruptionbudgets", "1.25"}, Request{"resource.k8s.io/v1beta1", "resourceclaims/status", "1.38"}
	for minor, want := range map[int][]Request{24: nil, 36: {budgets}, 38: {budgets, claims}} {
		if got, err := Requests(strings.NewReader(metrics), minor); err != nil || !slices.Equal(got, want) {
			t.Errorf("1.%d: %v, %v; want %v", minor, got, err, want)
		}
	}
}

// cluster stands for an API server with many objects.
type cluster struct {
	objects int // Deployments; every hundredth was applied by a version that is gone
	expires bool
	asked   []string
	accepts []string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked, c.accepts = append(c.asked, r.URL.Path+"?"+r.URL.RawQuery), append(c.accepts, r.Header.Get("Accept"))
	resources := func(list ...string) {
		var all []map[string]any
		for _, pair := range list {
			name, kind, _ := strings.Cut(pair, " ")
			all = append(all, map[string]any{"name": name, "kind": kind, "verbs": []string{"get", "list"}})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"resources": all})
	}
	switch r.URL.Path {
	case "/apis":
		fmt.Fprint(w, `{"groups":[{"preferredVersion":{"groupVersion":"apps/v1"}},{"preferredVersion":{"groupVersion":"metrics.k8s.io/v1beta1"}}]}`)
	case "/api/v1":
		resources("pods Pod", "secrets Secret", "events Event")
	case "/apis/apps/v1":
		resources("deployments Deployment", "deployments/scale Scale", "controllerrevisions ControllerRevision")
	case "/apis/apps/v1/controllerrevisions":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","message":"not for you"}`)
	case "/apis/apps/v1/deployments":
		from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		if c.expires && from > 0 {
			c.expires = false
			w.WriteHeader(http.StatusGone)
			fmt.Fprintf(w, `{"kind":"Status","metadata":{"continue":"%d"},"reason":"Expired"}`, from)
			return
		}
		to := min(c.objects, from+limit)
		next := ""
		if to < c.objects {
			next = strconv.Itoa(to)
		}
		fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","metadata":{"continue":%q},"items":[`, next)
		for i := from; i < to; i++ {
			version := "apps/v1"
			if i%100 == 0 {
				version = "apps/v1beta1"
			}
			fields := strings.Repeat(`"f:metadata":{"f:labels":{".":{},"f:app":{}}},`, 40) + `"f:x":{}`
			fmt.Fprintf(w, `{"metadata":{"namespace":"shop","name":"web-%d","annotations":{%q:%q},"managedFields":[{"manager":"kubectl","apiVersion":"apps/v1","fieldsV1":{%s}},{"manager":"old-operator","apiVersion":%q}]}}`,
				i, lastApplied, fmt.Sprintf(`{"apiVersion":%q,"kind":"Deployment","spec":{"password":"geheim"}}`, version), fields, version)
			if i < to-1 {
				fmt.Fprint(w, ",")
			}
		}
		fmt.Fprint(w, `]}`)
	case "/api/v1/secrets":
		if got := r.URL.Query(); got.Get("labelSelector") != "owner=helm,status=deployed" || got.Get("fieldSelector") != "type=helm.sh/release.v1" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var items []map[string]any
		for name, manifest := range map[string]string{"web": chart, "fine": "apiVersion: v1\nkind: Service\n"} {
			items = append(items, map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "sh.helm.release.v1." + name}, "data": map[string]any{"release": stored(panics{}, name, manifest)}})
		}
		items = append(items, map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "broken"}, "data": map[string]any{"release": []byte("geheim")}})
		slices.SortFunc(items, func(a, b map[string]any) int {
			return strings.Compare(fmt.Sprint(a["metadata"]), fmt.Sprint(b["metadata"]))
		})
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "SecretList", "metadata": map[string]any{}, "items": items})
	case "/metrics":
		fmt.Fprint(w, metrics)
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// panics is a testing.TB for a handler: it fails by a panic.
type panics struct{ testing.TB }

func (panics) Helper()           {}
func (panics) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// serving is a client of a cluster.
func serving(t testing.TB, c *cluster) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(c)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	certificate := block("CERTIFICATE", s.Certificate().Raw)
	kubeconfig := fmt.Sprintf("clusters:\n- cluster:\n    certificate-authority-data: %s\nusers:\n- user:\n    client-certificate-data: %s\n    client-key-data: %s\n", certificate, certificate, block("PRIVATE KEY", key))
	client, err := New(s.URL, []byte(kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestFiveThousandObjectsAreLookedAtInPiecesAndNoSecretComesBack(t *testing.T) {
	c := &cluster{objects: 5000, expires: true}
	client := serving(t, c)
	table, _ := Removed()
	began := time.Now()
	found, err := client.Stored(t.Context(), table.In(36))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("5000 objects took %s", time.Since(began))
	if n := len(c.asked); n > 30 {
		t.Errorf("%d requests for 20 pieces", n)
	}
	deployment := Kind{"apps/v1beta1", "Deployment"}
	if len(found.Applied) != 1 || found.Applied[0].Kind != deployment || found.Applied[0].All != 50 || len(found.Applied[0].Names) != maxNames || found.Applied[0].Names[1] != "shop/web-100" {
		t.Errorf("applied: %+v", found.Applied)
	}
	if len(found.Written) != 1 || found.Written[0].Kind != deployment || found.Written[0].By != "old-operator" || found.Written[0].All != 50 {
		t.Errorf("written: %+v", found.Written)
	}
	var releases []string
	for _, u := range found.Releases {
		releases = append(releases, fmt.Sprintf("%s %v", u.Kind, u.Names))
	}
	want := []string{"policy/v1beta1 PodDisruptionBudget [shop/web]", "batch/v1beta1 CronJob [shop/web]", "rbac.authorization.k8s.io/v1beta1 Role [shop/web]"}
	if diff := cmp.Diff(want, releases); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	unread := []string{"/apis/apps/v1/controllerrevisions: status 403: not for you", "release of Helm in Secret shop/broken: illegal base64 data at input byte 4"}
	if diff := cmp.Diff(unread, found.Unread); diff != "" {
		t.Errorf("unread (-want +got):\n%s", diff)
	}
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "geheim") {
		t.Errorf("a secret comes back: %s", text)
	}
	for i, asked := range c.asked {
		if content := strings.HasPrefix(asked, "/apis/apps/v1/deployments"); content && c.accepts[i] != metaOnly {
			t.Errorf("%s is asked for with its content", asked)
		}
		if strings.HasPrefix(asked, "/api/v1/pods") || strings.HasPrefix(asked, "/api/v1/events") {
			t.Errorf("%s is listed for nothing", asked)
		}
	}
}

func TestTheMetricsOfAnAPIServerAreRead(t *testing.T) {
	got, err := serving(t, &cluster{}).Requested(t.Context(), 36)
	if err != nil || len(got) != 1 || got[0].Resource != "poddisruptionbudgets" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAKubeconfigThatIsNoneIsRefusedWithoutItsContent(t *testing.T) {
	for _, text := range []string{"geheim: [", "clusters: []\n", "clusters: [{cluster: {certificate-authority-data: geheim}}]\nusers: [{user: {client-key-data: geheim}}]\n"} {
		if _, err := New("https://127.0.0.1:6443", []byte(text)); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzDecodeRelease(f *testing.F) {
	f.Add(stored(f, "web", chart))
	f.Add([]byte("H4sIAAAAAAAAAwMAAAAAAAAAAAA="))
	f.Add([]byte("e30="))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := decodeRelease(text); err == nil {
			Scan(r.Manifest)
		}
	})
}

func FuzzRequests(f *testing.F) {
	f.Add(metrics)
	f.Add(requested + `a="\n",b="x"} 1`)
	f.Fuzz(func(t *testing.T, text string) {
		found, err := Requests(strings.NewReader(text), 36)
		if err == nil && len(found) > strings.Count(text, requested) {
			t.Errorf("%d requests of %q", len(found), text)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add(chart)
	f.Add("- apiVersion: a\n  kind: B\n-\n kind: c\n")
	f.Add("kind: A\nkind: B\napiVersion: c\n{{ end }}{{ if }}")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		for _, u := range Scan(text) {
			if u.Kind == "" || len(u.Versions) == 0 || u.Line < 1 || u.Line > lines {
				t.Errorf("%+v of %q", u, text)
			}
		}
	})
}
