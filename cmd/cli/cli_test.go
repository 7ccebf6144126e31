package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestAMistypedWordIsNearToWhatItMayMean(t *testing.T) {
	names := []string{"masters", "nodes", "passwd", "passwd-file", "pk", "port", "dry-run", "drain-timeout"}
	for word, want := range map[string][]string{
		"master":   {"masters"},
		"mastres":  {"masters"},
		"node":     {"nodes"},
		"password": {"passwd"},
		"dry":      {"dry-run"},
		"xy":       nil, // as near to pk as to anything
		"frob":     nil,
	} {
		if diff := cmp.Diff(want, Near(word, names)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", word, diff)
		}
	}
}

func TestAnUnknownFlagIsAnsweredByHabitsThenByTheNearestFlag(t *testing.T) {
	for args, want := range map[string]string{
		"--ips 1":    "hosts are given with --hosts",
		"-x":         "use -y",
		"-z":         "",
		"--mastres":  "did you mean --masters?",
		"--nothing":  "",
		"--hiden":    "", // a flag that --help does not show is nobody's answer
		"--masters":  "", // it lacks its value: that is said already
		"--no=--ips": "did you mean --nodes?",
	} {
		cmd := &cobra.Command{}
		cmd.Flags().String("masters", "", "")
		cmd.Flags().String("nodes", "", "")
		cmd.Flags().String("hidden", "", "")
		cmd.Flags().Lookup("hidden").Hidden = true
		err := cmd.ParseFlags(strings.Fields(args))
		if got := NearFlag(cmd, err, map[string]string{"--ips": "hosts are given with --hosts", "-x": "use -y"}); err == nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", args, got, want, err)
		}
	}
}

func TestAValueThatIsNoneIsAnsweredInOurWords(t *testing.T) {
	for args, want := range map[string]string{
		"--jobs x":    `--jobs "x": expected a number`,
		"-w 5":        `--watch "5": expected a time, as 90s, 10m or 1h30m`,
		"--dry=maybe": `--dry "maybe": expected true or false`,
		"--jobs":      "flag needs an argument: --jobs",
		"--ip x":      `invalid argument "x" for "--ip" flag: failed to parse IP: "x"`, // who makes such a flag says it
	} {
		cmd := &cobra.Command{}
		cmd.Flags().Int("jobs", 1, "")
		cmd.Flags().DurationP("watch", "w", 0, "")
		cmd.Flags().Bool("dry", false, "")
		cmd.Flags().IP("ip", nil, "")
		if err := FlagError(cmd.ParseFlags(strings.Fields(args))); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestTheCommitIsTheLinkersElseThatOfTheBuild(t *testing.T) {
	noted := func(modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: modified}}}
	}
	for _, c := range []struct {
		commit string
		info   *debug.BuildInfo
		want   string
	}{{"def", noted("true"), "def"}, {"", noted("false"), "abc"}, {"", noted("true"), "abc with changes"}, {"", nil, "unknown"}} {
		if got := commitOf(c.commit, c.info); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestABuildIsToldAlikeToAPersonAndToAProgram(t *testing.T) {
	b := NewBuild("x", "v1", "abc", map[string]string{"sync": "2", "bundle": "1"})
	if diff := cmp.Diff(fmt.Sprintf("x v1 (commit abc, %s, %s/%s)\nformats: bundle 1, sync 2\n", runtime.Version(), runtime.GOOS, runtime.GOARCH), b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var text strings.Builder
	var read Build
	if err := errors.Join(b.Write(&text, "json"), json.Unmarshal([]byte(text.String()), &read)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, read); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
