package kubefile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestNamesOfStagesAndImagesAreExpanded(t *testing.T) {
	for name, tc := range map[string]struct {
		text   string
		images []string
		lines  map[int]string
	}{
		"an ARG of the stage": {
			"FROM a AS bin-arm64\nFROM scratch\nARG TARGETARCH\nCOPY --chown=0:0 --from=bin-${TARGETARCH} x /\n",
			[]string{"a"},
			map[int]string{4: "COPY --chown=0:0 --from=bin-arm64 x /"},
		},
		"an ENV, a default, an image": {
			"FROM scratch\nENV V=2\nCOPY --from=tools:$V a /\nCOPY --from=${X:-other} \\\n a /\n",
			[]string{"tools:2", "other"},
			map[int]string{3: "COPY --from=tools:2 a /", 4: "COPY --from=other \\"},
		},
		"the case of a stage's name": {
			"FROM a AS Bin\nfrom BIN as from\nCOPY --from=bIN x /\nfrom from\n",
			[]string{"a"},
			map[int]string{2: "from Bin as from", 3: "COPY --from=Bin x /"},
		},
		"a mount": {
			"FROM a AS Bin\nFROM b\nARG N=bin\nRUN --mount=type=bind,from=$N,target=/t --mount=from=0,target=/u make from=bin\n",
			[]string{"a", "b"},
			map[int]string{4: "RUN --mount=type=bind,from=Bin,target=/t --mount=from=Bin,target=/u make from=bin"},
		},
		"patterns of --exclude, which count below each source": {
			"FROM scratch\nCOPY --exclude=*.x --exclude=a/b --chown=1:1 . /lists d* /t/\nCOPY --exclude=!x --parents --exclude=y a/./b /\n", nil,
			map[int]string{
				2: "COPY --exclude=*.x --exclude=lists/*.x --exclude=d*/*.x --exclude=a/b --exclude=lists/a/b --exclude=d*/a/b --chown=1:1 . /lists d* /t/",
				3: "COPY --exclude=!x --parents --exclude=y --exclude=a/y a/./b /",
			},
		},
		"the last of two stages with one name": {
			"FROM a AS x\nFROM b AS X\nFROM scratch\nCOPY --from=x f /\n", []string{"b"}, map[int]string{4: "COPY --from=X f /"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := parse(t, tc.text, WithPlatform("linux", "arm64", ""))
			if diff := cmp.Diff(tc.images, f.Reads().Images); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.lines, f.Rewritten(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("lines for the builder (-want +got):\n%s", diff)
			}
		})
	}
}

func TestANameOfAVariableWithoutValueIsRefusedAtItsPlace(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"not declared": {
			"FROM scratch\nCOPY --link --from=bin-${TARGETARCH} a /\n",
			"Kubefile:2:13: TARGETARCH of --from is not declared in this stage: expected ARG TARGETARCH above, in the same stage",
		},
		"declared before FROM": {"ARG V=1\nFROM scratch\nCOPY --from=$V a /\n", "Kubefile:3:6: V of --from is not declared in this stage"},
		"without a value": {
			"FROM scratch\nARG V\nCOPY \\\n  --from=b-$V a /\n", "Kubefile:4:3: V of --from has no value: expected ARG V=DEFAULT, or --build-arg V=VALUE",
		},
		"empty":   {"FROM scratch\nCOPY --from=${V:-} a /\n", "Kubefile:2:6: --from names nothing"},
		"a mount": {"FROM scratch\nRUN --mount=from=$V,target=/x y\n", "Kubefile:2:13: V of from is not declared"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tc.text), "Kubefile", WithPlatform("linux", "arm64", ""))
			if located := new(Error); !errors.As(err, &located) || !strings.HasPrefix(err.Error(), tc.says) {
				t.Errorf("error is %v\nwant %s", err, tc.says)
			}
		})
	}
}

// A base that is not known may set a variable, but for those of the platform.
func TestAVariableThatABaseMaySetIsNotRefused(t *testing.T) {
	f := parse(t, "FROM base\nCOPY --from=tools:$V a /\nCOPY $V b /\nRUN --mount=from=$V,target=/x y\n")
	if diff := cmp.Diff([]string{"base"}, f.Reads().Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if s := f.Sources(); !s[0].Guess || s[1].Guess {
		t.Errorf("sources: %+v", s)
	}
	for _, text := range []string{"FROM base\nCOPY --from=$TARGETARCH a /\n", "FROM base AS b\nFROM b\nCOPY --from=$TARGETARCH a /\n"} {
		if _, err := Parse(strings.NewReader(text), "Kubefile", WithPlatform("linux", "arm64", "")); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	_, err := Parse(strings.NewReader("FROM base\nCOPY --from=tools:$V a /\n"), "Kubefile", WithBase(func(string) (Config, bool) { return Config{}, true }))
	if err == nil {
		t.Error("with a base that is known a variable without a value was taken")
	}
}

func TestATargetIsTheLastStage(t *testing.T) {
	text := "FROM a AS One\nLABEL l=1\nFROM b\nCOPY f /\nFROM c AS two\nCOPY --from=$UNDECLARED x /\n"
	for target, want := range map[string]Reads{"one": {Images: []string{"a"}}, "0": {Images: []string{"a"}}, "1": {Images: []string{"b"}, Paths: []string{"f"}}} {
		f := parse(t, text, WithTarget(target))
		if diff := cmp.Diff(want, f.Reads()); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", target, diff)
		}
		if last := f.Stages[f.Target()].Last; last != len(f.Instructions) {
			t.Errorf("%s: the last stage ends at %d of %d instructions", target, last, len(f.Instructions))
		}
	}
	if f := parse(t, text, WithTarget("one")); f.Labels()["l"] != "1" {
		t.Errorf("labels are %v", f.Labels())
	}
	_, err := Parse(strings.NewReader(text), "Kubefile", WithTarget("none"))
	if want := `Kubefile: --target: there is no stage "none": expected one of One, 1, two`; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestBuildContextsGoBeforeStagesAndImages(t *testing.T) {
	text := "FROM alpine AS tools\nFROM base\nCOPY --from=tools b /\nCOPY --from=files f g/ /\nRUN --mount=from=files,source=m,target=/m x\n"
	f := parse(t, text, WithContexts(map[string]Context{"tools": {}, "files": {Dir: true, Exclude: []string{"site.run"}}}))
	want := Reads{Images: []string{"base", "tools"}, Named: map[string][]string{"files": {"f", "g/", "m"}}}
	if diff := cmp.Diff(want, f.Reads()); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[int]string{4: "COPY --from=files --exclude=site.run f g/ /"}, f.Rewritten()); diff != "" {
		t.Errorf("lines for the builder (-want +got):\n%s", diff)
	}
	_, err := Parse(strings.NewReader("FROM scratch AS a\nFROM files\n"), "Kubefile", WithContexts(map[string]Context{"files": {Dir: true}}))
	if err == nil || !strings.HasPrefix(err.Error(), "Kubefile:2:6: the build context files is a directory, and FROM takes none: expected an image") {
		t.Errorf("error is %v", err)
	}
}

func TestWhatABaseHasDoneOnBuildIsDone(t *testing.T) {
	base := func(string) (Config, bool) {
		return Config{Env: map[string]string{"D": "deploy"}, OnBuild: []string{"ARG V=1", "LABEL v=$V", "COPY $D /", "RUN --mount=from=tools,target=/t x"}}, true
	}
	f := parse(t, "FROM base\nENV V=$V\nCOPY own /\n", WithBase(base), WithEnv([]string{"E=e"}))
	if diff := cmp.Diff(Reads{Images: []string{"base", "tools"}, Paths: []string{"deploy", "own"}}, f.Reads()); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Copy{{[]string{"deploy"}, "/"}, {[]string{"own"}, "/"}}, f.Final()[0].Copies); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"D": "deploy", "V": "1", "E": "e"}, f.Env()); diff != "" || f.Labels()["v"] != "1" {
		t.Errorf("labels %v, environment (-want +got):\n%s", f.Labels(), diff)
	}
	if s := f.Sources()[0]; s.In.Base != "base" || s.In.Line != 1 {
		t.Errorf("the source is said to be of line %d, base %q", s.In.Line, s.In.Base)
	}
	_, err := Parse(strings.NewReader("ARG A\nFROM base\n"), "Kubefile", WithBase(func(string) (Config, bool) {
		return Config{OnBuild: []string{"COPY --from=$NONE a /"}}, true
	}))
	if want := "Kubefile:2:1: ONBUILD COPY --from=$NONE a / of the base image base: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error is %v, want %s", err, want)
	}
}
