package support

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/host"
)

// 200 hosts share what one bundle may have, whatever they print.
func TestABundleIsBoundedWhateverHostsPrint(t *testing.T) {
	s := newSim(t, 200, false)
	long := strings.Repeat("|"+strings.Repeat("0123456789abcde ", 1<<10)+"\n", 100) + "=0\n"
	for _, m := range s.hosts[:4] {
		m.before = func(_ context.Context, c host.Cmd) (bool, error) {
			m.answer(c, 0, map[int]string{0: long, 1: long, 3: long, 5: long, 6: long})
			return len(c.Argv) > 2 && c.Argv[2] == shell+askLine, nil
		}
	}
	files, sum := s.make(t)
	share := int64(mostOfHosts / 200)
	by := map[string]int64{}
	for name, text := range files {
		for _, m := range s.hosts[:4] {
			if strings.Contains(name, "/"+m.name+"/") {
				by[m.name] += int64(len(text))
			}
		}
	}
	for host, n := range by {
		if n > share || n < share/8 {
			t.Errorf("%s has %d bytes of %d", host, n, share)
		}
	}
	if text := files["host-collectors/run-host/10.0.0.2/kernel.txt"]; !strings.HasSuffix(text, "[cut after 671088 bytes]\n") || int64(len(text)) > share/8+100 {
		t.Errorf("%d bytes, which end in %q", len(text), text[max(0, len(text)-100):])
	}
	for _, m := range sum.Missing {
		if m.Collector != "clock" && m.Collector != "cluster-resources" {
			t.Errorf("%+v", m)
		}
	}
}

func TestABundleChangesNothingOnAHost(t *testing.T) {
	s := newSim(t, 1, true) // its Put fails the test
	m := s.hosts[0]
	m.api = newAPI()
	m.write("/var/log/pods/kube-system_etcd-m1_uid/etcd/0.log", "2026-01-02T03:04:05.1Z stderr F text\n")
	m.write("/var/lib/kubelet/config.yaml", "a: 1\n")
	before := tree(t, m.root)
	s.make(t)
	if diff := cmp.Diff(before, tree(t, m.root)); diff != "" {
		t.Error(diff)
	}
}

// tree is all that lies below a directory, with its time.
func tree(t testing.TB, root string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			out = append(out, fmt.Sprint(name, info.Mode(), info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOfALongLogTheNewestWholeLinesAreThere(t *testing.T) {
	s := newSim(t, 1, true)
	var log strings.Builder
	for i := range 9 << 20 / 64 {
		fmt.Fprintf(&log, "2026-01-02T03:04:05Z stdout F line %08d %s\n", i, strings.Repeat("x ", 16))
	}
	s.hosts[0].write("/var/log/pods/kube-system_etcd-m1_uid/etcd/0.log", log.String())
	files, _ := s.make(t)
	got := strings.Split(files["cluster-resources/pods/logs/kube-system/etcd-m1/etcd.log"], "\n")
	if got[0] != "[older lines are left out]" || !strings.HasPrefix(got[1], "2026-01-02T03:04:05Z line ") || len(got) < 2 || !strings.Contains(got[len(got)-2], fmt.Sprintf("%08d", 9<<20/64-1)) {
		t.Errorf("%d lines: %q … %q", len(got), got[:2], got[len(got)-2:])
	}
}

func TestLongLinesOfContainersArePutTogether(t *testing.T) {
	var out strings.Builder
	w := &criLines{to: &out}
	text := "2026-01-02T03:04:05Z stdout P password=abc\n2026-01-02T03:04:06Z stdout F def\n2026-01-02T03:04:07Z stderr F \nno such line\n"
	for i := range text { // however it is cut
		if _, err := w.Write([]byte(text[i : i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("2026-01-02T03:04:05Z password=abcdef\n2026-01-02T03:04:07Z \nno such line\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestOfAKindThatTheClusterWasTaughtThereAreNotTooMany(t *testing.T) {
	s := newSim(t, 1, false)
	s.hosts[0].api = newAPI()
	var pages []any
	for i := range mostOfAKind/100 + 2 {
		var items []any
		for k := range 100 {
			items = append(items, object("default", fmt.Sprintf("thing-%d-%d", i, k), nil))
		}
		page := listOf("Thing", "site.io/v1", items...)
		if i <= mostOfAKind/100 {
			page["metadata"] = map[string]any{"continue": fmt.Sprint(i + 1)}
		}
		pages = append(pages, page)
	}
	s.hosts[0].api.objects["/apis/site.io/v1/things"] = pages
	files, sum := s.make(t)
	if n := strings.Count(files["cluster-resources/custom-resources/things.site.io/default.json"], `"kind": "Thing"`); n != mostOfAKind {
		t.Errorf("%d are there", n)
	}
	if !strings.Contains(files["cluster-resources/custom-resources/custom-resources-errors.json"], "the rest is left out") || len(sum.Missing) == 0 {
		t.Errorf("nobody says that some are left out: %+v", sum.Missing)
	}
}
