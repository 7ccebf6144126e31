// Package test checks what holds for the source tree as a whole.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/sealbuild/sealbuild"
	// tags are those of the Makefile: without them the builder needs cgo.
	tags = "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper"
)

// onASite are what the rooms may import that work on the hosts of a site.
var onASite = []string{
	"installer", "installer/agent", "installer/fleet", "installer/journal", "installer/kube", "installer/kubeadm", "installer/payload",
	"installer/preflight", "installer/sealos", "installer/site",
}

// mayImport is the import table of docs/architecture.md: what a directory may
// import of this module beside itself, by first match. A trailing /... takes in
// everything below.
//
// The ground floor imports nothing of this module, and everybody may stand on it.
var mayImport = []struct {
	dir   string
	takes []string
}{
	{ground, nil},
	{"kubefile/...", nil},
	{"bundle", nil},
	{"test/bundletest", []string{"bundle"}},
	{"bundle/assemble/report", nil},
	{"bundle/assemble/sbom", []string{"bundle/assemble/store"}},
	{"bundle/assemble/store/...", []string{"bundle", "bundle/assemble/store"}},
	{"bundle/assemble/starter", nil},
	{"bundle/assemble/scan", []string{"kubefile"}},
	{"bundle/assemble/build", []string{"kubefile"}},
	{"bundle/assemble/pull", []string{"bundle/assemble/store"}},
	{"bundle/assemble/search", []string{"kubefile", "bundle/assemble/report", "bundle/assemble/scan", "bundle/assemble/store"}},
	{"bundle/assemble/resolve", []string{
		"bundle/assemble/pull", "bundle/assemble/report", "bundle/assemble/scan", "bundle/assemble/search", "bundle/assemble/store",
	}},
	{"bundle/assemble/oldpackage", []string{"kubefile", "bundle/assemble/pull", "bundle/assemble/scan", "cluster-images/kubernetes"}},
	{"bundle/assemble/write", []string{"bundle", "bundle/assemble/report", "bundle/assemble/sbom", "bundle/assemble/store", "registry/..."}},
	{"bundle/assemble/summary", []string{"bundle", "bundle/assemble/write"}},
	{"bundle/assemble", []string{"kubefile", "bundle", "bundle/assemble/...", "registry/..."}},
	{"registry/catalog", nil},
	{"registry/disk", []string{"registry/catalog"}},
	{"registry/storesync", []string{"registry/catalog", "registry/disk"}},
	{"registry/api", nil},
	{"registry", []string{"registry/..."}},
	{"installer/host/...", nil},
	{"installer/kubeadm/...", nil},
	{"installer/certs/...", nil},
	{"installer/care/...", nil},
	{"installer/etcd/...", nil},
	{"installer/guest/...", nil},
	{"installer/report/...", nil},
	{"installer/agent", []string{"installer/host"}},
	{"installer/agent/files/...", []string{"installer/agent"}},
	{"installer/agent/layers", []string{"installer/agent", "installer/agent/files"}},
	{"installer/agent/copies", []string{"installer/agent", "installer/agent/files", "registry/catalog", "registry/disk"}},
	{"installer/agent/snapshots", []string{"installer/agent", "installer/agent/files", "installer/etcd"}},
	{"installer/agent/programs", []string{"installer/agent", "installer/host"}},
	{"installer/agent/facts", []string{"installer/agent", "installer/agent/files", "installer/agent/programs", "installer/care"}},
	{"installer/agent/...", []string{"installer/agent/...", "installer/host/...", "installer/etcd", "registry/..."}},
	{"installer/kube/...", []string{"installer", "installer/care", "installer/agent"}},
	{"installer/preflight/...", []string{"installer", "installer/host", "installer/care", "installer/kubeadm", "installer/agent"}},
	{"installer/journal/...", []string{"installer", "installer/agent"}},
	{"installer/templates/...", []string{"installer"}},
	{"installer/payload/...", []string{"installer", "installer/templates", "installer/guest", "registry/...", "bundle"}},
	{"installer/sealos/...", []string{"installer", "installer/agent", "installer/payload", "registry/..."}},
	{"installer/fleet/...", []string{"installer", "installer/host", "installer/agent", "installer/journal", "installer/payload", "installer/preflight"}},
	{"installer/remote/...", []string{
		"installer", "installer/host", "installer/care", "installer/agent", "installer/fleet", "registry/catalog", "registry/disk", "registry/storesync",
	}},
	{"installer/site/...", []string{
		"installer", "installer/agent", "installer/fleet", "installer/journal", "installer/kube", "installer/kubeadm", "installer/payload",
		"installer/preflight", "installer/sealos", "registry", "bundle",
	}},
	{"installer/secrets/...", append([]string{"installer/certs"}, onASite...)},
	{"installer/members/...", append([]string{"installer/etcd"}, onASite...)},
	{"installer/imagedirs/...", onASite},
	{"installer/hostnet/...", append([]string{"installer/care"}, onASite...)},
	{"installer/plan/...", append([]string{"bundle"}, onASite...)},
	{"installer/health/...", append([]string{"installer/certs", "installer/secrets"}, onASite...)},
	{"installer/hostregistry/...", append([]string{"installer/host", "installer/secrets", "registry/...", "bundle"}, onASite...)},
	{"installer/nodes/...", append([]string{"installer/care", "installer/certs", "installer/secrets", "installer/members"}, onASite...)},
	{"installer/settings/...", append([]string{"installer/care"}, onASite...)},
	{"installer/compat/...", append([]string{"bundle", "installer/etcd", "installer/members"}, onASite...)},
	{"installer/upgrade/...", append([]string{
		"installer/members", "installer/imagedirs", "installer/hostnet", "installer/hostregistry", "installer/settings",
	}, onASite...)},
	{"installer/leaving/...", append([]string{"installer/members"}, onASite...)},
	{"installer/clean/...", append([]string{"installer/care", "installer/hostnet", "installer/ledger", "installer/nodes", "installer/secrets"}, onASite...)},
	{"installer/ledger/...", append([]string{"installer/secrets"}, onASite...)},
	{"installer/status/...", append([]string{
		"installer/host", "installer/care", "installer/certs", "installer/etcd", "installer/secrets", "installer/health", "installer/ledger", "installer/upgrade",
	}, onASite...)},
	{"installer/support/redact", []string{"installer"}},
	{"installer/support", []string{
		"installer", "installer/host", "installer/care", "installer/agent", "installer/fleet", "installer/ledger", "installer/preflight", "installer/secrets",
		"installer/status", "installer/support/redact",
	}},
	{"installer/steps/...", []string{"installer/...", "registry/...", "bundle"}},
	{"installer", []string{"installer/host"}},
	{"cluster-images/...", []string{"..."}}, // data, and tests of it: no Go that anybody could import but the files of kubernetes/
	{"cmd/cli", nil},                        // of both programs
	{"cmd/sealinstall/usage", nil},
	{"cmd/sealinstall/reports", []string{"cmd/sealinstall/usage", "bundle", "installer", "installer/ledger", "installer/report"}},
	{"cmd/sealinstall/wanted", []string{
		"cmd/sealinstall/usage", "installer", "installer/fleet", "installer/host", "installer/kubeadm", "installer/ledger", "installer/templates",
	}},
	{"cmd/...", []string{"..."}},
	{"test/...", []string{"..."}},
}

// ground is what every package may import.
const ground = "ground/..."

// installerLinks is all that may be in sealinstall beside the standard library, by directory. What is not listed is not linked:
// so it cannot reach out of the site, carries nothing of the builder along, and stays small enough to be copied to every host. A
// line more is a decision; docs/architecture.md says why the registry's are these.
var installerLinks = []string{
	module + "/cmd/sealinstall/...", module + "/cmd/cli", module + "/bundle", module + "/registry/...", module + "/installer/...", module + "/ground/...",

	// Images: the registry's storage; digests, types, zstd.
	"github.com/distribution/distribution/v3", "github.com/distribution/distribution/v3/configuration",
	"github.com/distribution/distribution/v3/internal/...", "github.com/distribution/distribution/v3/manifest/...",
	"github.com/distribution/distribution/v3/metrics", "github.com/distribution/distribution/v3/registry/api/...",
	"github.com/distribution/distribution/v3/registry/storage", "github.com/distribution/distribution/v3/registry/storage/cache",
	"github.com/distribution/distribution/v3/registry/storage/driver",
	"github.com/distribution/reference", "github.com/gorilla/mux", "github.com/google/uuid", "github.com/sirupsen/logrus",
	"github.com/docker/go-metrics", // registry/nometrics, which measures nothing
	"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec/specs-go/...", "github.com/klauspost/compress/...",

	// Commands, and what they say.
	"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/dustin/go-humanize", "golang.org/x/term",

	// Hosts: ssh, signatures, balancing, asking for names.
	"golang.org/x/crypto/...", "golang.org/x/sys/unix", "golang.org/x/sync/...", "golang.org/x/net/dns/dnsmessage",
	"github.com/kevinburke/ssh_config", "github.com/hiddeco/sshsig",
	"github.com/moby/ipvs", "github.com/vishvananda/netlink/...", "github.com/vishvananda/netns",

	// Support bundles for those alone who help: age, also to keys of ssh.
	"filippo.io/age", "filippo.io/age/agessh", "filippo.io/age/internal/...", "filippo.io/edwards25519/...", "filippo.io/hpke/...", "golang.org/x/sys/cpu",

	// What kubeadm knows of CoreDNS' configuration.
	"github.com/coredns/corefile-migration/...", "github.com/coredns/caddy/caddyfile",

	// Configuration, and templates with the functions of sprig.
	"go.yaml.in/yaml/...", "sigs.k8s.io/yaml", "github.com/BurntSushi/toml/...", "github.com/Masterminds/...", "dario.cat/mergo",
	"github.com/huandu/xstrings", "github.com/mitchellh/...", "github.com/shopspring/decimal", "github.com/spf13/cast",
}

// installerPackages is how many packages of others sealinstall may link.
const installerPackages = 91

func installerMayLink(pkg string) bool {
	return slices.ContainsFunc(installerLinks, func(pattern string) bool { return within(pkg, pattern) })
}

type goPackage struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// goList runs go list -json in the module's root.
func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-tags", tags, "-json=ImportPath,Standard,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func within(dir, pattern string) bool {
	if pattern == "..." {
		return true
	}
	if top, ok := strings.CutSuffix(pattern, "/..."); ok {
		return dir == top || strings.HasPrefix(dir, top+"/")
	}
	return dir == pattern
}

// checkImport tells whether dir may import what, both below the module's root.
func checkImport(dir, what string) error {
	for _, rule := range mayImport {
		if !within(dir, rule.dir) {
			continue
		}
		if within(what, rule.dir) || within(what, ground) || slices.ContainsFunc(rule.takes, func(p string) bool { return within(what, p) }) {
			return nil
		}
		return fmt.Errorf("%s imports %s: the table in docs/architecture.md allows %s only itself and %v", dir, what, dir, rule.takes)
	}
	return fmt.Errorf("%s has no row in the import table", dir)
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	seen := 0
	for _, p := range goList(t, "./...") {
		dir, ok := strings.CutPrefix(p.ImportPath, module+"/")
		if !ok {
			continue // the module's root holds no code of the product
		}
		seen++
		for _, imported := range p.Imports {
			if what, ok := strings.CutPrefix(imported, module+"/"); ok {
				if err := checkImport(dir, what); err != nil {
					t.Error(err)
				}
			}
		}
		// Tests may use the product's fakes and the test tree, and nothing else
		// that their package may not.
		for _, imported := range append(p.TestImports, p.XTestImports...) {
			what, ok := strings.CutPrefix(imported, module+"/")
			if !ok || what == dir || strings.HasPrefix(what, "test/") || strings.HasSuffix(what, "test") {
				continue
			}
			if err := checkImport(dir, what); err != nil {
				t.Errorf("in its tests, %v", err)
			}
		}
	}
	if seen < 5 {
		t.Errorf("go list shows %d packages of the product: this test sees nothing", seen)
	}
}

func TestTheTableTellsRightFromWrong(t *testing.T) {
	for _, c := range []struct {
		dir, what string
		ok        bool
	}{
		{"bundle", "registry", false},
		{"bundle", "bundle/assemble", false},
		{"bundle", "ground/durable", true},
		{"installer/care", "ground/durable", true},
		{"ground/durable", "bundle", false},
		{"bundle/assemble/scan", "kubefile", true},
		{"installer", "installer/agent", false},
		{"installer/agent", "registry/storesync", false},
		{"registry/storesync", "registry/disk", true},
		{"registry/disk", "registry/storesync", false},
		{"registry/storesync", "registry", false},

		{"installer/agent", "installer/agent/files", false},
		{"installer/agent/facts", "installer/agent/files", true},
		{"installer/agent/files", "installer/agent/verbs", false},
		{"installer/agent/verbs", "registry/storesync", true},
		{"installer/steps", "bundle/assemble", false},
		{"cmd/sealinstall", "installer/steps", true},
		{"cmd/sealinstall/wanted", "installer/steps", false},
		{"elsewhere", "bundle", false},
	} {
		if err := checkImport(c.dir, c.what); (err == nil) != c.ok {
			t.Errorf("%s -> %s: %v", c.dir, c.what, err)
		}
	}
}

func TestSealinstallIsOfflineByConstruction(t *testing.T) {
	deps := goList(t, "-deps", "./cmd/sealinstall")
	if len(deps) < 100 {
		t.Fatalf("go list shows %d dependencies: this test sees nothing", len(deps))
	}
	others := 0
	for _, p := range deps {
		if p.Standard {
			continue
		}
		if !strings.HasPrefix(p.ImportPath, module+"/") {
			others++
		}
		if !installerMayLink(p.ImportPath) {
			t.Errorf("cmd/sealinstall links %s, which is not in the list of what it may: go list -deps tells what brings it along", p.ImportPath)
		}
	}
	if others > installerPackages {
		t.Errorf("cmd/sealinstall links %d packages of others, more than %d", others, installerPackages)
	}
	unlisted := func(p goPackage) bool { return !p.Standard && !installerMayLink(p.ImportPath) }
	if !slices.ContainsFunc(goList(t, "-deps", "./cmd/sealbuild"), unlisted) {
		t.Error("cmd/sealbuild links nothing that sealinstall may not: this test sees nothing")
	}
	for _, pattern := range installerLinks {
		if !slices.ContainsFunc(deps, func(p goPackage) bool { return within(p.ImportPath, pattern) }) {
			t.Errorf("cmd/sealinstall links nothing of %s: take it off the list", pattern)
		}
	}
}

func TestTheListOfLinksTellsRightFromWrong(t *testing.T) {
	for pkg, want := range map[string]bool{
		"github.com/distribution/distribution/v3/registry/storage":             true,
		"github.com/distribution/distribution/v3/registry/handlers":            false,
		"github.com/distribution/distribution/v3/registry/storage/driver/base": false,
		"github.com/redis/go-redis/v9":                                         false,
		"google.golang.org/grpc":                                               false,
		"k8s.io/client-go/rest":                                                false,
		module + "/registry/api":                                               true,
		module + "/bundle/assemble":                                            false,
		module + "/kubefile":                                                   false,
	} {
		if got := installerMayLink(pkg); got != want {
			t.Errorf("%s: may be linked %t, want %t", pkg, got, want)
		}
	}
}

// maxLines is where a Go file probably holds two concepts.
const maxLines = 400

// longFiles are the exceptions to maxLines, each with its reason.
var longFiles = map[string]string{}

// sources lists the files a checkout holds with one of the suffixes, and those
// about to be added.
func sources(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"ls-files", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	return strings.Fields(string(out))
}

func TestGoFilesHoldOneConcept(t *testing.T) {
	for _, f := range sources(t, "*.go") {
		raw, err := os.ReadFile(filepath.Join("..", f))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(raw, []byte("\n"))
		reason, excepted := longFiles[f]
		switch {
		case lines > maxLines && !excepted:
			t.Errorf("%s has %d lines, more than %d: split it by concept", f, lines, maxLines)
		case lines <= maxLines && excepted:
			t.Errorf("%s is excepted (%s) and has only %d lines: take it off the list", f, reason, lines)
		}
	}
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
