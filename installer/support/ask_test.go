package support

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type reply struct {
	Text string
	Code int
	Said []string
}

// replyTo reads n replies.
func replyTo(t testing.TB, text string, n int) (out []reply, err error) {
	t.Helper()
	from := bufio.NewReader(strings.NewReader(text))
	for i := range n {
		r := &replies{from: from}
		var b bytes.Buffer
		if err = r.begin(i); err == nil {
			err = r.copy(&b)
		}
		if err != nil {
			return out, err
		}
		out = append(out, reply{b.String(), r.code, r.said})
	}
	return out, nil
}

func TestQuestionsAreAnsweredOneByOneWhateverTheyPrint(t *testing.T) {
	lines := []string{
		"echo a; echo said >&2; printf 'no end'; exit 3", "true", "exit 127", "echo ::1; echo =5; echo '|x'; echo =6 >&2", "cat",
		"head -c 300000 /dev/zero | tr '\\0' x", "read x; echo \"<$x>\"",
	}
	// What is printed comes in pieces that end in the middle of a line, and is more than a pipe holds: the line ends long before
	// all of it has been passed on.
	numbers, _ := exec.Command("seq", "100000").Output()
	for range 5 {
		lines = append(lines, "seq 100000; echo said >&2")
	}
	out, err := exec.Command("/bin/sh", append([]string{"-c", askLine, "sh"}, lines...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := replyTo(t, string(out), len(lines))
	if err != nil {
		t.Fatal(err)
	}
	want := []reply{
		{"a\nno end\n", 3, []string{"said"}},
		{"", 0, nil},
		{"", 127, nil},
		{"::1\n=5\n|x\n", 0, nil},
		{"", 0, nil},
		{strings.Repeat("x", 300000) + "\n", 0, nil},
		{"<>\n", 0, nil},
	}
	for range 5 {
		want = append(want, reply{string(numbers), 0, []string{"said"}})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%.2000s", diff)
	}
}

func TestAReplyThatIsCutOffIsAnError(t *testing.T) {
	for _, text := range []string{"", "::0", "::0\n|half", "::0\n=1", "::1\n=0\n", "noise\n::0\n=0\n"} {
		if _, err := replyTo(t, text, 1); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	if _, err := replyTo(t, "::0\n|a\n=0\n", 2); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reply that is missing: %v", err)
	}
}

// A host may answer anything: it is read or refused, and what is read goes into the bundle as JSON.
func FuzzWhatAHostAnswersIsReadOrRefused(f *testing.F) {
	f.Add("::0\n|text\n!said\n=0\n::1\n=127\n")
	f.Add("2026-01-02T03:04:05Z stdout P half\n2026-01-02T03:04:06Z stdout F whole\n")
	f.Add("/var/log/pods/kube-system_etcd-m1_uid/etcd/2.log\n/var/log/pods/a/1.log\n")
	f.Add("m1\n6.1\ndebian\n13\n\nNAME=\"vda\" MAJ:MIN=\"8:0\" SIZE=\"1\"\nkubelet.service loaded active running x\nnet.ipv4.ip_forward = 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = replyTo(t, text, 3)
		var whole, parts bytes.Buffer
		w := &criLines{to: &whole}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		w = &criLines{to: &parts}
		for i := range len(text) {
			if _, err := w.Write([]byte(text[i : i+1])); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(whole.String(), parts.String()); diff != "" && len(text) < mostOfALine {
			t.Error(diff)
		}
		for name, l := range latestLogs(text) {
			if !strings.HasPrefix(name, "cluster-resources/pods/logs/") || l.file == "" {
				t.Errorf("%q: %+v", name, l)
			}
		}
		for _, made := range []func(string) any{osInfo, cpuInfo, memoryInfo, timeInfo, services, modules, blockDevices, sysctls} {
			if _, err := json.Marshal(made(text)); err != nil {
				t.Error(err)
			}
		}
	})
}
