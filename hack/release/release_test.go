package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	"github.com/sassoftware/go-rpmutils"
)

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = string(data)
	}
	return all
}

func TestAReleaseOfTheSameCommitIsTheSameBytes(t *testing.T) {
	a := unsigned(t)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // compressors divide their work among processors
	t.Setenv("TZ", "Pacific/Kiritimati")
	b, err := makeRelease(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	one, two := contents(t, a.out), contents(t, b.out)
	var names []string
	for name, data := range one {
		names = append(names, name)
		if two[name] != data {
			t.Errorf("%s differs", name)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{
		"SHA256SUMS",
		"sealbuild-1.2.0-1.aarch64.rpm", "sealbuild-1.2.0-1.x86_64.rpm", "sealbuild-1.2.0-linux-amd64.tar.gz", "sealbuild-1.2.0-linux-arm64.tar.gz",
		"sealbuild-1.2.0.cdx.json", "sealbuild-1.2.0.notes.md", "sealbuild-linux-amd64", "sealbuild-linux-arm64",
		"sealbuild_1.2.0-1_amd64.deb", "sealbuild_1.2.0-1_arm64.deb", "sealinstall-linux-amd64", "sealinstall-linux-arm64",
		"sealsbom-linux-amd64", "sealsbom-linux-arm64",
	}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out := run(t, a.out, "sha256sum", "--strict", "-c", "SHA256SUMS"); strings.Count(out, ": OK\n") != len(names)-1 {
		t.Errorf("sums: %s", out)
	}
}

// laidOut is what lies below a prefix on a machine of this architecture: mode and, of a link, its target.
func laidOut(zsh, licence string) map[string]string {
	all := map[string]string{
		"bin/sealbuild": "0755", "bin/sealinstall": "-> ../libexec/sealbuild/sealinstall-linux-" + runtime.GOARCH,
		"libexec/sealbuild/sealinstall-linux-amd64": "0755", "libexec/sealbuild/sealinstall-linux-arm64": "0755",
		"libexec/sealbuild/sealsbom":                   "0755",
		"share/sealbuild/cluster-images/helm/Kubefile": "0644", "share/sealbuild/cluster-images/helm/fetch.sh": "0755",
		"share/man/man1/sealbuild.1": "0644", "share/man/man1/sealbuild-plan.1": "0644",
	}
	for _, name := range []string{
		"README.md", "CHANGELOG.md", "CONTRIBUTING.md", licence, "THIRD-PARTY", "docs/builder.md", "docs/schemas/a.json", "bundle/FORMAT.md", "registry/storesync/WIRE.md",
	} {
		all["share/doc/sealbuild/"+name] = "0644"
	}
	all["share/doc/sealbuild/cluster-images"] = "-> ../../sealbuild/cluster-images"
	for _, program := range programs {
		all["share/bash-completion/completions/"+program] = "0644"
		all["share/fish/vendor_completions.d/"+program+".fish"] = "0644"
		all[zsh+"/_"+program] = "0644"
	}
	return all
}

func TestTheArchiveIsAPrefixWithEverything(t *testing.T) {
	r := unsigned(t)
	top := "sealbuild-1.2.0-linux-" + runtime.GOARCH
	f, err := os.Open(filepath.Join(r.out, top+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	in := tar.NewReader(z)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(r.made) || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: %s, %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		got[strings.TrimPrefix(h.Name, top+"/")] = shown(h.FileInfo().Mode(), h.Linkname)
	}
	if diff := cmp.Diff(laidOut("share/zsh/site-functions", "LICENSE"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func shown(mode os.FileMode, target string) string {
	if target != "" {
		return "-> " + target
	}
	return map[os.FileMode]string{0o644: "0644", 0o755: "0755"}[mode.Perm()]
}

// A machine's own dpkg puts the package below a directory; what it runs there is the package's.
func TestADebIsInstalledAndSaysItsVersion(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg here")
	}
	r := unsigned(t)
	root := t.TempDir()
	for _, dir := range []string{"info", "updates"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "var/lib/dpkg/status"), "")
	run(t, r.out, "dpkg", "--root="+root, "--log=/dev/null", "--force-not-root", "--force-bad-path", "-i", "sealbuild_1.2.0-1_"+runtime.GOARCH+".deb")
	for _, program := range programs {
		out := run(t, root, filepath.Join(root, "usr/bin", program), "version")
		if out != program+" v1.2.0\n" {
			t.Errorf("%s says %q", program, out)
		}
	}
	all, err := entries(filepath.Join(root, "usr"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range all {
		got[e.path] = shown(e.mode, e.target)
	}
	if diff := cmp.Diff(laidOut("share/zsh/vendor-completions", "copyright"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAnRpmHoldsTheSame(t *testing.T) {
	r := unsigned(t)
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	f, err := os.Open(filepath.Join(r.out, "sealbuild-1.2.0-1."+arch+".rpm"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := rpmutils.ReadRpm(f)
	if err != nil {
		t.Fatal(err)
	}
	nevra, err := p.Header.GetNEVRA()
	if err != nil || nevra.String() != "sealbuild-0:1.2.0-1."+arch+".rpm" {
		t.Errorf("%v, %v", nevra, err)
	}
	found, err := p.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range found {
		if f.Mode()&0o170000 == 0o040000 {
			continue
		}
		got[strings.TrimPrefix(f.Name(), "/usr/")] = shown(os.FileMode(f.Mode()&0o777), f.Linkname())
	}
	if diff := cmp.Diff(laidOut("share/zsh/site-functions", "LICENSE"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestASignedReleaseIsVerifiedBySshKeygen(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen here")
	}
	keys := t.TempDir()
	run(t, keys, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "release", "-f", "key")
	r, err := makeRelease(t.Context(), t.TempDir(), filepath.Join(keys, "key"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(filepath.Join(keys, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.out, "allowed_signers"), `release@sealbuild.io namespaces="`+namespace+`" `+string(public))

	notes := contents(t, r.out)["sealbuild-1.2.0.notes.md"]
	_, block, _ := strings.Cut(notes, "```\n")
	commands, _, _ := strings.Cut(block, "```")
	check := func() error {
		c := exec.Command("bash", "-euc", commands)
		c.Dir = r.out
		_, err := output(c)
		return err
	}
	if err := check(); err != nil {
		t.Errorf("what the notes say:\n%s%v", commands, err)
	}
	sums := filepath.Join(r.out, "SHA256SUMS")
	text, err := os.ReadFile(sums)
	if err != nil {
		t.Fatal(err)
	}
	write(t, sums, string(bytes.Replace(text, []byte("a"), []byte("b"), 1)))
	if check() == nil {
		t.Error("changed sums pass")
	}
}

func TestAnUnsignedReleaseSaysSo(t *testing.T) {
	r := unsigned(t)
	if notes := contents(t, r.out)["sealbuild-1.2.0.notes.md"]; !strings.Contains(notes, "**SHA256SUMS is not signed.**") {
		t.Errorf("notes: %s", notes)
	}
}

func TestTheBillNamesTheModulesOfEachProgram(t *testing.T) {
	r := unsigned(t)
	var bom cdx.BOM
	if err := json.Unmarshal([]byte(contents(t, r.out)["sealbuild-1.2.0.cdx.json"]), &bom); err != nil {
		t.Fatal(err)
	}
	on := map[string][]string{}
	for _, d := range *bom.Dependencies {
		on[d.Ref] = *d.Dependencies
	}
	modules := []string{"pkg:golang/stdlib@" + strings.TrimPrefix(runtime.Version(), "go"), "pkg:golang/github.com/spf13/pflag@v1.0.9"}
	want := map[string][]string{"sealbuild@1.2.0": nil}
	for _, program := range []string{"sealbuild", "sealinstall", "sealsbom"} {
		for _, arch := range architectures {
			name := program + "-linux-" + arch
			want[name] = modules
			want["sealbuild@1.2.0"] = append(want["sealbuild@1.2.0"], name)
		}
	}
	if diff := cmp.Diff(want, on); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	licences := run(t, r.out, "tar", "-xOzf", "sealbuild-1.2.0-linux-arm64.tar.gz", "sealbuild-1.2.0-linux-arm64/share/doc/sealbuild/THIRD-PARTY")
	for _, text := range []string{"github.com/spf13/pflag@v1.0.9\n\nLICENSE:\n\nCopyright (c) 2012 Alex Ogier", "the Go programming language\n\nLICENSE:\n\nCopyright 2009 The Go Authors"} {
		if !strings.Contains(licences, text) {
			t.Errorf("the licences lack %q", text)
		}
	}
}

func TestAPageSaysWhatHelpSaysToTheLetter(t *testing.T) {
	r := unsigned(t)
	page := run(t, r.out, "tar", "-xOzf", "sealbuild-1.2.0-linux-amd64.tar.gz", "sealbuild-1.2.0-linux-amd64/share/man/man1/sealbuild.1")
	for _, text := range []string{"reads <chart>.values.yaml and *_test of every CONTEXT", "sealbuild CONTEXT", `="/r_x"`, "sealbuild-plan(1)", "Jan 2027", "sealbuild 1.2.0"} {
		if !strings.Contains(strings.NewReplacer("\\&", "", "\\", "").Replace(page), text) {
			t.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

func TestAVersionForPackagesSortsAsTheCommitsDo(t *testing.T) {
	made := time.Date(2026, 11, 30, 18, 0, 0, 0, time.UTC)
	for described, want := range map[string]string{
		"v1.2.0": "1.2.0", "v1.2.0-rc.1": "1.2.0-rc.1", "v1.2.0-4-gabcdef0": "1.2.0+4.gabcdef0", "v1.2.0-rc.1-4-gabcdef0": "1.2.0-rc.1+4.gabcdef0",
		"v1.2.0-dirty": "1.2.0+dirty", "v1.2.0-4-gabcdef0-dirty": "1.2.0+4.gabcdef0.dirty",
		"a1f86d4": "0.0.0+git20261130180000.a1f86d4", "a1f86d4-dirty": "0.0.0+git20261130180000.a1f86d4.dirty",
	} {
		got, err := versionOf(described, made)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", described, got, err, want)
		}
	}
	if got, err := versionOf("unknown", made); err == nil {
		t.Errorf("without git: %s", got)
	}
}

func TestNotesAreTheSectionOfTheVersion(t *testing.T) {
	source := t.TempDir()
	if err := checkout(source); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"1.2.0": "- it works\n\n### More\n\n- much\n", "1.1.0": "- old\n", "1.2.0+4.gabcdef0": "- not yet\n"} {
		notes, err := release{source: source, version: version}.notes()
		_, got, _ := strings.Cut(string(notes), "## What is new\n\n")
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", version, err, diff)
		}
	}
	if _, err := (release{source: source, version: "1.3.0"}).notes(); err == nil || !strings.Contains(err.Error(), `CHANGELOG.md has no section "## 1.3.0"`) {
		t.Errorf("a version without a section: %v", err)
	}
}

func TestAModuleWithoutALicenceIsTold(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "license.go"), "package x")
	if text, err := licenceOf(dir); text != "" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	write(t, filepath.Join(dir, "LICENSE.md"), "MIT\n")
	write(t, filepath.Join(dir, "NOTICE"), "of x\n")
	if text, err := licenceOf(dir); text != "LICENSE.md:\n\nMIT\nNOTICE:\n\nof x\n" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

// The first heading is what no version has yet, or the version that is tagged next; each other one names a version and its day.
func TestTheChangelogIsByVersions(t *testing.T) {
	raw, err := os.ReadFile("../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9a-z.]+)? \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$`)
	headings := 0
	for line := range strings.Lines(string(raw)) {
		heading, ok := strings.CutPrefix(strings.TrimSpace(line), "## ")
		if !ok {
			continue
		}
		headings++
		if !form.MatchString(heading) && (headings > 1 || heading != unreleased) {
			t.Errorf("heading %q: expected %q at the top, or a version and its day: 1.2.0 (2026-11-30)", heading, unreleased)
		}
	}
	if headings == 0 {
		t.Error("no headings: this test sees nothing")
	}
}
