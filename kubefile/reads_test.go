package kubefile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestReadsAreWhatABuildReads(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Reads
	}{
		"paths with variables": {
			"FROM scratch\nARG TARGETARCH\nCOPY files/${TARGETARCH}/ *.yaml /\nADD [\"a b\", \"/\"]\nCOPY . .\nCOPY . /again\n",
			Reads{Paths: []string{"files/arm64/", "*.yaml", "a b", "."}},
		},
		"images, stages by name and number": {
			"ARG V=1\nFROM base:$V AS One\nFROM scratch AS two\nCOPY --from=one a b\nCOPY --from=0 a b\nCOPY --from=reg.example.com/tools:2 a b\nFROM base:1\nCOPY --from=two b b\n",
			Reads{Images: []string{"base:1", "reg.example.com/tools:2"}},
		},
		"mounts": {
			"FROM alpine\nRUN --mount=type=bind,source=src,target=/s --mount=type=cache,target=/c --mount=type=bind,from=tools,target=/t make\nRUN --mount=target=/all x\n",
			Reads{Images: []string{"alpine", "tools"}, Paths: []string{"src", "."}},
		},
		"only what the last stage needs": {
			"FROM a AS one\nCOPY 1 /\nFROM b AS two\nCOPY 2 /\nFROM c AS three\nCOPY --from=ONE x /\nFROM d\nCOPY --from=2 x /\nCOPY 3 /\n",
			Reads{Images: []string{"a", "c", "d"}, Paths: []string{"1", "3"}},
		},
		"what comes from elsewhere": {
			"FROM scratch\nADD https://example.com/x.tgz /\nADD git@example.com:a/b.git /\nCOPY <<one <<two f /\n1\none\n2\ntwo\n",
			Reads{Paths: []string{"f"}, Remote: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, tc.text, WithPlatform("linux", "arm64", ""))
			if diff := cmp.Diff(tc.want, f.Reads(), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFinalStagesAreWhatTheImageIsMadeOf(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []Stage
	}{
		"one": {
			"FROM scratch\nARG TARGETARCH\nCOPY lists/$TARGETARCH more images/shim/\n",
			[]Stage{{Base: "scratch", Copies: []Copy{{[]string{"lists/arm64", "more"}, "images/shim/"}}}},
		},
		"upon another, beside a third": {
			"FROM tools AS tools\nCOPY x /\nFROM base:1 AS Below\nCOPY a /\nFROM below\nCOPY b /\n",
			[]Stage{
				{Base: "base:1", Name: "below", Copies: []Copy{{[]string{"a"}, "/"}}},
				{Base: "below", Copies: []Copy{{[]string{"b"}, "/"}}},
			},
		},
		"from another":   {"FROM tools AS tools\nFROM scratch\nCOPY --from=tools /c charts\n", []Stage{{Base: "scratch"}}},
		"run":            {"FROM base\nRUN helm pull x\n", []Stage{{Base: "base"}}},
		"written in it":  {"FROM scratch\nCOPY <<list images/shim/\nx:1\nlist\n", []Stage{{Base: "scratch"}}},
		"unpacked":       {"FROM scratch\nADD a.tgz /\n", []Stage{{Base: "scratch", Copies: []Copy{{[]string{"a.tgz"}, "/"}}}}},
		"brought by url": {"FROM scratch\nADD https://example.com/a.yaml manifests/\n", []Stage{{Base: "scratch"}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, tc.text, WithPlatform("linux", "arm64", ""))
			if diff := cmp.Diff(tc.want, f.Final(), cmpopts.IgnoreFields(Stage{}, "First", "Last"), cmpopts.IgnoreUnexported(Stage{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}
