package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestWhatAProgramDoesNotTakeIsReadFromItsWords(t *testing.T) {
	for said, want := range map[string]refusal{
		"Error: unknown flag: --nosuch": {flag: "nosuch"},
		`E1130 14:45:53.876171   24505 run.go:72] "command failed" err="failed to parse kubelet flag: unknown flag: --nosuch"`:                              {flag: "nosuch"},
		`E1130 14:46:00.664238   24767 run.go:72] "command failed" err="unrecognized feature gate: Foo"`:                                                    {gate: "Foo"},
		`E1130 14:46:01.352226   24916 run.go:72] "command failed" err="cannot set feature gate Foo to false, feature is locked to true"`:                   {gate: "Foo", fixed: true},
		`Error: invalid argument "abc" for "-v, --v" flag: strconv.ParseUint: parsing "abc": invalid syntax`:                                                {flag: "v", value: true},
		`Error: invalid argument "a\"b" for "--bind-address" flag: failed to parse IP`:                                                                      {flag: "bind-address", value: true},
		`E1130 14:46:01.266199   24892 run.go:72] "command failed" err="invalid value of Foo=bar, err: strconv.ParseBool: parsing \"bar\": invalid syntax"`: {gate: "Foo", value: true},
		"error: your configuration file uses an old API spec: \"v1beta2\"\nTo see the stack trace of this error execute with --v=5 or higher\n":             {said: `your configuration file uses an old API spec: "v1beta2"`},
		"": {},
	} {
		if diff := cmp.Diff(want, blame(said), cmp.AllowUnexported(refusal{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", said, diff)
		}
	}
}

func TestOneRefusedArgumentIsLeftOutForTheNextTry(t *testing.T) {
	args := []string{"--a=1", "--b", "2", "--feature-gates=X=true,kube:Y=false", "--c", "--feature-gates", "X=true"}
	for name, c := range map[string]struct {
		of   refusal
		want []string
	}{
		"with a value":           {refusal{flag: "a"}, []string{"--b", "2", "--feature-gates=X=true,kube:Y=false", "--c", "--feature-gates", "X=true"}},
		"with a value behind it": {refusal{flag: "b"}, []string{"--a=1", "--feature-gates=X=true,kube:Y=false", "--c", "--feature-gates", "X=true"}},
		"without a value":        {refusal{flag: "c"}, []string{"--a=1", "--b", "2", "--feature-gates=X=true,kube:Y=false", "--feature-gates", "X=true"}},
		"a gate":                 {refusal{gate: "X"}, []string{"--a=1", "--b", "2", "--feature-gates=kube:Y=false", "--c"}},
		"a gate of a component":  {refusal{gate: "Y"}, []string{"--a=1", "--b", "2", "--feature-gates=X=true", "--c", "--feature-gates", "X=true"}},
		"none of them":           {refusal{said: "it hurts"}, args},
	} {
		if diff := cmp.Diff(c.want, without(args, c.of)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestArgumentsAreReadWhereverTheyAreSet(t *testing.T) {
	manifest := []byte("spec:\n  containers:\n  - name: kube-apiserver\n    command: [kube-apiserver, --a=1]\n    args: [--b=2]\n  - name: proxy\n    command: [x, --c]\n")
	if got, err := manifestArguments("kube-apiserver", manifest); err != nil || !slices.Equal(got, []string{"--a=1", "--b=2"}) {
		t.Errorf("of a manifest: %q, %v", got, err)
	}
	if got, err := manifestArguments("kube-scheduler", []byte("spec:\n  containers:\n  - args: [--a=1]\n")); err != nil || !slices.Equal(got, []string{"--a=1"}) {
		t.Errorf("of a manifest without a command: %q, %v", got, err)
	}
	if got := unitArguments([]byte("# own\nKUBELET_EXTRA_ARGS=\"--a=1  --b=2\"\nOTHER=--c\nKUBELET_KUBEADM_ARGS='--d'\n")); !slices.Equal(got, []string{"--a=1", "--b=2", "--d"}) {
		t.Errorf("of a file of variables: %q", got)
	}
	const list = "apiServer:\n  extraArgs:\n  - {name: feature-gates, value: A=true}\n  - {name: v, value: \"2\"}\n"
	const asMap = "apiServer: {extraArgs: {v: \"2\", feature-gates: A=true}}\n"
	for name, text := range map[string]string{"of v1beta4": list, "of v1beta3": asMap} {
		found, err := fromDocument(setting{name: name}, kubeadm.Cluster, []byte(text), []byte("kubernetesVersion: v1.36.3\n"))
		if err != nil || len(found) != 2 || !slices.Equal(found[1].args, []string{"--feature-gates=A=true", "--v=2"}) || !bytes.Contains(found[0].documents, []byte("v1.36.3")) {
			t.Errorf("of a ClusterConfiguration %s: %+v, %v", name, found, err)
		}
	}
	if _, err := fromDocument(setting{}, kubeadm.Cluster, []byte("# nothing\n"), []byte("kind: ClusterConfiguration\n")); err == nil {
		t.Error("a document of comments is read")
	}
	found, err := fromDocument(setting{}, kubeadm.Kubelet, []byte("kind: KubeletConfiguration\nfeatureGates: {B: false, A: true}\n"), []byte("kind: ClusterConfiguration\n"))
	const both = "---\nkind: ClusterConfiguration\n---\nkind: KubeletConfiguration\nfeatureGates: {B: false, A: true}\n"
	if err != nil || len(found) != 2 || found[1].gates != "A=true,B=false" || !strings.HasSuffix(string(found[0].documents), both) {
		t.Errorf("of a KubeletConfiguration: %+v, %v", found, err)
	}
}

// doubles stand for the programs of a version: they know --known and the gate Known, and note what they were asked.
func doubles(t *testing.T) (b *bundle.Reader, asked string) {
	t.Helper()
	asked = filepath.Join(t.TempDir(), "asked")
	program := "#!/bin/sh\necho \"$0 $*\" >>" + asked + `
[ -z "$HOME$USER" ] || { echo "Error: there is an environment" >&2; exit 1; }
for arg; do case $arg in
--known=*|--version|--token=hidden) ;;
--feature-gates=*) list=${arg#*=}; case $list in *Gone*) echo 'err="unrecognized feature gate: Gone"' >&2; exit 1;; esac;;
--sleep=*) while :; do :; done;;
*) echo "Error: unknown flag: $arg" | while IFS== read -r name rest; do echo "$name"; done >&2; exit 1;;
esac; done
echo Kubernetes v1.36.3
`
	kubeadm := "#!/bin/sh\necho \"$0 $*\" >>" + asked + `
while read -r line; do case $line in *nosuch*) echo 'error: strict decoding error: unknown field "a.nosuch", unknown field "other"'; exit 1;; esac; done
`
	images := []stepstest.Image{{Name: "localhost/kubernetes:v1.36.3", Type: "rootfs", Gzip: true, Files: map[string]string{"bin/kubelet": program, "bin/kubeadm": kubeadm, "etc/kubelet": "no program"}}}
	images[0].Config.Labels = map[string]string{"version": "v1.36.3"}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		images = append(images, stepstest.Image{Name: "registry.k8s.io/" + name + ":v1.36.3", Gzip: true, Files: map[string]string{"usr/local/bin/" + name: program}})
	}
	var file bytes.Buffer
	if err := stepstest.Write(&file, []byte("stub"), images); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return b, asked
}

// fromBundle are the programs of a bundle.
func fromBundle(t *testing.T, b *bundle.Reader, version string) *programs {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	load := payload.New(b)
	if err := load.Describe(&installer.Cluster{Name: "default"}); err != nil {
		t.Fatal(err)
	}
	p, err := newPrograms(load, version)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTheProgramsOfTheBundleAreAskedAndNothingIsLeft(t *testing.T) {
	b, asked := doubles(t)
	p := fromBundle(t, b, "v1.36.3")
	settings := []setting{
		{name: "the documents", remedy: "change them", program: "kube-apiserver", args: []string{"--known=1", "--gone=1", "--feature-gates=Gone=true,Known=true", "--other=2", "--token=geheim"}},
		{host: "10.0.0.1", name: "/etc/default/kubelet", program: "kubelet", args: []string{"--gone=1"}},
		{host: "10.0.0.2", name: "/etc/default/kubelet", program: "kubelet", args: []string{"--gone=1"}},
		{host: "10.0.0.2", name: kubeletFlags, program: "kubelet", args: []string{"--pod-infra-container-image=pause"}},
		{host: "10.0.0.1", name: kubeletConfig, gates: "Gone=false"},
		{host: "10.0.0.1", name: kubeletConfig, documents: []byte("nosuch: 1\n")},
		{host: "10.0.0.2", name: kubeletConfig, documents: []byte("fine: 1\n")},
	}
	got, err := try(t.Context(), p, settings, "v1.36.3")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		" flags problem: the documents sets --gone, which kube-apiserver of v1.36.3 does not have | change them",
		" flags problem: the documents sets the feature gate Gone, which v1.36.3 does not have | change them",
		" flags problem: the documents sets --other, which kube-apiserver of v1.36.3 does not have | change them",
		"10.0.0.1 flags problem: /etc/default/kubelet sets --gone, which kubelet of v1.36.3 does not have | ",
		"10.0.0.2 flags problem: /etc/default/kubelet sets --gone, which kubelet of v1.36.3 does not have | ",
		"10.0.0.2 flags warning: /var/lib/kubelet/kubeadm-flags.env sets --pod-infra-container-image, which kubelet of v1.36.3 does not have" +
			" | nothing to do: kubeadm has set it and takes it out itself; where it does not, the host goes back to what it ran before",
		"10.0.0.1 flags problem: /var/lib/kubelet/config.yaml sets the feature gate Gone, which v1.36.3 does not have | ",
		"10.0.0.1 flags problem: /var/lib/kubelet/config.yaml sets the field a.nosuch, which v1.36.3 does not have | ",
		"10.0.0.1 flags problem: /var/lib/kubelet/config.yaml sets the field other, which v1.36.3 does not have | ",
	}
	diff := cmp.Diff(want, lines(got))
	if diff = strings.ReplaceAll(diff, "\u00a0", " "); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	text, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "geheim") {
		t.Errorf("a secret is an argument:\n%s", text)
	}
	if n := strings.Count(string(text), "/kubelet "); n != 3 {
		t.Errorf("kubelet was asked %d times for two hosts that are alike, and another argument", n)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWhatCannotBeTriedIsToldWithItsReason(t *testing.T) {
	b, _ := doubles(t)
	args := []setting{{program: "kube-apiserver", args: []string{"--known=1"}}}
	if _, err := try(t.Context(), fromBundle(t, b, "v1.37.0"), args, "v1.37.0"); err == nil || !strings.Contains(err.Error(), "the bundle has no image kube-apiserver:v1.37.0 for linux/"+runtime.GOARCH) {
		t.Errorf("without an image: %v", err)
	}
	p := fromBundle(t, b, "v1.36.3")
	if err := os.Mkdir(filepath.Join(p.dir, "kube-apiserver"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := try(t.Context(), p, args, "v1.36.3"); err == nil || !strings.Contains(err.Error(), "take kube-apiserver out of the bundle") {
		t.Errorf("without room: %v", err)
	}
	alien := fromBundle(t, b, "v1.36.3")
	alien.have["kubelet"] = filepath.Join(alien.dir, "kubelet") // of another architecture, say
	if err := os.WriteFile(alien.have["kubelet"], []byte("\x7fELF of somebody else"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := alien.ask(t.Context(), nil, "kubelet", "--version"); err == nil || err.Error() != "this machine does not run the kubelet of the bundle: exec format error" {
		t.Errorf("without a machine for it: %v", err)
	}
	if got := untried(errors.New("x")); !got.Warning || !strings.HasSuffix(got.Message, "were not tried with the new programs: x") {
		t.Errorf("%+v", got)
	}
}

// layout is an OCI image layout on the disk.
type layout string

func (l layout) ReadBlob(d digest.Digest, _ int64) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(l), "blobs", d.Algorithm().String(), d.Encoded()))
}

func (l layout) OpenBlob(d digest.Digest) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(l), "blobs", d.Algorithm().String(), d.Encoded()))
}

// realPrograms are those that test/upstream makes, out of the layers of their images.
func realPrograms(t *testing.T) (p *programs, version string) {
	t.Helper()
	cache := os.Getenv("SEALBUILD_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skip("NOT TRIED with the real programs of Kubernetes: no cache directory to look for them in: ", err)
		}
		cache = filepath.Join(dir, "sealbuild-test")
	}
	tree := filepath.Join(cache, "upstream-current")
	images := layout(filepath.Join(tree, "images"))
	raw, err := os.ReadFile(filepath.Join(string(images), "index.json"))
	if err != nil {
		t.Skip("NOT TRIED with the real programs of Kubernetes (test/upstream/make.sh makes them): ", err)
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	p = &programs{dir: t.TempDir(), have: map[string]string{}, answers: map[string]verdicts{}}
	for _, name := range system() {
		p.have[name] = filepath.Join(tree, "bin", name)
	}
	for _, m := range index.Manifests {
		image, tag, _ := strings.Cut(filepath.Base(m.Annotations[v1.AnnotationRefName]), ":")
		if !slices.Contains(kubeadm.Components(), image) {
			continue
		}
		raw, err := images.ReadBlob(m.Digest, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var manifest v1.Manifest
		if err := json.Unmarshal(raw, &manifest); err != nil {
			t.Fatal(err)
		}
		var layers []payload.Layer
		for _, l := range manifest.Layers {
			layers = append(layers, payload.Layer{Digest: l.Digest, MediaType: l.MediaType})
		}
		p.have[image], version = filepath.Join(p.dir, image), tag
		if err := payload.Programs(t.Context(), images, layers, []string{image}, func(name string) (io.WriteCloser, error) {
			return os.OpenFile(p.have[name], os.O_CREATE|os.O_WRONLY, 0o700)
		}); err != nil {
			t.Fatal(err)
		}
	}
	return p, version
}

func TestTheRealProgramsTellExactlyWhatTheyDoNotHave(t *testing.T) {
	p, version := realPrograms(t)
	apiServerKnowsAllGates(t, p)
	for _, component := range kubeadm.Components() {
		// Values that name files which are not there do not matter.
		args := []string{"--kubeconfig=/nowhere/x.conf", "--authentication-kubeconfig=/nowhere/x.conf", "--v=2", "--feature-gates=AllAlpha=true,AllBeta=true"}
		if component == "kube-apiserver" {
			args = []string{
				"--advertise-address=10.0.0.1", "--audit-policy-file=/nowhere/policy.yml", "--etcd-servers=https://127.0.0.1:2379", "--client-ca-file=/nowhere/ca.crt",
				"--service-cluster-ip-range=10.96.0.0/12", "--runtime-config=api/alpha=true", "--feature-gates=AllAlpha=true", "--enable-admission-plugins=NodeRestriction",
			}
		}
		if got, err := tryArguments(t.Context(), p, component, args); err != nil || len(got) > 0 {
			t.Errorf("%s refuses what it has: %+v, %v", component, got, err)
		}
		want := []refusal{{flag: "nosuch"}, {flag: "v", value: true}, {gate: "NoSuch"}, {gate: "CPUManager"}, {gate: "AnonymousAuthConfigurableEndpoints", fixed: true}}
		args = append(args, "--nosuch=1", "--v=loud", "--feature-gates=NoSuch=true,CPUManager=true,AnonymousAuthConfigurableEndpoints=false,AllBeta=true")
		got, err := tryArguments(t.Context(), p, component, args)
		if err != nil {
			t.Fatal(err)
		}
		order := func(a, b refusal) int { return strings.Compare(a.flag+a.gate, b.flag+b.gate) }
		slices.SortFunc(want, order)
		slices.SortFunc(got, order)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(refusal{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", component, diff)
		}
	}
	if got, err := tryArguments(t.Context(), p, "kubelet", []string{"--node-ip=10.0.0.1", "--v=2", "--container-runtime=remote"}); err != nil || len(got) != 1 || got[0].flag != "container-runtime" {
		t.Errorf("kubelet: %+v, %v", got, err)
	}
	head := string(hostOfNobody("kubeadm.k8s.io/v1beta4")) + "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: " + version + "\n"
	kubelet := head + "---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	for name, c := range map[string]struct {
		documents string
		want      []refusal
	}{
		"fine":              {kubelet + "maxPods: 100\n", nil},
		"fields":            {kubelet + "maxPods: 100\nnosuch: 1\nauthentication: {nosuch: 1}\n", []refusal{{field: "authentication.nosuch"}, {field: "nosuch"}}},
		"proxy":             {head + "---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nnosuch: 1\n", []refusal{{field: "nosuch"}}},
		"kubeadm's own":     {head + "nosuch: 1\n", []refusal{{field: "nosuch"}}},
		"a gate of kubeadm": {head + "featureGates: {NoSuch: true}\n", []refusal{{said: `featureGates: Invalid value: {"NoSuch":true}: NoSuch is not a valid feature name.`}}},
	} {
		if got, err := tryDocuments(t.Context(), p, []byte(c.documents)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(refusal{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// apiServerKnowsAllGates holds for the gates of kubelet: they are tried with the API server, so that has to know all of them.
func apiServerKnowsAllGates(t *testing.T, p *programs) {
	t.Helper()
	help, err := p.ask(t.Context(), nil, "kubelet", "--help")
	if err != nil || !help.ok {
		t.Fatalf("%v, %v", help.ok, err)
	}
	gate := regexp.MustCompile(`(?m)^\s+(?:\w+:)?(\w+)=true\|false \(.*default=(\w+)\)`)
	var list []string
	for _, m := range gate.FindAllStringSubmatch(help.said, -1) {
		list = append(list, m[1]+"="+m[2])
	}
	if len(list) < 50 {
		t.Fatalf("kubelet tells %d gates: this test sees nothing", len(list))
	}
	if answer, err := p.ask(t.Context(), nil, "kube-apiserver", "--feature-gates="+strings.Join(list, ","), "--version"); err != nil || !answer.ok {
		t.Errorf("%d gates: %s, %v", len(list), answer.said, err)
	}
}
