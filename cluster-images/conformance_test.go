package clusterimages_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// e2eSite is the image e2e as it lies on a control plane, with models of ginkgo and kubectl: the results they write have the
// form that the real ones gave.
type e2eSite struct {
	dir, path string
	t         *testing.T
}

const (
	dnsTest  = "[sig-network] DNS should provide DNS for services [Conformance]"
	taintOf  = "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]"
	suitesOK = `<testcase name="[SynchronizedBeforeSuite]" classname="Kubernetes e2e suite" status="passed" time="0.6"></testcase>
<testcase name="[ReportAfterSuite] [sig-testing] Log Check" classname="Kubernetes e2e suite" status="passed" time="0.0"></testcase>
<testcase name="[It] [sig-storage] another that was not selected" classname="Kubernetes e2e suite" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
`
)

func newE2ESite(t *testing.T, quick string) *e2eSite {
	t.Helper()
	s := &e2eSite{dir: filepath.Join(t.TempDir(), "workdir"), t: t}
	s.path = filepath.Join(filepath.Dir(s.dir), "bin")
	for _, name := range []string{"conformance.sh", "report.sh"} {
		content, err := os.ReadFile(filepath.Join("e2e/scripts", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(s.dir, "scripts", name), string(content))
	}
	write(t, filepath.Join(s.dir, "quick.txt"), "# a comment\n\n"+quick)
	write(t, filepath.Join(s.dir, "opt/e2e/e2e.test"), "#!/bin/sh\n")
	// The arguments of the real run are kept, a line for each.
	write(t, filepath.Join(s.dir, "opt/e2e/ginkgo"), `#!/bin/bash
state=`+s.dir+`
for a; do case $a in --report-dir=*) report=${a#*=} ;; --kubeconfig=*) config=${a#*=} ;; --dry-run) dry=1 ;; esac; done
printf '%s\n' "$@" >"$state/arguments${dry:+.dry}"
mkdir -p "$report"
cat "$state/junit${dry:+.dry}" >"$report/junit_01.xml"
echo left >"$HOME/left-$$" && echo left >"$TMPDIR/left-$$" # as kubectl and the tests do
[[ $HOME == */kube-conformance.* && $TMPDIR == */kube-conformance.* ]] || exit 1
if [[ -z $dry ]]; then
	stat -c '%a %n' "$config" >"$state/kubeconfig.mode"
	cp "$config" "$state/kubeconfig.used"
fi
if [[ -z $dry && -e $state/hang ]]; then
	trap 'echo "$config" >"$state/interrupted"; exit 1' TERM INT
	echo "$config" >"$state/running"
	for ((i = 0; i < 600; i++)); do sleep 0.1; done
fi
n=$(<"$state/selected")
printf '•••\nRan %s of 7579 Specs in 0.3 seconds\n' "$n"
exit "$(<"$state/status${dry:+.dry}")"
`)
	write(t, filepath.Join(s.path, "kubectl"), `#!/bin/bash
case "$*" in
*"version -o json"*) printf '{\n "clientVersion": {\n  "gitVersion": "v1.30.0"\n },\n "serverVersion": {\n  "gitVersion": "v1.36.3"\n }\n}\n' ;;
*"jsonpath={range .endpoints"*) printf '10.0.0.8\n10.0.0.9\n' ;;
*"jsonpath={.ports"*) printf 6443 ;;
*"--server https://10.0.0.8:6443"*readyz*) exit 1 ;;
*"--server https://10.0.0.9:6443"*readyz*) printf ok ;;
*"config view --raw"*) printf 'token: a-secret\n' ;;
*"config view --minify"*) printf kubernetes ;;
*set-cluster*) for a; do [[ $last != --kubeconfig ]] || echo "server: ${*: -1}" >>"$a"; last=$a; done ;;
*"get nodes -o jsonpath"*) printf ' NoSchedule\n \ntrue NoSchedule\n PreferNoSchedule\n' ;;
*"get namespaces"*) cat `+s.dir+`/namespaces 2>/dev/null ;;
*) printf 'NAME STATUS\n' ;;
esac
`)
	s.will(0, 2, "")
	return s
}

// will sets what the run that comes gives: exit status of ginkgo, how many tests are selected, and their results.
func (s *e2eSite) will(status, selected int, results string) {
	s.t.Helper()
	head := "<?xml version=\"1.0\"?>\n<testsuites>\n" + suitesOK
	for name, content := range map[string]string{
		"status": fmt.Sprint(status), "status.dry": "0", "selected": fmt.Sprint(selected),
		"junit": head + results, "junit.dry": head + passed(dnsTest) + passed(taintOf),
	} {
		write(s.t, filepath.Join(s.dir, name), content)
	}
}

func passed(name string) string {
	return `<testcase name="[It] ` + name + `" classname="Kubernetes e2e suite" status="passed" time="7.5"></testcase>` + "\n"
}

func (s *e2eSite) run(args ...string) (string, int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "bash", append([]string{filepath.Join(s.dir, "scripts/conformance.sh")}, args...)...)
	cmd.Dir = filepath.Dir(s.dir)
	cmd.Env = append(os.Environ(), "PATH="+s.path+":"+os.Getenv("PATH"), "BIN_DIR="+s.path, "KUBECONFIG=/nowhere", "XDG_RUNTIME_DIR="+s.t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (s *e2eSite) file(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

func TestConformanceNamesEveryTestThatFailedWithItsFirstError(t *testing.T) {
	t.Parallel()
	s := newE2ESite(t, "")
	s.will(1, 3, passed(taintOf)+`<testcase name="[It] `+dnsTest+`" classname="Kubernetes e2e suite" status="failed" time="601.2">
<failure message="" type="failed">[FAILED] `+"\uFFFD[1mcontext deadline exceeded\uFFFD[0m: 3 &lt; 4&#xA;In [It] at: test/e2e/network/dns_common.go:477 @ 11/29/26"+`</failure>
<system-err>&gt; Enter [BeforeEach] and much more</system-err></testcase>
<testcase name="[It] [sig-apps] Job waits for two nodes" status="skipped" time="0.1"><skipped message="skipped - Requires at least 2 nodes (not 1)"></skipped></testcase>
`)
	write(t, filepath.Join(s.dir, "namespaces"), "namespace/dns-3107\n")
	out, code := s.run("all", "--report", "report")
	if code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	for _, want := range []string{
		"FAILED " + dnsTest + "\n    context deadline exceeded: 3 < 4\n",
		"SKIPPED [sig-apps] Job waits for two nodes\n    skipped - Requires at least 2 nodes (not 1)\n",
		"sig-network                   1      0      1      601\n",
		"sig-node                      1      1      0        7\n",
		"NOT PASSED: 1 of 3 tests passed, Kubernetes v1.36.3",
		"Namespaces that tests left: dns-3107",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	for _, not := range []string{"Enter [BeforeEach]", "not selected", "Log Check"} {
		if strings.Contains(out, not) {
			t.Errorf("it speaks of %q:\n%s", not, out)
		}
	}
	for _, name := range []string{"e2e.log", "junit_01.xml", "PRODUCT.yaml", "README.md", "verdict.txt"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(s.dir), "report", name)); err != nil {
			t.Error(err)
		}
	}
}

// A runner that ends well and has run less than was asked for has not passed, and neither has one whose tests all passed and
// that failed for another reason.
func TestConformanceIsPassedOnlyWhenEverySelectedTestWas(t *testing.T) {
	t.Parallel()
	both := passed(dnsTest) + passed(taintOf)
	for name, c := range map[string]struct {
		status, selected int
		results          string
		passed           bool
	}{
		"all passed":            {0, 2, both, true},
		"one never began":       {0, 3, both, false},
		"the suite failed":      {1, 2, both, false},
		"no results at all":     {1, 2, "", false},
		"one is there, skipped": {0, 2, passed(dnsTest) + `<testcase name="[It] x" status="skipped" time="0"><skipped message="skipped - why"></skipped></testcase>`, false},
	} {
		s := newE2ESite(t, "")
		s.will(c.status, c.selected, c.results)
		out, code := s.run("all", "--report", "report")
		if (code == 0) != c.passed || strings.Contains(out, "\nPASSED: ") != c.passed {
			t.Errorf("%s: exit status %d:\n%s", name, code, out)
		}
	}
}

func TestConformanceReachesTheClusterByAnAddressAndLeavesNoKeyBehind(t *testing.T) {
	t.Parallel()
	s := newE2ESite(t, "")
	s.will(0, 2, passed(dnsTest)+passed(taintOf))
	out, code := s.run("all", "--report", "report")
	if code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	if diff := cmp.Diff("token: a-secret\nserver: https://10.0.0.9:6443\n", s.file("kubeconfig.used")); diff != "" {
		t.Errorf("kubeconfig of the tests (-want +got):\n%s", diff)
	}
	mode, path, _ := strings.Cut(strings.TrimSpace(s.file("kubeconfig.mode")), " ")
	if mode != "600" {
		t.Errorf("the kubeconfig has mode %s", mode)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", path, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("left behind: %v, %v", left, err)
	}
	report := filepath.Join(filepath.Dir(s.dir), "report")
	for _, name := range tree(t, report) {
		content, err := os.ReadFile(filepath.Join(report, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "a-secret") {
			t.Errorf("%s of the report holds the token", name)
		}
	}
	arguments := strings.Split(s.file("arguments"), "\n")
	for _, want := range []string{"--procs=4", "--label-filter=Conformance", "--num-nodes=2"} {
		if !slices.Contains(arguments, want) {
			t.Errorf("ginkgo is not told %s: %q", want, arguments)
		}
	}
}

func TestConformanceThatIsStoppedStopsItsTestsAndLeavesNoKey(t *testing.T) {
	t.Parallel()
	s := newE2ESite(t, "")
	write(t, filepath.Join(s.dir, "hang"), "")
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(s.dir, "scripts/conformance.sh"), "all", "--report", "report")
	cmd.Dir = filepath.Dir(s.dir)
	cmd.Env = append(os.Environ(), "PATH="+s.path+":"+os.Getenv("PATH"), "BIN_DIR="+s.path, "KUBECONFIG=/nowhere", "XDG_RUNTIME_DIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for t.Context().Err() == nil {
		if _, err := os.Stat(filepath.Join(s.dir, "running")); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit status %d, want 143", code)
	}
	config := strings.TrimSpace(s.file("interrupted"))
	if _, err := os.Stat(filepath.Dir(config)); config == "" || !os.IsNotExist(err) {
		t.Errorf("the directory of %q is still there: %v", config, err)
	}
}

func TestConformanceQuickRunsExactlyTheNamedTests(t *testing.T) {
	t.Parallel()
	s := newE2ESite(t, dnsTest+"\n"+taintOf+"\n")
	s.will(0, 2, passed(dnsTest)+passed(taintOf))
	if out, code := s.run("quick", "--report", "report"); code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	want := `--focus=\[sig-network\] DNS should provide DNS for services \[Conformance\]`
	if arguments := s.file("arguments"); !strings.Contains(arguments, want) {
		t.Errorf("ginkgo is not told %s:\n%s", want, arguments)
	}
	s.will(0, 1, passed(dnsTest))
	out, code := s.run("quick", "--report", "second")
	if code != 1 || !strings.Contains(out, "quick.txt names 2 tests and 1 have such names") {
		t.Errorf("a name that no test has: exit status %d:\n%s", code, out)
	}
}

func TestConformanceTellsWhatItCannotDo(t *testing.T) {
	t.Parallel()
	s := newE2ESite(t, "")
	if err := os.Mkdir(filepath.Join(filepath.Dir(s.dir), "there"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "what is to run?"},
		{[]string{"all", "--focus", "DNS"}, 2, "one of all, quick and --focus"},
		{[]string{"all", "quick"}, 2, "one of all, quick and --focus"},
		{[]string{"--focus"}, 2, "--focus needs a value"},
		{[]string{"all", "--procs", "many"}, 2, "--procs many is not a number"},
		{[]string{"everything"}, 2, "unknown argument everything"},
		{[]string{"all", "--report", "there"}, 1, "cannot make the directory there"},
		{[]string{"all", "--list"}, 0, dnsTest + "\n" + taintOf + "\n"},
	} {
		out, code := s.run(c.args...)
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%q: exit status %d, want %d and %q:\n%s", c.args, code, c.code, c.says, out)
		}
	}
	s.will(0, 0, "")
	if out, code := s.run("--focus", "nothing"); code != 1 || !strings.Contains(out, "no conformance test matches") {
		t.Errorf("exit status %d:\n%s", code, out)
	}
}

// The images that the tests want are named once for the bundle and once for the registry it is built from here.
func TestImagesOfTheConformanceTestsAreThoseTheTestsUse(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("e2e/images/shim/e2e.txt")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../test/upstream/mkimage/conformance.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range strings.Fields(string(list)) {
		name, tag, _ := strings.Cut(filepath.Base(ref), ":")
		if strings.HasPrefix(ref, "registry.k8s.io/e2e-test-images/") && (!strings.Contains(string(source), `"`+name+`"`) && name != "nginx" || !strings.Contains(string(source), `"`+tag+`"`)) {
			t.Errorf("mkimage does not make %s", ref)
		}
	}
}

func TestConformanceTestsAreTakenFromADirectoryOrPinned(t *testing.T) {
	t.Parallel()
	dir, from := t.TempDir(), t.TempDir()
	for _, name := range []string{"fetch-lib.sh", "checksums.txt", "e2e/fetch.sh"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(content))
	}
	take := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(dir, "e2e/fetch.sh")}, args...)...).CombinedOutput()
		return string(out), err
	}
	write(t, filepath.Join(from, "e2e/ginkgo"), "#!/bin/sh\necho Ginkgo Version 2\n")
	if out, err := take("--from", from); err == nil || !strings.Contains(out, "e2e/e2e.test is missing") {
		t.Errorf("a missing program: %v\n%s", err, out)
	}
	write(t, filepath.Join(from, "e2e/e2e.test"), "x")
	if out, err := take("--from", from); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff([]string{"opt/e2e/e2e.test", "opt/e2e/ginkgo"}, tree(t, filepath.Join(dir, "e2e/files", runtime.GOARCH))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if out, err := take("--version", "v9.9.9"); err == nil || !strings.Contains(out, "no pinned checksum of kubernetes-test v9.9.9") {
		t.Errorf("a release that is not pinned: %v\n%s", err, out)
	}
}

func TestConformanceCommandIsInstalledOnceAndNeverOverSomebodyElses(t *testing.T) {
	t.Parallel()
	install := func(dir, bin string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(dir, "scripts/install.sh"))
		cmd.Env = append(os.Environ(), "BIN_DIR="+bin, "STATE_ROOT="+filepath.Join(dir, "state"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	dir, bin := t.TempDir(), t.TempDir()
	content, err := os.ReadFile("e2e/scripts/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "scripts/install.sh"), string(content))
	write(t, filepath.Join(dir, "scripts/conformance.sh"), "echo \"it runs $*\"\n")
	write(t, filepath.Join(dir, "opt/e2e/ginkgo"), "#!/bin/sh\n")
	command := filepath.Join(bin, "kube-conformance")
	write(t, command, "theirs\n")
	if out, err := install(dir, bin); err == nil || !strings.Contains(out, "is there and not from this image") {
		t.Errorf("%v\n%s", err, out)
	}
	if got, err := os.ReadFile(command); err != nil || string(got) != "theirs\n" {
		t.Errorf("somebody else's command is %q now (%v)", got, err)
	}
	if err := os.Remove(command); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"e2e: installed ", "is there already"} {
		if out, err := install(dir, bin); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v, want %q:\n%s", err, want, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), command, "quick").CombinedOutput(); err != nil || string(out) != "it runs quick\n" {
		t.Errorf("%v\n%s", err, out)
	}
	noted, err := os.ReadFile(filepath.Join(dir, "state/e2e/files"))
	if err != nil || !strings.HasPrefix(string(noted), "bin ") || !strings.HasSuffix(string(noted), " "+command+"\n") {
		t.Errorf("what the clean script will take away: %q, %v", noted, err)
	}
}
